"""Accuracy against the share of channels cut, with and without absorption, on the MNIST networks of models/.

    python tests/benchmarks/slimming.py

No training, no data: `slim` on the three seeds that were trained with L1 on γ, `filter` on the one that was not. Accuracy
on the 2,000 test images, in percent; MACs as a ratio to the uncut network's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import pruneir

MODELS = Path(__file__).parents[2] / "models"
TEST = MODELS / "data/mnist_test_2k.npz"
SEEDS = [MODELS / f"mnist_resnet/mnist_resnet_s{seed}.onnx" for seed in range(3)]
PLAIN = [MODELS / "mnist_resnet/mnist_resnet_plain.onnx"]


def measured(paths: Sequence[Path], spec: str) -> tuple[float, float]:
    """Mean accuracy after the pass, in percent, and mean MACs ratio."""
    reports = [pruneir.optimize(path, passes=[spec], data=TEST, verify=False).report for path in paths]
    accuracy = mean(report["accuracy"]["after"] for report in reports)
    return 100 * accuracy, mean(report["macs"]["before"] / report["macs"]["after"] for report in reports)


def table(title: str, paths: Sequence[Path], spec: str, ratios: Sequence[float]) -> None:
    """One row a ratio."""
    print(f"\n{title}\n\n| ratio | MACs | absorbed | dropped |\n|---|---|---|---|")
    for ratio in ratios:
        kept, work = measured(paths, spec.format(f"ratio={ratio}"))
        dropped, _ = measured(paths, spec.format(f"ratio={ratio},absorb=false"))
        print(f"| {ratio:.2f} | {work:.2f}× | {kept:.2f} | {dropped:.2f} |", flush=True)


if __name__ == "__main__":
    table("slim, trained with L1 on γ, mean of three seeds", SEEDS, "slim{{{}}}", (0, 0.4, 0.5, 0.55, 0.6, 0.65))
    table("filter l2 local, trained without", PLAIN, "filter{{{}}}", (0, 0.1, 0.2, 0.3))
