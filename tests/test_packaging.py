"""What is built is what is here: every package folder, the licence, and a wheel and sdist that work when installed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = {"pruneir": "pruneir", "pruneir.passes": "passes", "pruneir.backends": "backends"}

SMOKE = """
import pathlib, pruneir, sys
assert pathlib.Path(pruneir.__file__).is_relative_to(sys.argv[1]), pruneir.__file__
small = pruneir.optimize(sys.argv[2], passes=["slim{ratio=0.5}", "fold-bn"])
assert small.ok
assert small.report["macs"]["after"] < small.report["macs"]["before"] / 2
small.save(sys.argv[3])
"""


def test_every_package_is_listed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = set()
    for package, folder in PLACES.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            there.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    assert listed == there


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return folder


def test_wheel_and_sdist_hold_the_packages(built: Path) -> None:
    wheel, sdist = next(built.glob("*.whl")), next(built.glob("*.tar.gz"))
    inside = zipfile.ZipFile(wheel).namelist()
    assert {"pruneir/passes/slim.py", "pruneir/backends/__init__.py", "pruneir/py.typed"} <= set(inside)
    assert not [name for name in inside if name.startswith(("tests/", "passes/", "models/"))]
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"passes/slim.py", "pruneir/cli/main.py", "LICENSE", "README.md", "pyproject.toml"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_installed_package_works(built: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "site"
    source = str(next(built.glob(kind)))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(target),
    ]
    subprocess.run([*pip, source], check=True, capture_output=True)
    model, out = ROOT / "models/mnist_resnet/mnist_resnet_s0.onnx", tmp_path / "out.onnx"
    subprocess.run(
        [sys.executable, "-c", SMOKE, str(target), str(model), str(out)],
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"},
    )
    assert out.exists()
    assert out.with_suffix(".plan.json").exists()
