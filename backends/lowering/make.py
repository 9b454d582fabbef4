"""`make` in a folder of C, and the first thing that is wrong with it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

_FAULT = re.compile(r"error:|undefined reference|overflowed by|No rule to make|cannot find|No such file")


def make(folder: Path, *arguments: str) -> str | None:
    """Run `make` on all processors; the first complaint in words if it fails.

    Programs that run at once write into each other's lines, so what failed is made again by one alone.
    """
    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    done = _run(folder, f"-j{jobs}", *arguments)
    if done.returncode:
        done = _run(folder, *arguments)
    if not done.returncode:
        return None
    said = done.stderr.splitlines()
    faults = [line for line in said if _FAULT.search(line) and not line.startswith("collect2")]
    return (faults or said or ["make failed"])[0].strip()


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Without what a `make` around us says to a make inside, and with messages as we read them."""
    ours = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, check=False, env=ours | {"LC_ALL": "C"}
    )
