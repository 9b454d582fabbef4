"""`pruneir targets`: the machines that a network can be shaped for."""

from __future__ import annotations

from dataclasses import asdict

from pruneir.cli import options
from pruneir.cli.options import Format
from pruneir.targets import TARGETS


def targets(format: options.AsFormat = Format.table) -> int:
    """List the machines that a network can be shaped for."""
    if format is Format.json:
        options.print_json({"schema": 1, "targets": [asdict(target) for target in TARGETS.values()]})
        return 0
    width = max(map(len, TARGETS))
    for target in TARGETS.values():
        step = target.channel_multiple
        channels = f"channels in multiples of {step}" if step > 1 else "any number of channels"
        print(f"{target.name:{width}}  {channels}")
    return 0
