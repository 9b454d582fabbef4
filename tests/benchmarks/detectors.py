"""Face detectors of others with fewer MACs: cut, repaired and distilled without labels, on photographs.

    python tests/benchmarks/detectors.py [--networks centerface blazeface] [--crops 1600] [--epochs 4] [--macs 0.67]

A network learns from crops of six photographs (models/photographs) to answer as it did before it was cut; crops of two
others chose what is set here, and what the table is about are crops of three others, those of them in which the original
is sure of a face, and crops of the six from which it did not learn. The score is agreement: the share of the 50 best
cells, or anchors, of the original in a crop that are among the 50 best of the cut network, their boxes at an IoU above
0.5; `90` is the share of crops in which it is at least 90 %, and `boxes` the share of the original's 50 best boxes that
one of the cut network's 50 best meets at an IoU above 0.5, of whatever cell. No label is read. With --save FOLDER the
networks are kept.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "models"))
from photographs.crops import crops  # type: ignore[import-not-found]

import pruneir
from pruneir import Training
from pruneir.data import Data, Scaling, from_arrays
from pruneir.detection.agreement import agreement, met
from pruneir.detection.boxes import cornered
from pruneir.graph import Graph
from pruneir.onnx_io import session
from pruneir.shapes import with_input_shapes

Array = np.ndarray[Any, Any]
MODELS = Path(__file__).parents[2] / "models"
CALIBRATION, TEST, NEAR = 200, 300, 120
"""Crops."""
TUNE = Training(loss="distill", optimizer="adamw", warmup=0.2, batch=16, freeze_bn=True, choose="last", threads=1)


@dataclass(frozen=True)
class Network:
    """A detector.

    path     below models/
    side     of its input while it learns and when it is tested, pixels
    last     its input has the channels last
    scaling  from bytes to its input
    read     scores `[N, A]` and boxes `[N, A, 4]` of its outputs
    sure     from which score on a box is more likely a face than none
    chain    how it is cut, to the share MACS of its work, and repaired
    training how it learns: options of `TUNE` that differ
    """

    path: str
    side: int
    last: bool
    scaling: Scaling
    read: Callable[[list[Array]], tuple[Array, Array]]
    sure: float
    chain: tuple[str, ...]
    training: Mapping[str, Any]

    def graph(self) -> Graph:
        """It, for any number of crops."""
        graph = pruneir.load(MODELS / self.path)
        image = (self.side, self.side)
        shape: tuple[int | str, ...] = ("N", *image, 3) if self.last else ("N", 3, *image)
        return with_input_shapes(graph, {graph.data_inputs[0]: shape})

    def data(self, graph: Graph, name: str, count: int, seed: int = 0) -> Data:
        """Crops of a set as it takes them."""
        images = crops(name, count, self.side, seed=seed, last=self.last)
        return from_arrays({graph.data_inputs[0]: images}, graph, scaling=self.scaling)

    def detected(self, graph: Graph, data: Data) -> tuple[Array, Array]:
        """Scores and boxes of all crops."""
        running = session(graph)
        found = [self.read(list(running.run(graph.outputs, batch.feeds))) for batch in data.batches(20)]
        scores, boxes = zip(*found, strict=True)
        return np.concatenate(scores), np.concatenate(boxes)


def centerface(outputs: list[Array]) -> tuple[Array, Array]:
    """Heat map, log height and width, offset in rows and columns, on a grid of 4 pixels (Xu et al., 2019)."""
    heat, size, offset, _ = outputs
    rows, columns = np.mgrid[: heat.shape[2], : heat.shape[3]]
    centre = [columns + offset[:, 1] + 0.5, rows + offset[:, 0] + 0.5]
    boxes = 4 * np.stack([*centre, np.exp(size[:, 1]), np.exp(size[:, 0])], axis=-1)
    return heat.reshape(len(heat), -1), cornered(boxes.reshape(len(heat), -1, 4))


def blazeface(outputs: list[Array]) -> tuple[Array, Array]:
    """Two anchors a cell of 16 × 16, six of 8 × 8; offsets from their centres and sizes, in pixels of 128."""
    scores, offsets = np.concatenate(outputs[:2], axis=1)[..., 0], np.concatenate(outputs[2:], axis=1)[..., :4]
    grids = [(np.mgrid[:n, :n][::-1].reshape(2, -1).T + 0.5) * 128 / n for n in (16, 8)]
    centres = np.concatenate([np.repeat(grid, k, axis=0) for grid, k in zip(grids, (2, 6), strict=True)])
    return scores, cornered(np.concatenate([offsets[..., :2] + centres, offsets[..., 2:]], axis=-1))


NETWORKS = {
    "centerface": Network(
        "centerface.onnx",
        128,
        False,
        Scaling(),
        centerface,
        0.5,
        (
            "filter{macs=MACS,criterion=optimal-brain,scope=global,samples=128}",
            f"repair{{samples={CALIBRATION},positions=128}}",
        ),
        {
            "lr": 5e-5,
            "batch": 4,
            "temperature": 2.0,
            "ranked": ("537",),
            "freeze": ("542", "544"),
            "output_weights": ("539=0.5", "540=0.1"),
        },
    ),
    "blazeface": Network(
        "blazeface_front_128.onnx",
        128,
        True,
        Scaling(1 / 127.5, (1.0,), (1.0,)),
        blazeface,
        0.0,
        (
            "unfold-bn{samples=128}",
            "filter{macs=MACS,criterion=optimal-brain,samples=128}",
            f"repair{{samples={CALIBRATION},positions=128}}",
        ),
        {
            "lr": 1e-3,
            "freeze_bn": False,
            "temperature": 2.0,
            "ranked": ("Identity:0", "Identity_1:0"),
            "output_weights": ("Identity_[23]:0=0.3",),
        },
    ),
}


def rows(name: str, options: argparse.Namespace) -> Iterator[str]:
    """A network's rows of the table, one for each stage."""
    network = NETWORKS[name]
    original, seed = network.graph(), options.seed
    test, near = network.data(original, "test", TEST), network.data(original, "training", NEAR, seed + 2)
    known, known_near = network.detected(original, test), network.detected(original, near)
    sure = known[0].max(axis=1) > network.sure

    def row(stage: str, graph: Graph, start: float) -> str:
        if options.save:
            pruneir.save(graph, options.save / f"{name}.{stage.replace(' ', '_')}.onnx")
        found, found_near = network.detected(graph, test), network.detected(graph, near)
        same, boxes = agreement(*found, *known), met(*found, *known)
        near_by = agreement(*found_near, *known_near), met(*found_near, *known_near)
        cells = " | ".join(starmap(_shares, ((same, boxes), (same[sure], boxes[sure]), near_by)))
        return f"| {name} | {stage} | {cells} | {time.perf_counter() - start:.0f} |"

    calibration = network.data(original, "training", CALIBRATION, seed + 1)
    start = time.perf_counter()
    chain = [text.replace("MACS", str(options.macs)) for text in network.chain]
    naive = [text.replace("filter{", "filter{absorb=false,") for text in chain[:-1]]
    yield row("cut", pruneir.optimize(original, naive, data=calibration, verify=False, seed=seed).graph, start)
    made = pruneir.optimize(original, chain, data=calibration, verify=False, seed=seed)
    share = made.report["macs"]["after"] / made.report["macs"]["before"]
    yield row(f"repaired, {100 * share:.1f} % of the MACs", made.graph, start)
    if not options.epochs:
        return
    training = replace(TUNE, epochs=options.epochs, **network.training)
    learned = network.data(original, "training", options.crops, seed)
    trained = pruneir.train(made.graph, training, data=learned, teacher=original, seed=seed)
    yield row("distilled", trained.graph, start)


def _shares(same: Array, boxes: Array) -> str:
    return f"{100 * same.mean():.1f} % | {100 * (same >= 0.9).mean():.0f} % | {100 * boxes.mean():.1f} %"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--crops", type=int, default=1600, help="to learn from")
    parser.add_argument("--epochs", type=int, default=4, help="of learning; 0: only repaired")
    parser.add_argument("--macs", type=float, default=0.67, help="share of the MACs that is left")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="an existing folder for the networks")
    options = parser.parse_args()
    of_three = " | ".join(f"{name} | 90 | boxes" for name in ("photographs", "faces", "crops"))
    print(f"| network | stage | {of_three} | seconds |\n" + "|---" * 12 + "|")
    for name in options.networks:
        for row in rows(name, options):
            print(row, flush=True)


if __name__ == "__main__":
    main()
