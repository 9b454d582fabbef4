"""Recurrent layers: LSTM, GRU and RNN in every direction, step by step, so that each gate can be differentiated.

Weights are W [directions, gates·hidden, input], R [directions, gates·hidden, hidden], biases B [directions,
2·gates·hidden]; x is [steps, batch, input], batch first with `layout`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from pruneir.training.ops.call import Call, op

Activation = Callable[[Tensor], Tensor]


class _Weights(NamedTuple):
    """One direction's weights, as [.., gates·hidden] rows."""

    w: Tensor
    r: Tensor
    w_bias: Tensor
    r_bias: Tensor
    peepholes: Tensor | None


State = tuple[Tensor, ...]
Cell = Callable[[Call, Tensor, State, _Weights, Sequence[Activation]], State]
"""(call, W·x, state, weights, activations) → the next state, whose first part is the output."""

_NAMED: dict[str, Callable[[float, float], Activation]] = {
    "relu": lambda a, b: torch.relu,
    "tanh": lambda a, b: torch.tanh,
    "sigmoid": lambda a, b: torch.sigmoid,
    "affine": lambda a, b: lambda x: a * x + b,
    "leakyrelu": lambda a, b: lambda x: F.leaky_relu(x, a),
    "thresholdedrelu": lambda a, b: lambda x: torch.where(x > a, x, torch.zeros_like(x)),
    "scaledtanh": lambda a, b: lambda x: a * torch.tanh(b * x),
    "hardsigmoid": lambda a, b: lambda x: torch.clamp(a * x + b, 0, 1),
    "elu": lambda a, b: lambda x: F.elu(x, a),
    "softsign": lambda a, b: F.softsign,
    "softplus": lambda a, b: F.softplus,
}
_ALPHA = {"affine": 1.0, "leakyrelu": 0.01, "thresholdedrelu": 1.0, "scaledtanh": 1.0, "hardsigmoid": 0.2, "elu": 1.0}
_BETA = {"affine": 0.0, "scaledtanh": 1.0, "hardsigmoid": 0.5}


@op("LSTM")
def lstm(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
    c: Tensor | None = None,
    p: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gates i, o, f, c; `input_forget` couples f = 1 − i, peepholes let the gates see the cell."""
    return _layer(call, _lstm_cell, 4, ["Sigmoid", "Tanh", "Tanh"], x, w, r, b, lengths, (h, c), p)


@op("GRU")
def gru(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gates z, r, h; `linear_before_reset` resets after the product with R."""
    return _layer(call, _gru_cell, 3, ["Sigmoid", "Tanh"], x, w, r, b, lengths, (h,), None)


@op("RNN")
def rnn(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """One gate."""
    return _layer(call, _rnn_cell, 1, ["Tanh"], x, w, r, b, lengths, (h,), None)


def _lstm_cell(call: Call, wx: Tensor, state: State, weights: _Weights, act: Sequence[Activation]) -> State:
    h, c = state
    i, o, f, g = (wx + F.linear(h, weights.r, weights.w_bias + weights.r_bias)).chunk(4, -1)
    if weights.peepholes is not None:
        p_i, p_o, p_f = weights.peepholes.chunk(3, -1)
        i, f = i + p_i * c, f + p_f * c
    i = act[0](_clipped(call, i))
    f = 1 - i if call.attribute("input_forget", 0) else act[0](_clipped(call, f))
    c = f * c + i * act[1](_clipped(call, g))
    o = o + p_o * c if weights.peepholes is not None else o
    return act[0](_clipped(call, o)) * act[2](c), c


def _gru_cell(call: Call, wx: Tensor, state: State, weights: _Weights, act: Sequence[Activation]) -> State:
    (h,) = state
    n = h.shape[-1]
    wx = wx + weights.w_bias
    gates = F.linear(h, weights.r[: 2 * n], weights.r_bias[: 2 * n])
    z, reset = (act[0](_clipped(call, part)) for part in (wx[..., : 2 * n] + gates).chunk(2, -1))
    if call.attribute("linear_before_reset", 0):
        hidden = reset * F.linear(h, weights.r[2 * n :], weights.r_bias[2 * n :])
    else:
        hidden = F.linear(reset * h, weights.r[2 * n :], weights.r_bias[2 * n :])
    new = act[1](_clipped(call, wx[..., 2 * n :] + hidden))
    return ((1 - z) * new + z * h,)


def _rnn_cell(call: Call, wx: Tensor, state: State, weights: _Weights, act: Sequence[Activation]) -> State:
    return (act[0](_clipped(call, wx + F.linear(state[0], weights.r, weights.w_bias + weights.r_bias))),)


def _layer(
    call: Call,
    cell: Cell,
    gates: int,
    default: Sequence[str],
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    initial: Sequence[Tensor | None],
    p: Tensor | None,
) -> tuple[Tensor, ...]:
    """All directions: outputs [steps, directions, batch, hidden], and the last states [directions, batch, hidden]."""
    first = call.attribute("layout", 0) == 1
    if first:
        x = x.transpose(0, 1)
        initial = [None if part is None else part.transpose(0, 1) for part in initial]
    directions, hidden, batch = w.shape[0], r.shape[-1], x.shape[1]
    activations = _activations(call, list(default), directions)
    outputs, finals = [], []
    for index in range(directions):
        bias = b[index] if b is not None else x.new_zeros(2 * gates * hidden)
        w_bias, r_bias = bias.chunk(2)
        weights = _Weights(w[index], r[index], w_bias, r_bias, p[index] if p is not None else None)
        state = tuple(part[index] if part is not None else x.new_zeros(batch, hidden) for part in initial)
        backwards = index == 1 or call.attribute("direction", "forward") == "reverse"
        y, state = _direction(call, cell, x, weights, state, activations[index], lengths, backwards)
        outputs.append(y)
        finals.append(state)
    y = torch.stack(outputs, 1)
    last = [torch.stack(parts) for parts in zip(*finals, strict=True)]
    return (y.permute(2, 0, 1, 3), *(part.transpose(0, 1) for part in last)) if first else (y, *last)


def _direction(
    call: Call,
    cell: Cell,
    x: Tensor,
    weights: _Weights,
    state: State,
    activations: Sequence[Activation],
    lengths: Tensor | None,
    backwards: bool,
) -> tuple[Tensor, State]:
    """One direction: a sequence that has ended keeps its state, and its outputs are zero."""
    wx = F.linear(x, weights.w)
    steps = range(x.shape[0] - 1, -1, -1) if backwards else range(x.shape[0])
    outputs: list[Tensor] = [x] * x.shape[0]
    for step in steps:
        new = cell(call, wx[step], state, weights, activations)
        if lengths is None:
            outputs[step], state = new[0], new
            continue
        live = (lengths.to(x.device) > step).unsqueeze(-1)
        outputs[step] = torch.where(live, new[0], torch.zeros_like(new[0]))
        state = tuple(torch.where(live, after, before) for after, before in zip(new, state, strict=True))
    return torch.stack(outputs), state


def _activations(call: Call, default: list[str], directions: int) -> list[list[Activation]]:
    """The activations of each direction; those that have parameters take the next of the call's, or their own."""
    names = [str(name).lower() for name in call.attribute("activations", default * directions)]
    alphas, betas = list(call.attribute("activation_alpha", ())), list(call.attribute("activation_beta", ()))
    made = []
    for name in names:
        alpha = alphas.pop(0) if name in _ALPHA and alphas else _ALPHA.get(name, 0.0)
        beta = betas.pop(0) if name in _BETA and betas else _BETA.get(name, 0.0)
        made.append(_NAMED[name](alpha, beta))
    count = len(names) // directions
    return [made[index * count : (index + 1) * count] for index in range(directions)]


def _clipped(call: Call, x: Tensor) -> Tensor:
    bound = call.attribute("clip", math.inf)
    return x.clamp(-bound, bound) if bound < math.inf else x
