"""Tests that run firmware need QEMU and a compiler: without them they fail where tests are meant to be complete."""

from __future__ import annotations

import os

import pytest

from pruneir.backends.cortex_m.toolchain import INSTALL, missing


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail in CI, skip elsewhere, a test marked `qemu` that lacks a program."""
    if item.get_closest_marker("qemu") is None:
        return
    lacking = missing()
    if lacking:
        said = f"needs {', '.join(lacking)}: {'; '.join(INSTALL[name] for name in lacking)}"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(said, pytrace=False)
        pytest.skip(said)
