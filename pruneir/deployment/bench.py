"""What a network takes on a machine, how far its outputs are from ONNX Runtime's, and how long that takes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from pruneir.artifact import Artifact, Footprint, LayerProfile, Profile
from pruneir.backend import load_artifact
from pruneir.deployment.against import contests, on_threads
from pruneir.deployment.compiling import Compiler, sizes_document
from pruneir.deployment.inputs import Inputs, interface
from pruneir.deployment.parity import Parity, parity
from pruneir.deployment.race import Contest
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.prepare import Sizes, opened
from pruneir.progress import Progress, silent
from pruneir.storage import Storage

SCHEMA = 1
NOTE = "instructions executed in an emulator, not time"
_RANDOM = Inputs()


@dataclass(frozen=True, slots=True)
class Measured:
    """One network on one machine.

    source  path of the network or the artifact
    parity  None where there is no network to compare with
    warnings  what one should know of the inputs
    contest  None where its time was not held against ONNX Runtime's
    weights  how those of layers with zeros are stored
    """

    source: str
    target: str
    profile: Profile
    parity: Parity | None
    warnings: tuple[str, ...] = ()
    contest: Contest | None = None
    weights: tuple[Storage, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it computes what the network does, as far as that was looked at."""
        return self.parity is None or self.parity.ok

    @property
    def sizes(self) -> Footprint:
        """The memory that the run took."""
        return Footprint(self.profile.flash, self.profile.ram)

    def document(self) -> dict[str, Any]:
        """The figures as JSON."""
        profile, found = self.profile, self.parity
        max_abs = None if found is None or not isfinite(found.max_abs) else found.max_abs
        relative = None if found is None or not isfinite(found.relative) else found.relative
        return {
            "input": self.source,
            "target": self.target,
            "machine": profile.machine,
            "unit": profile.unit,
            "instructions": profile.instructions,
            "ms": profile.ms,
            "macs": profile.macs,
            "per_mac": per_mac(profile),
            **sizes_document(self.sizes),
            "arena_lower_bound": profile.arena_lower_bound,
            "max_abs_error": max_abs,
            "max_relative_error": relative,
            "parity": found.document() if found else None,
            "layers": [_layer(layer, profile) for layer in profile.layers],
            "weights": [each.document() for each in self.weights],
            "warnings": list(self.warnings),
            **_times(profile),
            **(self.contest.document() if self.contest else {}),
        }


@dataclass(frozen=True, slots=True)
class Bench:
    """One network, or two to compare: the one before and the one after pruning."""

    measured: tuple[Measured, ...]

    @property
    def ok(self) -> bool:
        """Whether all of them compute what they should."""
        return all(each.ok for each in self.measured)

    @property
    def last(self) -> Measured:
        """The one that it is about."""
        return self.measured[-1]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What one should know of the inputs, each once."""
        return tuple(dict.fromkeys(warning for each in self.measured for warning in each.warnings))

    @property
    def note(self) -> str:
        """What the figures are not; empty where they are times."""
        return NOTE if self.last.profile.unit == "instructions" else ""

    @property
    def against_original(self) -> Contest | None:
        """The last network by us, against the first in ONNX Runtime; None where that was not measured."""
        first, last = self.measured[0].contest, self.last.contest
        if len(self.measured) == 1 or first is None or last is None:
            return None
        return replace(last, theirs=first.theirs, settings=first.settings)

    def document(self) -> dict[str, Any]:
        """All of it as JSON, schema 1: the last network's figures, and the first's under `before`."""
        found = {"schema": SCHEMA, "note": self.note, **self.last.document()}
        if len(self.measured) > 1:
            found["before"] = self.measured[0].document()
            found["less" if self.last.contest else "ratio"] = self.ratios()
        if (original := self.against_original) is not None:
            found["against_original"] = {**original.document(), "speedup": 1 / original.ratio}
        return found

    def ratios(self) -> dict[str, float | None]:
        """How many times less the last takes than the first."""
        first, last = (_totals(each.profile) for each in (self.measured[0], self.last))
        return {name: was / now if was and (now := last[name]) else None for name, was in first.items()}


def per_mac(profile: Profile | LayerProfile) -> float | None:
    """Instructions per multiply-accumulate; where time was measured, ns."""
    if profile.taken is None or not profile.macs:
        return None
    return profile.taken / profile.macs * (1 if profile.instructions is not None else 1e6)


def gflops(profile: Profile | LayerProfile) -> float | None:
    """10⁹ floating-point operations a second, two for a multiply-accumulate; None where there are none or no time."""
    return 2e-6 * profile.macs / profile.ms if profile.ms and profile.macs else None


def _layer(layer: LayerProfile, profile: Profile) -> dict[str, Any]:
    """A layer as JSON; of measured time, also what it comes to."""
    found = asdict(layer)
    if layer.ms is not None and profile.ms:
        found |= {"gflops": gflops(layer), "share": layer.ms / profile.ms}
    return found


def _times(profile: Profile) -> dict[str, Any]:
    """What is known of a time beyond itself."""
    if profile.least_ms is None:
        return {}
    speeds = {"gflops": gflops(profile), "peak_gflops": profile.peak_gflops}
    return {"least_ms": profile.least_ms, "threads": profile.threads, **speeds}


def _totals(profile: Profile) -> dict[str, float | None]:
    return {
        "instructions": profile.instructions,
        "ms": profile.ms,
        "macs": profile.macs,
        "flash": profile.flash.total if profile.flash else None,
        "ram": profile.ram.total if profile.ram else None,
    }


def measured(
    artifact: Artifact,
    source: str,
    graph: Graph | None,
    inputs: Inputs,
    *,
    compare: bool = True,
    progress: Progress = silent,
) -> Measured:
    """Run an artifact.

    graph   the network that it was made of; None: its outputs are not compared
    inputs  what is fed; the figures are those of the first
    """
    shaped = graph or interface(artifact.manifest)
    feeds = inputs.of(shaped)
    progress("profile", 0.0)
    profile = artifact.profile(artifact.fitted(feeds[0]))
    progress("compare", 0.5)
    found = parity(artifact, graph, feeds, inputs.source) if compare and graph is not None else None
    manifest = artifact.manifest
    return Measured(source, manifest.target, profile, found, inputs.warnings(shaped), weights=manifest.weights)


def bench(
    sources: Sequence[str | Path],
    target: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    references: Sequence[str | Path] = (),
    compare: bool = True,
    inputs: Inputs = _RANDOM,
    input_shapes: Sizes | None = None,
    fold: bool = True,
    progress: Progress = silent,
) -> Bench:
    """Measure networks or artifacts, in order.

    sources     `.onnx` files, which are compiled for the target, and artifact folders
    threads     that run them; None: as the artifact says
    references  the networks that the folders were made of, in order; without them their outputs are not compared
    compare     with ONNX Runtime: the outputs, and where the machine is this one, the time
    inputs      what is fed; the figures are those of the first
    """
    folders = [source for source in sources if Path(source).is_dir()]
    if len(references) > len(folders):
        raise PruneirError(f"--reference {references[len(folders)]}: there is no artifact folder for it to be of")
    made_of = dict(zip(folders, references, strict=False))
    opening = partial(_entry, target=target, options=options, made_of=made_of, shapes=input_shapes or {}, inputs=inputs)
    entries = [opening(source) for source in sources]
    found, entered = [], []
    share = 0.6 / len(sources)
    with ExitStack() as stack:
        for index, (source, (made, graph)) in enumerate(zip(sources, entries, strict=True)):
            told = _part(progress, index * share, share)
            if isinstance(made, Compiler):
                assert graph is not None
                place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pruneir-"))) / "artifact"
                artifact = made.compile(graph, place, fold=fold, progress=_part(told, 0.0, 0.7)).artifact
            else:
                artifact = made
            artifact = on_threads(artifact, threads)
            after = _part(told, 0.7, 0.3)
            found.append(measured(artifact, str(source), graph, inputs, compare=compare, progress=after))
            entered.append((artifact, graph if compare else None))
        held = contests(entered, inputs, _part(progress, 0.6, 0.4))
    return Bench(tuple(replace(one, contest=contest) for one, contest in zip(found, held, strict=True)))


def _entry(
    source: str | Path,
    *,
    target: str | None,
    options: Mapping[str, Any] | None,
    made_of: Mapping[str | Path, str | Path],
    shapes: Sizes,
    inputs: Inputs,
) -> tuple[Compiler | Artifact, Graph | None]:
    """An artifact, or what compiles a network; and the network, if there is one.

    PruneirError for whatever is wrong with it, its inputs included: before the first of several is compiled.
    """
    if Path(source).is_dir():
        artifact = _opened_for(target, source)
        graph = opened(made_of[source], shapes) if source in made_of else None
        inputs.of(graph or interface(artifact.manifest))
        return artifact, graph
    if target is None:
        raise PruneirError(f"{source}: is a network, to be compiled first; give --target")
    compiler, network = Compiler.of(target, options), opened(source, shapes)
    inputs.of(network)
    return compiler, network


def _opened_for(target: str | None, folder: str | Path) -> Artifact:
    artifact = load_artifact(folder)
    made_for = artifact.manifest.target
    if target not in (None, made_for):
        raise PruneirError(f"{folder}: is compiled for {made_for}, not for {target}; leave --target out")
    return artifact


def _part(progress: Progress, start: float, share: float) -> Progress:
    """Progress of one part of the work."""
    return lambda text, done: progress(text, start + share * done)
