"""All of a user's data through an artifact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pruneir import files
from pruneir.artifact import Artifact
from pruneir.deployment.inputs import Inputs, has_batch, interface
from pruneir.progress import Progress, silent

Array = np.ndarray[Any, Any]


def outputs_of(artifact: Artifact, inputs: Inputs, *, progress: Progress = silent) -> dict[str, Array]:
    """The outputs by name, samples along axis 0.

    An output that has no batch axis gets one in front; where the inputs have none in common there is one run, and its
    outputs are as they come.
    """
    graph = interface(artifact.manifest)
    runs, counts, sizes = inputs.runs(graph), list[int](), list[int]()

    def fed() -> Iterator[dict[str, Array]]:
        for index, batch in enumerate(inputs.batches(graph)):
            progress(f"run {index + 1}", index / max(runs or 0, index + 1))
            feeds = artifact.fitted(batch.feeds)
            counts.append(batch.count)
            sizes.append(next((array.shape[0] for array in feeds.values() if array.ndim), 1))
            yield feeds

    found = list(artifact.run_all(fed()))
    names = [port.name for port in artifact.manifest.outputs]
    if not has_batch(graph):
        return {name: found[0][name] for name in names}
    return {name: _joined([run[name] for run in found], sizes, counts) for name in names}


def save(outputs: dict[str, Array], path: Path) -> None:
    """Write an .npz, whole or not at all."""
    with files.drafted(path) as (draft,), draft.open("wb") as file:
        np.savez(file, **outputs)  # type: ignore[arg-type]


def _joined(parts: list[Array], sizes: list[int], counts: list[int]) -> Array:
    """One array, without what only filled up a batch."""
    if all(part.ndim and len(part) == size for part, size in zip(parts, sizes, strict=True)):
        return np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)])
    return np.stack(parts)
