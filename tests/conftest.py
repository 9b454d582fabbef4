"""Tests skip what is not installed; where they are meant to be complete, in CI, nothing may be missing.

They compute on one thread, before anything is imported that asks: on networks as small as theirs, and beside other workers,
threads mostly wait for each other, and do so busily.
"""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pruneir.backends.cortex_m.toolchain import INSTALL, missing

EXTRAS = ("PIL", "matplotlib", "safetensors", "torch", "tvm")


def pytest_configure() -> None:
    """In CI, refuse to run a part of the tests and call it all."""
    if os.environ.get("CI", "").lower() not in ("1", "true"):
        return
    lacking = [*(name for name in EXTRAS if find_spec(name) is None), *missing()]
    lacking += [name for name in ("aarch64-linux-gnu-gcc", "cc", "dot", "g++") if shutil.which(name) is None]
    if lacking:
        raise pytest.UsageError(f"CI is set, and these are missing: {', '.join(lacking)}; `make test` installs them")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `qemu` that lacks a program."""
    lacking = missing() if item.get_closest_marker("qemu") is not None else []
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)}: {'; '.join(INSTALL[name] for name in lacking)}")
