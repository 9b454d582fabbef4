"""Train the SSD of build.py on scenes of scenes.py, by `pruneir.train` itself, without a penalty.

    python models/ssd/train.py --seed 0 --out models/ssd/ssd_s0.onnx

The seed is of the initial weights and of the order of the scenes, which are the same for every seed. It gives the same
file on the same machine with the same torch. The anchors are written beside, and mAP on test scenes is printed.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ssd.build import anchors, ssd
from ssd.scenes import scenes

import pruneir
from pruneir.api import train
from pruneir.data import from_arrays
from pruneir.detection.anchors import anchors_from
from pruneir.detection.evaluate import mean_precision
from pruneir.detection.metrics import COCO, VOC, VOC07
from pruneir.training.options import Training

TEST = Path(__file__).resolve().parent / "test_300.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the SSD for digits.")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the order of the scenes")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--count", type=int, default=5000, help="scenes to train on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.002, help="the highest learning rate")
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()

    beside = args.out.with_name("anchors.npy")
    np.save(beside, anchors())
    graph = pruneir.load(ssd(args.seed))
    options = Training(
        epochs=args.epochs,
        loss="multibox",
        optimizer="adamw",
        anchors=str(beside),
        lr=args.rate,
        warmup=0.3,
        batch=args.batch,
        threads=1,
    )
    x, y = scenes("training", args.count, 0)
    start = time.perf_counter()
    last = [start]

    def progress(text: str, share: float) -> None:
        if time.perf_counter() - last[0] > 20:
            last[0] = time.perf_counter()
            print(f"{share:6.1%}  {text}  {last[0] - start:.0f} s", flush=True)

    made = train(graph, options, data={"x": x, "y": y}, seed=args.seed, progress=progress)
    print(f"trained in {time.perf_counter() - start:.0f} s")
    made.save(args.out, force=True)
    with np.load(TEST) as test:
        data = from_arrays(dict(test), made.graph)
    for rule in (VOC, VOC07, COCO):
        found = mean_precision(made.graph, data, anchors_from(anchors(), "anchors"), rule)
        print(f"mAP {rule.name} {found.points:.2f} on {found.images} test scenes")


if __name__ == "__main__":
    main()
