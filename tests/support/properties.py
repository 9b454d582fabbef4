"""The properties that every cut must keep."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from pruneir import onnx_io
from pruneir.coupling import Coupling, couple
from pruneir.graph import Graph, check
from pruneir.surgery import apply
from pruneir.verify.reference import held, masked


def feeds(graph: Graph, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Standard normal inputs, the symbolic axes of text graphs at `batch`."""
    random = np.random.default_rng(seed)
    made = {}
    for name in graph.data_inputs:
        declared = graph.type_of(name)
        assert declared is not None
        assert declared.shape is not None
        shape = [dim if isinstance(dim, int) else batch for dim in declared.shape]
        made[name] = random.standard_normal(shape).astype(np.float32)
    return made


def random_dead(coupling: Coupling, random: np.random.Generator) -> np.ndarray:
    """A random part of every group, at least one channel of each stays."""
    removed = []
    for group in coupling.groups:
        count = int(random.integers(0, len(group)))
        removed.append((group, random.permutation(len(group))[:count]))
    return coupling.dead(removed)


def run(graph: Graph, batch: int, extra: tuple[str, ...] = ()) -> list[np.ndarray]:
    """The outputs in ONNX Runtime, without its own optimisations."""
    session = onnx_io.session(graph, list(extra), threads=1, optimize="none")
    return list(session.run(None, feeds(graph, batch)))


def differences(a: Graph, b: Graph, batch: int) -> Iterator[tuple[str, float]]:
    """max|a−b| / (1e-5·max|b| + 1e-6) per output: at most one where they are equal."""
    for name, x, y in zip(a.outputs, run(a, batch), run(b, batch), strict=True):
        assert x.shape == y.shape
        assert np.isfinite(y).all()
        scale = np.abs(y.astype(np.float64)).max()
        yield name, float(np.abs(x.astype(np.float64) - y).max() / (1e-5 * scale + 1e-6))


def assert_pruned_equals_masked(
    graph: Graph, seeds: int = 3, *, alive: bool = True, noise: float = 1, **options: bool
) -> Coupling:
    """Random cuts give valid graphs that equal the original, masked or held at zero, for two batch sizes.

    alive    the masked outputs must not be all zero: a network that computes nothing proves nothing
    noise    how often the tolerance is allowed, for networks whose sums cancel by chance
    options  what to open (`cut_norms`)
    """
    coupling = couple(graph, None, **options)
    for seed in range(seeds):
        dead = random_dead(coupling, np.random.default_rng(seed))
        surgery = apply(coupling, dead)
        check(surgery.graph)
        references = masked(coupling, dead), held(coupling, dead, {})
        for reference, batch in product(references, (1, 3)):
            worst = dict(differences(surgery.graph, reference, batch))
            assert max(worst.values()) <= noise, worst
        if alive:
            assert all(np.abs(y).max() > 0 for y in run(references[0], 1))
    return coupling
