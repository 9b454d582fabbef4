"""A small network on disk, and the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pruneir.cli import main
from pruneir.graph import parse
from pruneir.onnx_io import save

NET = """
x[N,1,8,8] -> y[N,5] {
  a = Conv(x, wa[8,1,3,3], pads=[1,1,1,1])
  n = BatchNormalization(a, g[8], b[8], m[8], v[8])
  r = Relu(n)
  c = Conv(r, wc[6,8,3,3])
  p = GlobalAveragePool(c)
  f = Flatten(p)
  y = Gemm(f, wy[6,5])
}
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    save(parse(NET), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    np.savez(path, x=random.random((40, 8, 8), np.float32), y=random.integers(0, 5, 40))
    return path
