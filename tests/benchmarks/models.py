"""Every model of a folder, cut by `slim` and `filter` at one half: valid, verified, and how much of it can be cut.

    python tests/benchmarks/models.py models [FOLDER | FILE …] [--light] [--ratio 0.5] [--input-shape NAME=1,3,320,320]

`--light` adds the nine light_* graphs that the onnx package carries (structures without trained weights). Exit code 1
if any output is invalid or differs from the masked original.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx

import pruneir
from pruneir.cost import prunable_share
from pruneir.onnx_io import load, to_model
from pruneir.pipeline.passes import Context
from pruneir.pipeline.registry import parse_pass
from pruneir.verify import check_model

PASSES = ("slim{{ratio={0}}}", "filter{{ratio={0}}}", "filter{{ratio={0},absorb=false}}")


def models(paths: list[str], light: bool) -> Iterator[Path]:
    """The ONNX files among the paths, and in the folders among them."""
    for path in map(Path, paths):
        yield from sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
    if light:
        yield from sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


def main() -> int:
    """Print a row a pass and model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=["models"])
    parser.add_argument("--light", action="store_true")
    parser.add_argument("--ratio", default="0.5")
    options = parser.parse_args()
    failed = 0
    print(f"{'model':32} {'prunable':>8}  {'pass':34} {'MACs':>7} {'params':>7} {'worst':>8} {'time':>6}")
    for path in models(options.paths, options.light):
        graph = load(path)
        folded = parse_pass("fold").run(graph, Context(graph)).graph
        share = prunable_share(pruneir.trace(folded))
        for template in PASSES:
            spec = template.format(options.ratio)
            start = time.perf_counter()
            try:
                small = pruneir.optimize(graph, passes=[spec])
                report = small.report
                check_model(small.graph, graph)
                onnx.checker.check_model(to_model(small.graph), full_check=True)
                checks = [each["check"] for each in report["passes"] if each["check"]]
                good = all(check["ok"] for check in checks)
                worst = max((check["worst"] for check in checks), default=0.0)
                ratios = [report[key]["before"] / max(report[key]["after"], 1) for key in ("macs", "params")]
                row = f"{ratios[0]:6.2f}x {ratios[1]:6.2f}x {worst:8.1e}"
                note = "" if good else "DIFFERS"
                if ratios[1] == 1.0:
                    note = "; ".join(report["warnings"])[:90]
            except Exception as error:  # a benchmark goes on to the next model, and fails at the end
                good, row, note = False, " " * 24, f"INVALID {error}"
            failed += not good
            print(f"{path.stem[:32]:32} {share:8.1%}  {spec:34} {row} {time.perf_counter() - start:5.1f}s  {note}")
            sys.stdout.flush()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
