"""Control flow: If, Loop and Scan run their subgraphs as often as the data say; what is captured comes last."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pruneir.training.ops.call import Call, op


@op("If", spread=True)
def if_(call: Call, condition: Tensor, *captured: Tensor) -> list[Tensor]:
    """One of two subgraphs."""
    made: list[Tensor] = call.bodies["then_branch" if bool(condition) else "else_branch"](captured)
    return made


@op("Loop", spread=True)
def loop(call: Call, count: Tensor | None, condition: Tensor | None, *rest: Tensor) -> list[Tensor]:
    """The body until its condition fails or its count is reached; what it puts out beyond the state is stacked."""
    states = len(call.operator.inputs) - 2
    carried, captured = list(rest[:states]), rest[states:]
    stacked: list[list[Tensor]] = [[] for _ in range(call.outputs - states)]
    step, going = 0, condition is None or bool(condition)
    while going and (count is None or step < int(count)):
        keep, *made = call.bodies["body"](captured, torch.tensor(step), torch.tensor(True), *carried)
        carried = made[:states]
        for column, value in zip(stacked, made[states:], strict=True):
            column.append(value)
        step, going = step + 1, bool(keep)
    return [*carried, *(torch.stack(column) if column else torch.zeros(0) for column in stacked)]


@op("Scan", spread=True, refuse=lambda call: "it is the form of opset 8" if call.opset < 9 else None)
def scan(call: Call, *inputs: Tensor) -> list[Tensor]:
    """The body for every slice of the scanned inputs."""
    own, scanned = len(call.operator.inputs), call.attribute("num_scan_inputs")
    given, captured = inputs[:own], inputs[own:]
    states, sequences = list(given[: own - scanned]), given[own - scanned :]
    outputs = call.outputs - len(states)
    axes = call.attribute("scan_input_axes", (0,) * scanned)
    turned = call.attribute("scan_input_directions", (0,) * scanned)
    slices = [(x.flip(axis) if back else x).unbind(axis) for x, axis, back in zip(sequences, axes, turned, strict=True)]
    stacked: list[list[Tensor]] = [[] for _ in range(outputs)]
    for parts in zip(*slices, strict=True):
        made = call.bodies["body"](captured, *states, *parts)
        states = made[: len(states)]
        for column, value in zip(stacked, made[len(states) :], strict=True):
            column.append(value)
    out_axes = call.attribute("scan_output_axes", (0,) * outputs)
    out_turned = call.attribute("scan_output_directions", (0,) * outputs)
    return [*states, *map(_together, stacked, out_axes, out_turned)]


def _together(parts: Sequence[Tensor], axis: int, back: int) -> Tensor:
    y = torch.stack(list(parts), axis)
    return y.flip(axis) if back else y
