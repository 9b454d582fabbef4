"""Load and save ONNX files, and show that ONNX Runtime sees no change: outputs, I/O names, types, shapes, metadata.

    python tests/benchmarks/roundtrip.py FOLDER_OR_FILE... [--input-shape x:1,3,224,224]

Inputs are random; a symbolic dimension is 1 in front and 64 elsewhere, unless --input-shape gives a shape that fits the
model. Outputs must be identical bit by bit. Exit 1 if anything differs. Every field is compared in tests/onnx_io.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from pruneir.errors import PruneirError
from pruneir.onnx_io import load, save

META = ("custom_metadata_map", "description", "domain", "graph_description", "graph_name", "producer_name", "version")
Shapes = dict[str, tuple[int, ...]]
DTYPES = {"float": "f4", "double": "f8", "float16": "f2", "bool": "?"}
DTYPES |= {f"{sign}int{bits}": f"{sign or 'i'}{bits // 8}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--input-shape", action="append", default=[], metavar="NAME:D,D,…", type=named_shape)
    options = parser.parse_args()
    files = [file for path in options.paths for file in (sorted(path.glob("*.onnx")) if path.is_dir() else [path])]
    print(f"{'model':36} {'MB':>7} {'nodes':>6} {'load ms':>8} {'save ms':>8} {'outputs':>8}  differences")
    bad = sum(not report(file, dict(options.input_shape)) for file in files)
    print(f"{len(files)} models, {bad} with differences")
    return 1 if bad or not files else 0


def named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, dims = text.rpartition(":")
    return name, tuple(map(int, dims.replace("x", ",").split(",")))


def report(file: Path, shapes: Shapes) -> bool:
    """Print a file's line; whether nothing differs."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        try:
            start = time.perf_counter()
            graph = load(file)
            loaded = time.perf_counter()
            save(graph, out)
            saved = time.perf_counter()
        except PruneirError as error:
            print(f"{file.name:36} {error}")
            return False
        try:
            count, changes = compared_runs(file, out, shapes)
        except Exception as error:  # onnxruntime has no common base for its exceptions
            count, changes = 0, [f"cannot run: {str(error).splitlines()[0]}"]
    times = f"{1e3 * (loaded - start):8.1f} {1e3 * (saved - loaded):8.1f}"
    size = file.stat().st_size / 1e6
    shown = "; ".join(changes[:3]) + f" and {len(changes) - 3} more" * (len(changes) > 3)
    print(f"{file.name:36} {size:7.2f} {len(graph.operators):6} {times} {count:8}  {shown or 'none'}")
    return not changes


def compared_runs(a: Path, b: Path, shapes: Shapes) -> tuple[int, list[str]]:
    """How many outputs were compared, and what differs between two files in ONNX Runtime."""
    before, after = (session(path) for path in (a, b))
    changes = [f"interface: {x} and {y}" for x, y in zip(interface(before), interface(after), strict=False) if x != y]
    changes += [f"metadata {key}" for key in META if about(before, key) != about(after, key)]
    feed = {x.name: random_input(x, shapes) for x in before.get_inputs()}
    results = [run.run(None, feed) for run in (before, after)]
    for value, x, y in zip(before.get_outputs(), *results, strict=True):
        if x.dtype != y.dtype or x.shape != y.shape or x.tobytes() != y.tobytes():
            changes.append(f"output {value.name!r}")
    return len(results[0]), changes


def about(running: ort.InferenceSession, key: str) -> Any:
    return getattr(running.get_modelmeta(), key)


def session(path: Path) -> ort.InferenceSession:
    """One thread, so that two runs add in the same order."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def interface(running: ort.InferenceSession) -> list[tuple[str, str, str]]:
    """Name, type and shape of inputs, of initializers that may be fed, and of outputs."""
    values = [*running.get_inputs(), None, *running.get_overridable_initializers(), None, *running.get_outputs()]
    return [(x.name, x.type, str(x.shape)) if x is not None else ("", "", "") for x in values]


def random_input(value: Any, shapes: Shapes) -> np.ndarray:
    known = [dim if isinstance(dim, int) and dim > 0 else None for dim in value.shape]
    given = shapes.get(value.name, ())
    fits = len(given) == len(known) and all(dim in (None, size) for dim, size in zip(known, given, strict=True))
    shape = given if fits else [dim or (64 if axis else 1) for axis, dim in enumerate(known)]
    dtype = DTYPES[value.type.removeprefix("tensor(").removesuffix(")")]
    return (np.random.default_rng(0).random(shape) * (1 if dtype[0] == "f" else 2)).astype(dtype)


if __name__ == "__main__":
    sys.exit(main())
