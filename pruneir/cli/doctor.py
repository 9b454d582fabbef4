"""`pruneir doctor`: what is installed, what is missing, and the line that installs it."""

# ruff: noqa: PLC0415 - what is slow to import waits until the verb runs
from __future__ import annotations

import platform
import shutil
from dataclasses import asdict, dataclass

from pruneir.cli import options
from pruneir.cli.options import Format


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that pruneir uses.

    version   what is installed; empty if nothing is
    needed    by what; empty: by everything
    install   the line that installs it
    """

    name: str
    version: str
    needed: str
    install: str

    @property
    def ok(self) -> bool:
        """Whether it is there, or only an extra needs it."""
        return bool(self.version or self.needed)


_PROGRAMS = (
    ("arm-none-eabi-gcc", "Cortex-M targets", "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi"),
    ("make", "Cortex-M and x86 targets", "apt-get install make"),
    ("qemu-system-arm", "running Cortex-M code", "apt-get install qemu-system-arm"),
    ("cc", "x86 targets", "apt-get install gcc libc6-dev"),
    (
        "aarch64-linux-gnu-gcc",
        "x86 targets with --host aarch64-linux-gnu",
        "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    ),
    ("dot", "drawings of explain --svg", "apt-get install graphviz"),
)


def doctor(format: options.AsFormat = Format.table) -> int:
    """Print what is installed, what is missing, and how to install it."""
    findings = [Finding("python", platform.python_version(), "", ""), *_packages(), *_programs()]
    if format is Format.json:
        found = [{**asdict(each), "ok": each.ok} for each in findings]
        options.print_json({"schema": 1, "findings": found})
    else:
        _print(findings)
    return 0 if all(each.ok for each in findings) else 1


def _packages() -> list[Finding]:
    """pruneir and what its metadata require, extras behind."""
    from importlib.metadata import PackageNotFoundError, requires, version

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    findings = [Finding("pruneir", installed("pruneir"), "", "pip install pruneir")]
    for line in requires("pruneir") or ():
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        name = requirement.split("=")[0].split(">")[0].split("<")[0].strip()
        extra = marker.partition("extra ==")[2].strip().strip("\"'")
        if extra != "dev":
            install = f"pip install 'pruneir[{extra}]'" if extra else f"pip install '{requirement}'"
            findings.append(Finding(name, installed(name), f"extra {extra}" if extra else "", install))
    return findings


def _programs() -> list[Finding]:
    return [Finding(name, shutil.which(name) or "", needed, install) for name, needed, install in _PROGRAMS]


def _print(findings: list[Finding]) -> None:
    wide = max(len(each.name) for each in findings)
    for each in findings:
        if each.version:
            print(f"  ok  {each.name:{wide}}  {each.version}")
        else:
            need = f"for {each.needed}; " if each.needed else ""
            print(f"{'   –' if each.ok else '  no'}  {each.name:{wide}}  not installed; {need}{each.install}")
