"""What becomes of a sum: rewritten into few operations, it is still what was asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pruneir.backends.cortex_m.assembly import finish as fi
from pruneir.backends.cortex_m.assembly.expression import (
    Given,
    NotWritten,
    Sum,
    Value,
    largest,
    minus,
    over,
    plus,
    smallest,
    times,
)
from pruneir.backends.cortex_m.assembly.writer import placed

BIAS, GIVEN = fi.Operand(1, 0), fi.Operand(9, 1)
Y, A, B = Sum(), Given(0), Given(1)
CASES: dict[str, tuple[Value, Callable[..., np.ndarray], str]] = {
    "as it is": (Y, lambda y, a, b: y, ""),
    "a bias is where the sum starts": (plus(Y, A), lambda y, a, b: y + a, ""),
    "relu": (largest(plus(A, Y), 0.0), lambda y, a, b: np.maximum(y + a, 0), "relu"),
    "chains of numbers are one": (
        plus(times(plus(times(Y, 2.0), 1.0), 3.0), -1.0),
        lambda y, a, b: (2 * y + 1) * 3 - 1,
        "scale offset",
    ),
    "numbers in front": (minus(1.0, times(3.0, Y)), lambda y, a, b: 1 - 3 * y, "scale offset"),
    "ReLU6": (smallest(largest(Y, 0.0), 6.0), lambda y, a, b: np.clip(y, 0, 6), "scale unit scale"),
    "clip": (
        largest(smallest(Y, 0.75), -0.5),
        lambda y, a, b: np.clip(y, -0.5, 0.75),
        "scale offset unit scale offset",
    ),
    "clips of clips": (
        smallest(largest(smallest(largest(Y, -1.0), 9.0), 0.0), 1.0),
        lambda y, a, b: np.clip(np.clip(y, -1, 9), 0, 1),
        "unit",
    ),
    "a clip that is turned over": (
        minus(1.0, smallest(largest(Y, 0.0), 1.0)),
        lambda y, a, b: 1 - np.clip(y, 0, 1),
        "scale offset unit",
    ),
    "hard sigmoid": (
        largest(smallest(plus(times(0.2, Y), 0.5), 1.0), 0.0),
        lambda y, a, b: np.clip(0.2 * y + 0.5, 0, 1),
        "scale offset unit",
    ),
    "hard swish": (
        over(times(plus(Y, A), smallest(largest(plus(plus(Y, A), 3.0), 0.0), 6.0)), 6.0),
        lambda y, a, b: (y + a) * np.clip(y + a + 3, 0, 6) / 6,
        "scale offset unit mul",
    ),
    "relu, then normalized": (
        plus(times(largest(plus(Y, A), 0.0), 2.0), 0.5),
        lambda y, a, b: np.maximum(y + a, 0) * 2 + 0.5,
        "relu scale offset",
    ),
    "residual": (largest(plus(plus(Y, A), B), 0.0), lambda y, a, b: np.maximum(y + a + b, 0), "load add relu"),
    "less": (minus(B, plus(Y, A)), lambda y, a, b: b - y - a, "load sub"),
    "a bias that is also a factor": (times(plus(Y, A), A), lambda y, a, b: (y + a) * a, "load add load mul"),
}

OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    "add": lambda number, a, b: a + b,
    "sub": lambda number, a, b: a - b,
    "mul": lambda number, a, b: a * b,
    "scale": lambda number, a: a * number,
    "offset": lambda number, a: a + number,
    "relu": lambda number, a: np.maximum(a, 0),
    "unit": lambda number, a: np.clip(a, 0, 1),
}


def computed(finish: fi.Finish, y: np.ndarray, operands: list[np.ndarray]) -> np.ndarray:
    """What the operations do, in the registers that they are given: the sum's own is 0."""
    registers = {0: y if finish.bias is None else y + operands[finish.bias]}
    for step, to, read in placed(finish.operations, 0, [1, 2], {}):
        given = [registers[register] for register in read]
        registers[to] = (
            operands[int(step.number)] if step.name == "load" else OPERATIONS[step.name](step.number, *given)
        )
    return registers[0]


@pytest.mark.parametrize(("value", "wanted", "names"), CASES.values(), ids=CASES)
def test_few_operations_compute_the_same(value: Value, wanted: Callable[..., np.ndarray], names: str) -> None:
    y, a, b = np.random.default_rng(0).standard_normal((3, 200)) * 3
    finish = fi.finish(value, (BIAS, GIVEN), 9, 1)
    assert " ".join(operation.name for operation in finish.operations) == names
    assert computed(finish, y, [a, b]) == pytest.approx(wanted(y, a, b), abs=1e-12)


REFUSED: dict[str, Callable[[], object]] = {
    "a quotient of values": lambda: over(Y, A),
    "the larger of values": lambda: largest(Y, A),
    "the smaller of values": lambda: smallest(Y, A),
    "a number": lambda: fi.finish(1.0, (), 9, 1),
    "a clip too wide for fixed point": lambda: fi.finish(smallest(largest(Y, -100.0), 100.0), (), 9, 1),
    "a bound on one side that is not zero": lambda: fi.finish(largest(Y, 1.0), (), 9, 1),
    "an operand alone": lambda: fi.finish(A, (GIVEN,), 9, 1),
    "nothing for each point": lambda: fi.elementwise(plus(A, 1.0), (BIAS,), 9, 1),
}


@pytest.mark.parametrize("made", REFUSED.values(), ids=REFUSED)
def test_what_has_no_instructions_is_left_to_c(made: Callable[[], object]) -> None:
    with pytest.raises(NotWritten):
        made()


def test_without_a_sum_the_first_array_of_points_stands_for_it() -> None:
    finish = fi.elementwise(times(A, B), (BIAS, GIVEN), 9, 1)
    assert (finish.bias, [operation.name for operation in finish.operations]) == (1, ["load", "mul"])
