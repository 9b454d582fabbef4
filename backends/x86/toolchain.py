"""The C compiler of the machine that the code is for, and `make`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pruneir.backends.lowering.make import make
from pruneir.errors import PruneirError


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Commands that build for a host.

    host  its triple; empty: this machine, whose compiler is $CC, or cc
    """

    host: str = ""

    @property
    def cc(self) -> str:
        """The C compiler."""
        return f"{self.host}-gcc" if self.host else os.environ.get("CC") or "cc"

    @property
    def commands(self) -> dict[str, str]:
        """Variables of the Makefile where no other is given."""
        prefix = f"{self.host}-" if self.host else ""
        return {"CC": self.cc if self.host else "cc", "AR": f"{prefix}ar", "CXX": f"{prefix}g++"}

    @property
    def library(self) -> str:
        """What is built: a shared library here, an archive for another machine."""
        return "libmodel.a" if self.host else "libmodel.so"

    @property
    def install(self) -> str:
        """The line that installs it."""
        return f"apt-get install make {_packages(self.host)}"

    def require(self) -> None:
        """PruneirError, with the remedy, if it is not installed."""
        for command in ("make", self.cc):
            program = (shlex.split(command) or [""])[0]
            if shutil.which(program) is None:
                told = f"{program}, which $CC names, is" if command == os.environ.get("CC") else f"{program} is"
                other = "" if self.host or command == "make" else ", or set CC to a C compiler"
                raise PruneirError(f"x86: {told} not installed; {self.install}{other}")

    def version(self) -> str:
        """The compiler's version."""
        done = subprocess.run(
            [*shlex.split(self.cc), "-dumpfullversion", "-dumpversion"], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() or "unknown"

    def build(self, folder: Path) -> None:
        """`make` in a project, on all processors. PruneirError with the compiler's first complaint."""
        self.require()
        if fault := make(folder, self.library, f"CC={self.cc}"):
            raise PruneirError(f"x86: the library does not build: {fault}")
        shutil.rmtree(folder / "build", ignore_errors=True)


def _packages(host: str) -> str:
    """Debian's names for a compiler and its C library."""
    if not host:
        return "gcc libc6-dev"
    debian = {"aarch64": "arm64", "x86_64": "amd64"}.get(host.partition("-")[0])
    return f"gcc-{host.replace('_', '-')}" + (f" libc6-dev-{debian}-cross" if debian else "")
