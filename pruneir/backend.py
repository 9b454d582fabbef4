"""Backends by target: found through the entry-point group `pruneir.backends`, imported when one is asked for.

A backend is a frozen dataclass. Its fields are its options, all with defaults: Python arguments of the class and
`--set NAME=VALUE` on the command line, as a pass's fields are.

    [project.entry-points."pruneir.backends"]
    cortex-m = "pruneir.backends.cortex_m.backend:CortexM"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

from pruneir.artifact import Artifact, Footprint, read_manifest
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.names import did_you_mean
from pruneir.pipeline.fields import UnfitError, convert, takes
from pruneir.progress import Progress
from pruneir.targets import TARGETS, Target

GROUP = "pruneir.backends"


@dataclass(frozen=True)
class Backend(ABC):
    """A code generator for one family of machines.

    name     that of its entry point, and what an artifact's manifest calls it
    targets  names of the machines that it compiles for
    static   whether it takes no symbolic size; a symbolic batch is then 1
    clocked  what `predict_ms` counts on, such as `one core at 3 GHz`; empty where it predicts nothing

    Importing a backend's module must be cheap: what it builds with is imported when it compiles.
    """

    name: ClassVar[str]
    targets: ClassVar[tuple[str, ...]]
    static: ClassVar[bool] = True
    clocked: ClassVar[str] = ""

    def predict(self, graph: Graph, target: Target) -> Footprint:
        """The memory that the network will need, without compiling it. By default, nothing is known."""
        del graph, target
        return Footprint()

    def predict_ms(self, graph: Graph, target: Target) -> float | None:
        """Milliseconds of one run of one sample on one core, without compiling; by default, nothing is known.

        graph  as for `compile`; a symbolic batch counts as 1

        It is good for comparing networks for one machine, such as one before and after a cut. How long a run takes on
        the machine at hand, only a measurement tells. It must be cheap: no tool is run, no weight is packed.
        PruneirError, in one line, for a network that cannot be predicted.
        """
        del graph, target
        return None

    @abstractmethod
    def compile(self, graph: Graph, target: Target, folder: Path, *, progress: Progress) -> Artifact:
        """Write an artifact, with its manifest, to an empty folder.

        graph     cleaned up, its BatchNorms folded where that is possible; not changed
        folder    is moved afterwards: nothing in it may name the path
        progress  told what is at work, and the share of it that is done

        PruneirError, in one line with the remedy, for an operator, type or shape that it cannot compile, and for a
        tool that is missing.
        """

    @abstractmethod
    def open(self, folder: Path) -> Artifact:
        """An artifact of this backend. PruneirError for one that is broken or does not suit this machine."""


def names() -> list[str]:
    """The backends that are installed. None is imported."""
    return sorted(_entries())


def get(name: str) -> type[Backend]:
    """The backend of that name. PruneirError, with near matches, if there is none."""
    entry = _entries().get(name)
    if entry is None:
        raise PruneirError(f"unknown backend '{name}'; {did_you_mean(name, names(), 'installed are')}")
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise PruneirError(f"backend '{name}' cannot be loaded from {entry.value}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise PruneirError(f"backend '{name}': {entry.value} is not a subclass of pruneir.backend.Backend")
    return found


def backend_for(target: str) -> tuple[type[Backend], Target]:
    """The backend that compiles for a target. PruneirError, with near matches, if none does."""
    served: dict[str, type[Backend]] = {}
    broken = []
    for name in names():
        try:
            backend = get(name)
        except PruneirError as error:
            broken.append(str(error))
            continue
        served |= {each: backend for each in backend.targets if each not in served}
    if target in served:
        return served[target], TARGETS.get(target, Target(target))
    hint = "; ".join([did_you_mean(target, served, "installed backends compile for"), *broken])
    if target == "any":
        raise PruneirError(f"--target: 'any' is no machine; {hint}")
    what = "no installed backend compiles for" if target in TARGETS else "there is no target"
    raise PruneirError(f"--target: {what} '{target}'; {hint}")


def configured(kind: type[Backend], given: Mapping[str, Any]) -> Backend:
    """A backend with some of its options given, as words or as Python values."""
    known = get_type_hints(kind)
    hints = {field.name: known[field.name] for field in fields(kind)}
    values = {}
    for key, value in given.items():
        if key not in hints:
            hint = did_you_mean(key, hints, "its options are") if hints else "it has no options"
            raise PruneirError(f"backend {kind.name}: no option '{key}'; {hint}")
        try:
            values[key] = convert(value, hints[key])
        except UnfitError:
            raise PruneirError(f"backend {kind.name}: {key} takes {takes(hints[key])}, not '{value}'") from None
    return kind(**values)


def load_artifact(folder: str | Path) -> Artifact:
    """A compiled network, through the backend that its manifest names. PruneirError if the folder is none."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    try:
        backend = get(manifest.backend)
    except PruneirError as error:
        raise PruneirError(f"{folder}: {error}") from None
    return backend().open(folder)


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
