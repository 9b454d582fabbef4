"""What a pass is: a frozen dataclass from a Graph to a Result, found by name through entry points.

A pass's typed fields are at once its Python arguments, its options on the command line (`--pass 'slim{ratio=0.5}'`)
and its keys in a recipe; its docstring is its documentation page.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pruneir.conflicts import Exclusive, Idle, require_effect
from pruneir.coupling import Coupling, couple
from pruneir.data import Data
from pruneir.detection.anchors import Anchors
from pruneir.errors import Refusal
from pruneir.graph import Graph
from pruneir.pipeline.plan import Plan
from pruneir.progress import Progress, silent
from pruneir.score import Score
from pruneir.surgery import Cuts
from pruneir.targets import TARGETS, Target

Kept = Mapping[str, Mapping[int, np.ndarray]]
"""Positions that are left of inner values, by value and axis."""


@dataclass(frozen=True)
class Pass(ABC):
    """A rewrite of the graph.

    lossy       its result is another network than its input
    structured  it is there to remove channels
    exclusive, idle   options that leave others without effect: see pruneir.conflicts
    """

    name: ClassVar[str]
    lossy: ClassVar[bool]
    structured: ClassVar[bool] = False
    exclusive: ClassVar[Exclusive] = ()
    idle: ClassVar[Idle] = {}

    def __post_init__(self) -> None:
        """PruneirError for options that do not go together. A pass that checks its options calls this at the end."""
        require_effect(self, f"pass {self.name}")

    @abstractmethod
    def run(self, graph: Graph, context: Context) -> Result:
        """The rewritten graph. The one given is not changed."""

    def __str__(self) -> str:
        """The pass as one would write it on the command line: options that differ from their defaults."""
        options = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        return self.name + ("{" + ",".join(f"{k}={written(v)}" for k, v in options) + "}" if options else "")


class Couplings:
    """The coupling of the graph that was asked for last, so that a pass and the cost table trace it once."""

    def __init__(self) -> None:
        self._last: tuple[Graph, Mapping[str, bool], Coupling] | None = None

    def of(self, graph: Graph, **options: bool) -> Coupling:
        """The coupling of a graph that is not changed any more."""
        asked = {name: True for name, value in options.items() if value}
        if self._last is None or self._last[0] is not graph or self._last[1] != asked:
            self._last = None  # free it before the next is made
            self._last = (graph, asked, couple(graph, None, **asked))
        return self._last[2]


@dataclass(frozen=True, slots=True)
class Uncut:
    """The network before the structured passes that ran since the last repair or training.

    graph  as the first of them got it; a value that is still there has its name
    kept   what they left of its values, built when asked for
    """

    graph: Graph
    kept: Callable[[], Kept]


@dataclass(frozen=True, slots=True)
class Context:
    """What a pass may use besides the graph.

    original  the network as it was loaded
    plan      what earlier passes of the chain cut
    uncut     what the network was before it was cut, for passes that repair; None if nothing was
    data      samples to calibrate and train on; None if there are none
    validation  samples to choose on; None if there are none
    seed      of everything random
    progress  told what a slow pass is at, and the share of the pass that is done
    keep, keep_inputs, only   globs: freeze output channels, freeze input channels, restrict to
    ratios    ratio by glob, instead of the pass's own
    couplings  where a pass asks for the coupling of the graph that it was given
    checkpoints  a folder of this pass's own, where it may keep what it needs to go on after it was stopped
    anchors   of a detector, that --anchors or a pass of the chain names, for scores and losses
    """

    original: Graph
    plan: Plan = field(default_factory=Plan)
    uncut: Uncut | None = None
    data: Data | None = None
    validation: Data | None = None
    seed: int = 0
    progress: Progress = silent
    target: Target = TARGETS["any"]
    keep: tuple[str, ...] = ()
    keep_inputs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ratios: Mapping[str, float] = field(default_factory=dict)
    couplings: Couplings = field(default_factory=Couplings)
    checkpoints: Path | None = None
    anchors: Anchors | None = None


@dataclass(frozen=True, slots=True)
class GroupRow:
    """What a pass did to one group, for the table.

    members    operators that the group runs through
    macs       multiply-accumulates of the operators that touch the group, before and after
    note       why nothing, or not more, was cut; empty if the selection was free
    """

    name: str
    members: tuple[str, ...]
    channels_before: int
    channels_after: int
    macs_before: int
    macs_after: int
    note: str = ""

    def then(self, last: GroupRow) -> GroupRow:
        """This row, and what was done to the same group later on."""
        return replace(last, channels_before=self.channels_before, macs_before=self.macs_before)


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """What one phase of a pass that prunes and trains in turn came to, for the table.

    name        what the paper calls the network after it
    layers      labels of the operators whose weights it judged by
    threshold   below which weights counted as zero
    small       share of the judged weights that are
    zeros       share of zeros from which on a channel went; None if options said how many go
    channels_before, channels_after  of the groups that were cut
    macs, params   of the network, after the cut
    induced, cut, retrained   its score after sparsity training, after the cut, and after retraining
    round, step   of the chain, and the pass in that round, from 1
    """

    name: str
    layers: tuple[str, ...]
    threshold: float
    small: float
    zeros: float | None
    channels_before: int
    channels_after: int
    macs: int
    params: int
    induced: Score
    cut: Score
    retrained: Score
    round: int = 1
    step: int = 1


@dataclass(frozen=True, slots=True)
class LayerRow:
    """What a pass set to zero in one weight, for the table.

    name           tensor
    layer          label of the operator that reads it
    weights        entries of the tensor
    before, after  entries that were not zero, and are not zero
    note           why nothing, or not more, was set to zero
    """

    name: str
    layer: str
    weights: int
    before: int
    after: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What a pass made.

    graph      the new graph
    rows       one per group, for structured passes
    layers     one per weight, for passes that set weights to zero
    phases     one per phase, for passes that prune and train in turn
    refusals   what was left alone, and why
    notes      what the reader of the table should know, a line each
    cuts       kept positions of initializers, in the indices of the graph given
    changed    initializers whose values changed beyond slicing
    copies     vectors that were copied for one use, and what they are copies of
    follows    vectors that are no longer there, and the initializer and axis whose cuts they would have shared
    reference  for lossy passes: the uncut network that the result must equal, built when asked for
    kind       what becomes of removed channels there: `masked` to zero, or `held` at a constant
    kept       positions that inner values have left, by value and axis, built when asked for
    cutting    for passes that go on training: every network that they cut, and the result of the cut alone, which must
               equal its own reference
    """

    graph: Graph
    rows: tuple[GroupRow, ...] = ()
    layers: tuple[LayerRow, ...] = ()
    phases: tuple[PhaseRow, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    cuts: Cuts = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    copies: Mapping[str, str] = field(default_factory=dict)
    follows: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    reference: Callable[[], Graph] | None = None
    kind: Literal["masked", "held"] = "masked"
    kept: Callable[[], Kept] | None = None
    cutting: tuple[tuple[Graph, Result], ...] = ()


def written(value: object) -> str:
    """An option's value as one would write it; a text that is no plain word is quoted."""
    match value:
        case bool() | None:
            return str(value).lower()
        case tuple() | list():
            return f"[{','.join(map(written, value))}]"
        case str():
            plain = re.fullmatch(r"[^\W\d][\w.-]*", value) and value.lower() not in ("true", "false", "none")
            return value if plain else '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    return str(value)
