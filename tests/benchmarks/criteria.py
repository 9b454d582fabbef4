"""What the criteria of `filter` are worth, on the residual network for MNIST that was trained without L1.

    python tests/benchmarks/criteria.py [--repair] [--quick]

256 unlabelled images for the criteria over data, accuracy on the 2,000 test images, in percent; MACs as a share of the
uncut network's. `--repair` runs the pass `repair` on the same images behind. Criteria do not spend a ratio of channels
alike where one threshold is for the whole network, so the last table gives all of them the same MACs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pruneir

MODELS = Path(__file__).parents[2] / "models"
NETWORK = MODELS / "mnist_resnet/mnist_resnet_plain.onnx"
CALIBRATION = MODELS / "data/mnist_calib_256.npz"
TEST = MODELS / "data/mnist_test_2k.npz"
CRITERIA = ("random", "l1", "l2", "gm", "wanda", "optimal-brain", "taylor")


def measured(criterion: str, options: str, behind: Sequence[str]) -> str:
    """Accuracy and share of the MACs that one cut leaves."""
    passes = [f"filter{{criterion={criterion},{options}}}", *behind]
    small = pruneir.optimize(NETWORK, passes=passes, data=CALIBRATION, verify=False)
    macs = small.report["macs"]["after"] / small.report["macs"]["before"]
    scored = pruneir.optimize(small.graph, fold=False, data=TEST, verify=False).report
    return f"{100 * scored['accuracy']['before']:.2f} ({macs:.2f})"


def table(title: str, columns: Sequence[str], behind: Sequence[str]) -> None:
    """One row a criterion, one column a set of options."""
    print(f"\n{title}\n\n| criterion | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for criterion in CRITERIA:
        row = [measured(criterion, options, behind) for options in columns]
        print(f"| {criterion} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repair", action="store_true", help="repair on the same images behind each cut")
    parser.add_argument("--quick", action="store_true", help="the smaller cuts only")
    chosen = parser.parse_args()
    then = ["repair"] if chosen.repair else []
    what = "with repair" if chosen.repair else "absorbed, no repair"
    ratios = ("0.3",) if chosen.quick else ("0.3", "0.5")
    work = ("0.7",) if chosen.quick else ("0.7", "0.5")
    shares = [f"ratio={ratio},scope={scope}" for scope in ("local", "global") for ratio in ratios]
    table(f"Accuracy (MACs left), {what}: shares of the channels", shares, then)
    table(f"Accuracy (MACs left), {what}: the same MACs, one threshold", [f"macs={m},scope=global" for m in work], then)
