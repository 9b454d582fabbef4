"""Phases: groups in the order in which the network makes their channels, pruned and retrained some at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pruneir.coupling import Coupling, Group
from pruneir.errors import PruneirError
from pruneir.names import did_you_mean
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
    """Indices cut into runs, none empty: the largest is as small as can be, then the largest before the last cut, etc.

    The more of the front is in earlier runs, the larger these and the smaller the last: where they cross is the best
    place for a cut, for all ends at once.
    """
    total = np.concatenate([[0.0], np.cumsum(sizes)])
    ends = np.arange(len(total))
    largest, cuts = total, []
    for number in range(1, count):
        crossing = number + np.searchsorted((largest + total)[number:], total)
        places = np.clip([crossing - 1, crossing], number, np.maximum(ends - 1, number))
        values = np.maximum(largest[places], total - total[places])
        later = values[1] < values[0]
        largest = np.where(later, values[1], values[0])
        cuts.append(np.where(later, places[1], places[0]))
    stops = [len(sizes)][:count]
    for cut in reversed(cuts):
        stops.append(int(cut[stops[-1]]))
    return [range(start, stop) for start, stop in pairwise([0, *reversed(stops)])]
