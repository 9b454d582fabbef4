"""Phases: groups in the order in which the network makes their channels, pruned and retrained some at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pruneir.coupling import Coupling, Group
from pruneir.errors import PruneirError
from pruneir.pipeline.registry import did_you_mean
from pruneir.selection.candidates import matches
from pruneir.sparsity.weights import weights


def by_size(coupling: Coupling, groups: Sequence[Group], count: int) -> list[list[Group]]:
    """The groups in runs of about equally many weights, front to back; fewer runs where there are fewer groups.

    A weight counts for the last group on it that is there: the one that it makes, or, where its own channels stay, the
    one that it reads.
    """
    place = {group: index for index, group in enumerate(groups)}
    last: dict[str, int] = {}
    for group, index in place.items():
        for member in group.members:
            last[member.use.name] = max(last.get(member.use.name, 0), index)
    sizes = np.zeros(len(groups))
    for weight in weights(coupling.graph):
        if weight.name in last:
            sizes[last[weight.name]] += weight.array.size
    return [[groups[index] for index in run] for run in _runs(sizes, min(count, len(groups)))]


def by_globs(groups: Sequence[Group], given: Sequence[str], first: Sequence[Group] = ()) -> list[list[Group]]:
    """The groups that each text matches, `GLOB` or `GLOB;GLOB`; a group is of the first that does.

    groups  all that there are, whether they may be cut or not
    first   those that there were before any was cut: what is left of one with a single channel is no group
    PruneirError, with near matches, for a glob that matches none of either, and for a text that matches only groups of
    earlier ones.
    """
    known, found, taken = [*groups, *first], [], list[str]()
    for text in given:
        globs = text.split(";")
        for glob in globs:
            if not any(matches(group, [glob]) for group in known):
                hint = did_you_mean(glob, dict.fromkeys(group.name for group in known), "groups are")
                raise PruneirError(f"phases: no group of channels is called '{glob}'; {hint}")
        if all(matches(group, taken) for group in known if matches(group, globs)):
            raise PruneirError(f"phases: all that '{text}' matches is already in an earlier phase")
        found.append([group for group in groups if matches(group, globs) and not matches(group, taken)])
        taken += globs
    return found


def _runs(sizes: np.ndarray, count: int) -> list[range]:
    """Indices cut into runs, none empty, so that the largest run is as small as can be (dynamic programming)."""
    if not count:
        return []
    total = np.concatenate([[0.0], np.cumsum(sizes)])
    best: Mapping[int, tuple[float, list[int]]] = {end: (float(total[end]), [0]) for end in range(1, len(sizes) + 1)}
    for number in range(2, count + 1):
        best = {
            end: min(
                (max(best[start][0], float(total[end] - total[start])), [*best[start][1], start])
                for start in range(number - 1, end)
            )
            for end in range(number, len(sizes) + 1)
        }
    starts = best[len(sizes)][1]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(sizes)], strict=True)]
