"""Networks that run on this machine's processor, held against ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import onnxruntime as ort

from pruneir.artifact import Array, Artifact
from pruneir.deployment.inputs import Inputs
from pruneir.deployment.race import Contest, Runner, race
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io.session import session
from pruneir.progress import Progress
from pruneir.shapes import with_input_shapes

_CROWD = 4
"""Threads for each processor at most: ONNX Runtime's all spin, and with more of them a run hardly ends."""


@runtime_checkable
class Threaded(Protocol):
    """An artifact that runs on this machine's processor, where its time can be held against another runtime's."""

    @property
    def threads(self) -> int:
        """Threads that a run uses."""

    def with_threads(self, threads: int) -> Artifact:
        """The same artifact, on another number of threads."""


def on_threads(artifact: Artifact, threads: int | None) -> Artifact:
    """The artifact on so many threads, or on its own. PruneirError where these are too many for the machine."""
    if threads is not None:
        if not isinstance(artifact, Threaded):
            raise PruneirError(f"--threads: {artifact.manifest.target} runs no threads; leave it out")
        artifact = artifact.with_threads(threads)
    most = _CROWD * (os.cpu_count() or 1)
    if isinstance(artifact, Threaded) and artifact.threads > most:
        raise PruneirError(f"--threads: {artifact.threads} are too many to be timed here; give at most {most}")
    return artifact


def contests(
    entered: Sequence[tuple[Artifact, Graph | None]], inputs: Inputs, progress: Progress
) -> list[Contest | None]:
    """Each network that runs on this machine's processor against ONNX Runtime, all in turns; None for the others."""
    runners: list[Runner] = []
    settings = []
    for artifact, graph in entered:
        if graph is None or not isinstance(artifact, Threaded):
            return [None] * len(entered)
        feeds = inputs.of(graph)[0]
        theirs, words = _onnxruntime(graph, feeds, artifact.threads)
        runners += [partial(_run, artifact, artifact.fitted(feeds)), theirs]
        settings.append(words)
    pause = any(isinstance(artifact, Threaded) and artifact.threads > 1 for artifact, _ in entered)
    times = race(runners, pause=pause, told=lambda share: progress("race", share))
    return [Contest(*pair) for pair in zip(times[::2], times[1::2], settings, strict=True)]


def _run(artifact: Artifact, feeds: Mapping[str, Array]) -> object:
    return artifact.run(feeds)


def _onnxruntime(graph: Graph, feeds: dict[str, Array], threads: int) -> tuple[Runner, str]:
    """A run of the graph in ONNX Runtime, as fast as that is on so many threads, and its settings in words."""
    shaped = with_input_shapes(graph, {name: array.shape for name, array in feeds.items()})
    running = session(shaped, threads=threads, optimize="all")
    settings = f"intra_op_num_threads={threads}, ORT_SEQUENTIAL, ORT_ENABLE_ALL, default spinning"
    return lambda: running.run(None, feeds), f"ONNX Runtime {ort.__version__}: {settings}"
