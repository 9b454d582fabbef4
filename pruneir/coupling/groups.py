"""Groups: the classes of channels that the rules left free, gathered by where they stand.

A class is one root of the union-find: everything that must go when one channel goes. Classes with the same orbit (the
same axes of the same tensors, equally often) form a group; its classes are the channels that criteria score and plans
cut. Two groups that meet in the same positions, {h, d}, are a pair of blocks and positions: cutting half of either
halves the axis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pruneir.coupling.engine import Traced, Use
from pruneir.coupling.generators import NEVER, Ids
from pruneir.coupling.labels import Labels
from pruneir.coupling.macs import MacCounter
from pruneir.coupling.rule import Cut
from pruneir.graph import Operator
from pruneir.memory import building
from pruneir.shapes import Shapes, at_batch, infer


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One axis of one use of a constant that a group runs through.

    rows      which rows of the axis's labels belong to the group, ascending
    channels  index into the group's channels of each of these
    """

    use: Use
    axis: int
    role: str
    rows: Ids
    channels: Ids

    @property
    def channel(self) -> np.ndarray:
        """`[length]`: index into the group's channels of each position, −1 where it belongs to none of them."""
        labels = self.use.labels[self.axis]
        found = np.full(len(labels.base), -1, np.int64)
        found[self.rows] = self.channels
        return labels.spread(found)

    @property
    def operator(self) -> Operator:
        """The operator that reads the constant."""
        return self.use.operator


@dataclass(eq=False)
class Group:
    """Channels that criteria score and plans cut.

    name       the operator whose output channels these are
    roots      `[channels]`: the classes, in the order of the first member's positions
    members    axes of constants, producers first in file order
    values     activations `(name, axis)` that carry the channels
    positions  the group is the blocks of these groups' positions: cutting them instead is the default
    blocks     the groups that have this one among their positions
    """

    name: str
    roots: Ids
    members: list[Member] = field(default_factory=list)
    values: list[tuple[str, int]] = field(default_factory=list)
    positions: list[Group] = field(default_factory=list)
    blocks: list[Group] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.roots)

    def __repr__(self) -> str:
        return f"<Group {self.name!r}: {len(self)} channels, {len(self.members)} members>"

    @property
    def repeats(self) -> int:
        """How often each channel stands on the axis that makes it: the number of blocks, where these are positions."""
        return int((self.members[0].channel == 0).sum())

    @property
    def goes_whole(self) -> bool:
        """Whether blocks are cut rather than their positions: there are more, and some operator makes them alone."""
        within = {(member.use, member.axis) for positions in self.positions for member in positions.members}
        made = [(m.use, m.axis) for m in self.members if m.role == "out" and len(m.use.labels) > 1]
        return len(self) > max(map(len, self.positions), default=0) and not within.issuperset(made)

    @cached_property
    def operators(self) -> list[Operator]:
        """The operators whose constants the group runs through, each once."""
        return list(dict.fromkeys(member.operator for member in self.members))

    @property
    def producers(self) -> list[Operator]:
        """The operators whose output channels these are."""
        return list(dict.fromkeys(m.operator for m in self.members if m.role == "out" and len(m.use.labels) > 1))


class Coupling:
    """A graph's groups, and what a cut of them does to every axis."""

    def __init__(self, traced: Traced):
        self.traced = traced
        self.graph = traced.graph
        self.generators = traced.generators

    @cached_property
    def groups(self) -> list[Group]:
        """The free groups, in the order in which the network makes their channels."""
        with building():
            return _Gathering(self.traced).groups()

    @cached_property
    def uses_of(self) -> dict[str, list[Use]]:
        """All uses of each constant, by its name."""
        found: dict[str, list[Use]] = defaultdict(list)
        for use in self.traced.uses:
            found[use.name].append(use)
        return dict(found)

    @cached_property
    def one_sample(self) -> Shapes:
        """The shapes at one sample, where the batch is symbolic."""
        shapes = self.traced.shapes
        inputs = at_batch(self.graph, shapes.inputs, 1)
        return shapes if inputs == shapes.inputs else infer(self.graph, inputs)

    @cached_property
    def mac_counter(self) -> MacCounter:
        """What counts multiply-accumulates, at one sample."""
        return MacCounter(self.traced, self.one_sample)

    def cut(self, dead: np.ndarray) -> Cut:
        """What stays of each axis when some classes go; `dead` is one truth value per generator."""
        return Cut(self.generators, dead)

    def dead(self, removed: Iterable[tuple[Group, Ids]]) -> np.ndarray:
        """One truth value per generator: the given channels of each group go."""
        mask = np.zeros(len(self.generators), bool)
        for group, channels in removed:
            mask[group.roots[channels]] = True
        return mask


@dataclass(slots=True, eq=False)
class _Site:
    """An axis, of a constant's use or of a value."""

    use: Use | None
    value: str
    axis: int
    labels: Labels


_Touch = tuple[_Site, Ids, Ids]
"""An axis that a group touches: the rows of its labels, and the group's class in each."""


class _Gathering:
    """Sorts roots into groups by the sites that they stand on."""

    def __init__(self, traced: Traced):
        self.generators = traced.generators
        self.graph = traced.graph
        self.sites: dict[int, list[_Site]] = defaultdict(list)
        """Sites by labels object: an activation after a ReLU shares its labels with the one before."""
        for use in traced.uses:
            for axis, labels in enumerate(use.labels):
                self._note(_Site(use, use.name, axis, labels))
        for name, state in traced.values.items():
            for axis, known in enumerate(state.labels):
                if known is not None:
                    self._note(_Site(None, name, axis, known))
        order = {operator: index for index, operator in enumerate(traced.graph.operators)}
        self.order = {id(use): order.get(use.operator, len(order)) for use in traced.uses}

    def _note(self, site: _Site) -> None:
        if not site.labels.is_data:
            self.sites[id(site.labels)].append(site)

    def groups(self) -> list[Group]:
        rows = {key: self._free(sites[0].labels) for key, sites in self.sites.items()}
        group_of, count = self._sorted_by_orbit(rows)
        groups = [Group("", np.zeros(0, np.int64)) for _ in range(count)]
        touching: list[list[_Touch]] = [[] for _ in range(count)]
        pairs: dict[tuple[int, int], None] = {}
        for key, sites in self.sites.items():
            known = group_of[rows[key]]
            for index, at, roots in _by_group(known, rows[key]):
                touching[index] += [(site, at, roots) for site in sites]
            if known.shape[1] > 1:
                for row in np.unique(known, axis=0):
                    here = [int(g) for g in row if g >= 0]
                    pairs |= {(a, b): None for i, a in enumerate(here) for b in here[i + 1 :] if (b, a) not in pairs}
        channel_of = np.full(len(self.generators), -1, np.int64)
        for group, sites_of in zip(groups, touching, strict=True):
            self._fill(group, sites_of, channel_of)
        for blocks, positions in pairs:
            if blocks != positions and groups[positions].members:
                groups[blocks].positions.append(groups[positions])
        found = sorted((g for g in groups if any(map(self._is_parameter, g.members))), key=self._place)
        for group in found:
            for inner in group.positions:
                inner.blocks.append(group)
        _name_apart(found)
        return found

    def _is_parameter(self, member: Member) -> bool:
        """Whether a constant holds parameters; wide integers are indices, sizes and masks."""
        array = self.graph.constant(member.use.name)
        return array is not None and (array.dtype.kind not in "iub" or array.dtype.itemsize == 1)

    def _place(self, group: Group) -> tuple[int, ...]:
        """Where a group first stands; of two that stand in the same place, blocks come before their positions."""
        first = group.members[0]
        return (self.order[id(first.use)], first.use.slot, first.axis, int(first.rows[0]), -len(group.positions))

    def _free(self, labels: Labels) -> Ids:
        """The labels' rows with everything that is locked left out."""
        leaves = self.generators.leaves(labels.base)
        return np.where(self.generators.locked(leaves), NEVER, leaves)

    def _sorted_by_orbit(self, rows: dict[int, Ids]) -> tuple[Ids, int]:
        """The group of every generator (−1: none), and their number: classes of equal signature, a sum of hashes."""
        random = np.random.default_rng(0)
        signature = np.zeros(len(self.generators), np.uint64)
        for key, sites in self.sites.items():
            labels = sites[0].labels
            hashes = random.integers(1, 2**63, (len(sites), rows[key].shape[1]), np.uint64).sum(axis=0)
            for column, number in zip(rows[key].T, hashes, strict=True):
                found, times = np.unique(column, return_counts=True)
                signature[found] += number * times.astype(np.uint64) * np.uint64(labels.inner * labels.outer)
        signature[NEVER] = 0
        present = np.flatnonzero(signature)
        _, group = np.unique(signature[present], return_inverse=True)
        group_of = np.full(len(self.generators), -1, np.int64)
        group_of[present] = group
        return group_of, int(group.max(initial=-1)) + 1

    def _fill(self, group: Group, touching: list[_Touch], channel_of: Ids) -> None:
        """Members in file order, channels in the order of the first producer's positions."""
        group.values = [(site.value, site.axis) for site, _, _ in touching if site.use is None]
        uses = sorted(
            ((site.use, site.axis, at, roots) for site, at, roots in touching if site.use is not None),
            key=lambda item: (self.order[id(item[0])], item[0].slot, item[1]),
        )
        if not uses:
            return
        firsts = [u for u in uses if u[0].roles.get(u[1]) == "out" and len(u[0].labels) > 1] or uses
        use, _, _, roots = firsts[0]
        _, first = np.unique(roots, return_index=True)
        group.roots = roots[np.sort(first)]
        group.name = use.operator.label
        channel_of[group.roots] = np.arange(len(group.roots))
        for use, axis, at, roots in uses:
            rows, first = np.unique(at, return_index=True)
            channels = np.maximum.reduceat(channel_of[roots], first)
            group.members.append(Member(use, axis, use.roles.get(axis, ""), rows, channels))


def _by_group(known: Ids, rows: Ids) -> Iterator[tuple[int, Ids, Ids]]:
    """The groups on an axis, each with the rows that it is on and its class there, in the order of the rows.

    known  `[rows, factors]`: the group of every factor, −1 where there is none
    """
    at, factor = np.nonzero(known >= 0)
    group, roots = known[at, factor], rows[at, factor]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    for part in np.split(order, starts)[1:]:
        yield int(group[part[0]]), at[part], roots[part]


def _name_apart(groups: list[Group]) -> None:
    """Blocks and positions of one operator share its name: all but the first get a number."""
    seen: dict[str, int] = defaultdict(int)
    for group in groups:
        seen[group.name] += 1
        if seen[group.name] > 1:
            group.name += f"#{seen[group.name]}"
