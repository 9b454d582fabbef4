"""What a rule sees and says: an operator's tensors, their axes, and how these live or die together.

A rule is a function of one `Op`, registered by operator type. It states, in the words of the operator's page, which
axes are tied, which are summed over, which only move, and what must be rewritten when they shrink. What it does not
mention, the engine locks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pruneir.coupling import labels as lab
from pruneir.coupling.generators import Generators, Ids
from pruneir.coupling.labels import Labels
from pruneir.coupling.words import FOLD, PRODUCT
from pruneir.errors import Refusal
from pruneir.graph import Operator


@dataclass(slots=True, eq=False)
class State:
    """What is known of one tensor, or of one use of a constant.

    labels  per axis; None on a constant's axis that nothing has tied yet
    zero    per axis: whether a position that died there is exactly zero in the masked network
    """

    labels: list[Labels | None]
    zero: list[bool]


@dataclass(frozen=True, slots=True)
class Edit:
    """What becomes of an operator when axes shrink.

    attributes  new values of attributes; None drops one
    constants   new integer constants by input slot
    type        another operator type in its place, which reads input 0 and the constants given
    """

    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[int, np.ndarray] = field(default_factory=dict)
    type: str | None = None


class Cut:
    """Which positions of an axis stay, once a plan is chosen."""

    def __init__(self, generators: Generators, dead: np.ndarray):
        self._generators = generators
        self._dead = dead
        self._known: dict[int, tuple[Labels, np.ndarray]] = {}

    def _base(self, labels: Labels) -> np.ndarray:
        known = self._known.get(id(labels))
        if known is None:
            rows = self._generators.leaves(labels.base)
            known = self._known[id(labels)] = (labels, np.logical_not(self._dead[rows].any(axis=1)))
        return known[1]

    def mask(self, labels: Labels) -> np.ndarray:
        """True where a position stays, `[n]`."""
        return labels.spread(self._base(labels))

    def kept(self, labels: Labels) -> np.ndarray:
        """The positions that stay, ascending."""
        return np.flatnonzero(self.mask(labels))

    def count(self, labels: Labels) -> int:
        """How many positions stay."""
        return int(self._base(labels).sum()) * labels.inner * labels.outer

    def touches(self, labels: Labels) -> bool:
        """Whether any position goes."""
        return not self._base(labels).all()


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One axis of a tensor, as an operator sees it."""

    tensor: Tensor
    index: int

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.tensor.shape[self.index]

    @property
    def labels(self) -> Labels:
        """The axis's labels; a constant's axis starts with one fresh generator a position."""
        self.tensor.touched.add(self.index)
        known = self.tensor.state.labels[self.index]
        if known is None:
            fresh = self.tensor.op.generators.fresh(self.length) if self.length > 1 else None
            known = lab.single(fresh) if fresh is not None else lab.data(self.length)
            self.tensor.state.labels[self.index] = known
        return known

    @property
    def assigned(self) -> bool:
        """Whether the axis has labels already."""
        return self.tensor.state.labels[self.index] is not None

    @property
    def zero(self) -> bool:
        """Whether removed positions are exactly zero in the masked network."""
        return self.tensor.state.zero[self.index]

    def assign(self, labels: Labels, zero: bool) -> None:
        """Give an output axis its labels."""
        self.tensor.touched.add(self.index)
        self.tensor.state.labels[self.index] = labels
        self.tensor.state.zero[self.index] = zero


@dataclass(slots=True, eq=False)
class Tensor:
    """One input or output of an operator."""

    op: Op
    name: str
    shape: tuple[int, ...]
    state: State
    constant: bool
    value: np.ndarray | None
    """What is known of its content before any data is seen: shapes, indices, small constants."""
    touched: set[int] = field(default_factory=set)
    roles: dict[int, str] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def axes(self) -> list[Axis]:
        """All axes."""
        return [Axis(self, i) for i in range(self.rank)]

    def axis(self, index: int) -> Axis:
        """One axis; negative indices count from the end."""
        return Axis(self, index % self.rank if self.rank else 0)

    def trailing(self, rank: int, index: int) -> Axis | None:
        """The axis that broadcasting lines up with axis `index` of a tensor of `rank` axes."""
        own = index - (rank - self.rank)
        return Axis(self, own) if own >= 0 else None


@dataclass(frozen=True, slots=True)
class MacTerm:
    """Multiply-accumulates of one operator: the product of some axis lengths (times a constant factor)."""

    operator: Operator
    axes: tuple[tuple[str, int, Labels], ...]
    """Tensor name, axis and labels."""
    factor: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One input axis that an operator sums over: where a removed position must contribute nothing."""

    operator: Operator
    slot: int
    axis: int
    labels: Labels


@dataclass(slots=True, eq=False)
class Said:
    """What a rule said of an operator, besides how axes live and die.

    edits   what to rewrite when axes shrink
    macs    its multiply-accumulates
    summed  input axes that are summed over
    opened  whether `cut_norms` let an axis through that the operator takes statistics over
    """

    edits: list[Callable[[Cut], Edit]] = field(default_factory=list)
    macs: list[MacTerm] = field(default_factory=list)
    summed: list[Axis] = field(default_factory=list)
    opened: bool = False


class Op:
    """An operator as its rule sees it."""

    def __init__(
        self,
        operator: Operator,
        generators: Generators,
        opset: int,
        options: Mapping[str, bool],
        reading: Callable[[str, int], set[int]],
        positive: Callable[[str], bool],
    ):
        self.operator = operator
        self.reading = reading
        self.positive = positive
        self.generators = generators
        self.opset = opset
        self.options = options
        self.inputs: list[Tensor | None] = []
        self.outputs: list[Tensor | None] = []
        self.said = Said()

    # Reading

    @property
    def type(self) -> str:
        """The operator type."""
        return self.operator.type

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.input(0)

    @property
    def y(self) -> Tensor:
        """The first output."""
        tensor = self.outputs[0]
        assert tensor is not None
        return tensor

    def input(self, slot: int) -> Tensor:
        """An input that the operator requires."""
        tensor = self.optional(slot)
        if tensor is None:
            raise Refused(f"input {slot} is missing")
        return tensor

    def optional(self, slot: int) -> Tensor | None:
        """An input that may be absent."""
        return self.inputs[slot] if slot < len(self.inputs) else None

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        return self.operator.attribute(name, default)

    def used_positions(self) -> set[int]:
        """Which positions of a one-dimensional output are read, as far as its readers select by constants."""
        return self.reading(self.operator.outputs[0], self.y.shape[0])

    def parameter(self, name: str, slot: int, default: Any = None) -> Any:
        """A parameter that is an attribute in older opsets and an input in newer ones, as a list of Python numbers."""
        if name in self.operator.attributes:
            given = self.operator.attributes[name]
            return list(given) if isinstance(given, (tuple, list)) else [given]
        tensor = self.optional(slot)
        if tensor is None:
            return default
        if tensor.value is None:
            raise Refused(f"has {name} that are computed at run time", FOLD, "PIR008")
        return np.atleast_1d(tensor.value).tolist()

    def can_die(self, labels: Labels) -> bool:
        """Whether any of these positions is still free to go."""
        return not labels.is_data and not self.generators.locked(self.generators.leaves(labels.base)).all()

    # Saying how axes live and die

    def tie(self, *axes: Axis | None, role: str = "") -> None:
        """Position i of each axis dies exactly when position i of the others does. Absent axes are passed over."""
        present = [axis for axis in axes if axis is not None]
        if len({axis.length for axis in present}) > 1:
            raise Refused("axes that should agree have lengths " + ", ".join(str(a.length) for a in present))
        known = [axis for axis in present if axis.assigned] or present[:1]
        first = known[0].labels
        for axis in known[1:]:
            self.generators_tie(first, axis.labels)
        for axis in present:
            if not axis.assigned:
                axis.assign(first, axis.zero)
            axis.tensor.touched.add(axis.index)
            if role and axis.tensor.constant:
                axis.tensor.roles[axis.index] = role

    def label(self, axis: Axis, labels: Labels, role: str = "") -> None:
        """An axis has just these labels: assigned if it has none yet, tied if it has."""
        if axis.length != len(labels):
            raise Refused(f"axis {axis.index} of '{axis.tensor.name}' has length {axis.length}, not {len(labels)}")
        if axis.assigned:
            self.generators_tie(axis.labels, labels)
        else:
            axis.assign(labels, axis.zero)
        if role and axis.tensor.constant:
            axis.tensor.roles[axis.index] = role

    def generators_tie(self, a: Labels, b: Labels) -> None:
        """Tie two axes' labels."""
        lab.tie(self.generators, a, b)

    def produce(self, out: Axis, *constants: Axis | None) -> None:
        """Output positions come from a weight's: with the weight masked they are zero."""
        zero = all(axis.zero for axis in constants if axis is not None)
        self.tie(out, *constants, role="out")
        out.tensor.state.zero[out.index] = zero

    def contract(self, a: Axis, b: Axis) -> None:
        """Two axes are multiplied and summed over: what dies must contribute nothing, so one side must be zero."""
        self.tie(a, b, role="in")
        self.sum_over(a, b)
        if not (a.zero or b.zero):
            self.lock(
                a,
                reason=PRODUCT,
                code="PIR012",
            )

    def sum_over(self, *axes: Axis) -> None:
        """These input axes are summed over: what died there must contribute nothing."""
        self.said.summed += axes
        for axis in axes:
            axis.tensor.touched.add(axis.index)

    def move(self, out: Axis, labels: Labels, *sources: Axis) -> None:
        """An output axis is made of input positions, moved or repeated; `labels` says which."""
        for axis in sources:
            axis.tensor.touched.add(axis.index)
        if len(labels) != out.length:
            raise Refused(f"axis {out.index} of its output has length {out.length}, not {len(labels)}")
        out.assign(labels, all(axis.zero for axis in sources))

    def keep(self, out: Axis, source: Axis) -> None:
        """An output axis is an input axis, unchanged."""
        self.move(out, source.labels, source)

    def lock(self, *axes: Axis, reason: str, remedy: str = "", code: str = "PIR003") -> None:
        """These axes must stay whole."""
        for axis in axes:
            lock_axis(self.generators, axis, Refusal(code, self.operator.label, f"{self.type} {reason}", remedy))

    def normalizes(self, labels: Labels) -> bool:
        """Statistics are taken over these positions: whether they must stay, which the option `cut_norms` lifts."""
        if self.options.get("cut_norms", False):
            self.said.opened |= self.can_die(labels)
            return False
        return not labels.is_data

    def hold(self, labels: Labels, reason: str, remedy: str = "", code: str = "PIR003") -> None:
        """Lock labels that no axis has on its own."""
        if not labels.is_data:
            self.generators.lock(labels.base, Refusal(code, self.operator.label, f"{self.type} {reason}", remedy))

    # Saying what else changes

    def on_cut(self, edit: Callable[[Cut], Edit]) -> None:
        """Rewrite the operator when a plan cuts axes."""
        self.said.edits.append(edit)

    def rewrite(self, name: str, slot: int, value: Callable[[Cut], Iterable[int]]) -> None:
        """Recompute a parameter that is an attribute in older opsets and an input in newer ones."""
        if name in self.operator.attributes:
            self.on_cut(lambda cut: Edit(attributes={name: tuple(int(v) for v in value(cut))}))
        elif self.optional(slot) is not None:
            self.on_cut(lambda cut: Edit(constants={slot: np.array(list(value(cut)), np.int64)}))

    def macs(self, *axes: Axis | Sequence[Axis], factor: int = 1) -> None:
        """State the multiply-accumulates: the product of these axes' lengths."""
        flat: list[Axis] = []
        for axis in axes:
            flat += [axis] if isinstance(axis, Axis) else axis
        terms = tuple((a.tensor.name, a.index, a.tensor.state.labels[a.index] or lab.data(a.length)) for a in flat)
        self.said.macs.append(MacTerm(self.operator, terms, factor))


class Refused(Exception):
    """A rule does not understand this use of its operator: everything that it touches stays."""

    def __init__(self, reason: str, remedy: str = "", code: str = "PIR016"):
        super().__init__(reason)
        self.reason, self.remedy, self.code = reason, remedy, code

    def words(self, kind: str) -> str:
        """The reason as a sentence about an operator of that type."""
        return f"{kind} {self.reason}"


Rule = Callable[[Op], None]
RULES: dict[tuple[str, str], Rule] = {}


def rule(*types: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register a rule for operator types of a domain (the standard one by default)."""

    def register(function: Rule) -> Rule:
        for name in types:
            RULES[domain, name] = function
        return function

    return register


def lock_axis(generators: Generators, axis: Axis, refusal: Refusal) -> None:
    """Lock one axis for a reason. A constant's axis that nothing has tied needs one generator only."""
    if axis.assigned:
        labels = axis.labels
        if not labels.is_data:
            generators.lock(labels.base, refusal)
    else:
        axis.assign(locked(generators, axis.length, refusal), axis.zero)
    axis.tensor.touched.add(axis.index)


def locked(generators: Generators, length: int, refusal: Refusal) -> Labels:
    """The labels of an axis that stays whole, and says why."""
    one: Ids = generators.fresh(1)
    generators.lock(one[:, None], refusal)
    return Labels(one[:, None], inner=length)
