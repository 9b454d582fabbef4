"""LSTM, GRU and RNN: a hidden unit is one row of every gate, in both halves of the bias, and one column of R.

Both directions share `hidden_size`, so they lose the same units.
"""

from __future__ import annotations

from pruneir.coupling import labels as lab
from pruneir.coupling.labels import Labels
from pruneir.coupling.rule import Edit, Op, Tensor, rule

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_KEEPS_ZERO = ("elu", "leakyrelu", "relu", "softsign", "tanh")


@rule("LSTM", "GRU", "RNN")
def recurrent(op: Op) -> None:
    """X [S, N, I], W [D, gates·H, I], R [D, gates·H, H], B [D, 2·gates·H], states [D, N, H], peepholes [D, 3·H]."""
    gates = _GATES[op.type]
    x, w, r = op.x, op.input(1), op.input(2)
    hidden = lab.single(op.generators.fresh(r.shape[2]))
    op.contract(x.axis(2), w.axis(2))
    op.label(w.axis(1), _tiled(hidden, gates), "out")
    op.label(r.axis(1), _tiled(hidden, gates), "out")
    op.label(r.axis(2), hidden, "recurrent")
    op.sum_over(r.axis(2))
    for slot, copies in ((3, 2 * gates), (5, 1), (6, 1), (7, 3)):
        tensor = op.optional(slot)
        if tensor is not None:
            op.label(tensor.axis(-1), _tiled(hidden, copies), "out")
    zero = _stays_zero(op) and all(_zero(op.optional(slot)) for slot in (5, 6))
    for y in filter(None, op.outputs):
        y.axis(-1).assign(hidden, zero)
    if not zero:
        op.hold(hidden, "has activations or initial states that do not keep a masked unit at zero", code="PIR012")
    op.on_cut(lambda cut: Edit(attributes={"hidden_size": cut.count(hidden)}))
    steps = x.axes[:2]
    op.macs(steps, w.axes)
    op.macs(steps, r.axes)


def _tiled(labels: Labels, copies: int) -> Labels:
    return Labels(labels.base, outer=copies)


def _zero(state: Tensor | None) -> bool:
    return state is None or state.axis(-1).zero


def _stays_zero(op: Op) -> bool:
    """Whether a unit with zero weights stays at zero: the functions that make its state must map zero to zero."""
    given = [name.lower() for name in op.attribute("activations", ())]
    made = {"LSTM": (1, 2), "GRU": (1,), "RNN": (0,)}[op.type]
    per = {"LSTM": 3, "GRU": 2, "RNN": 1}[op.type]
    return all(name in _KEEPS_ZERO for i, name in enumerate(given) if i % per in made)
