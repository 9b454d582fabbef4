"""Recipes: everything that a run was asked to do, as TOML that can be read back.

    target = "cortex-m4"
    keep = ["stem*"]

    [data]
    scale = 0.00392156862745098

    [schedule]              # run the passes three times, but stop before they cost more than half a point
    rounds = 3
    max_drop = 0.5

    [[pass]]
    name = "slim"
    ratio = 0.5

    [pass.ratios]           # of this pass only; [ratio] at the top is for all passes
    "stage1.*" = 0.25

A resolved recipe says what came of it: every option of every pass, and the share that was cut from every group.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import ROUND_CEILING, Decimal
from typing import Any

from pruneir import files
from pruneir.data import Scaling
from pruneir.errors import PruneirError
from pruneir.pipeline.passes import GroupRow, Pass

Ratios = Mapping[str, float]
Shape = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One pass of a chain, and ratios by glob that hold for it alone."""

    what: Pass
    ratios: Ratios = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run does.

    steps         the passes in order
    fold          the lossless clean-up `fold` runs first
    target        machine that the network is shaped for
    keep, keep_inputs, only   globs: freeze output channels, freeze input channels, restrict to
    ratios        share to cut by glob, for every pass
    input_shapes  sizes and symbols of graph inputs
    scaling       what makes raw numbers and images the network's input
    seed          of random inputs, and of everything else random
    rounds        how often the passes run, one round after the other
    max_drop      points of the validation score that the network may lose
    anchors       file of a detector's anchors, for scores and for passes that train
    """

    steps: tuple[Step, ...] = ()
    fold: bool = True
    target: str = "any"
    keep: tuple[str, ...] = ()
    keep_inputs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ratios: Ratios = field(default_factory=dict)
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)
    scaling: Scaling = field(default_factory=Scaling)
    seed: int = 0
    rounds: int = 1
    max_drop: float | None = None
    anchors: str | None = field(default=None, metadata=files.NAMED)

    @property
    def anchors_file(self) -> str | None:
        """The file of a detector's anchors that the recipe or a pass names: scores need them as training does.

        PruneirError where several are named.
        """
        given: list[str | None] = [self.anchors, *(getattr(step.what, "anchors", None) for step in self.steps)]
        named = [each for each in given if each is not None]
        if len({os.path.realpath(each) for each in named}) > 1:
            raise PruneirError(f"anchors are named in {', '.join(dict.fromkeys(named))}; give one file for all passes")
        return named[0] if named else None

    def resolved(self, rows: Iterable[Iterable[GroupRow]]) -> Recipe:
        """This recipe with the share that each step cut from each group, from the table rows of each step."""
        asked = [{**self.ratios, **step.ratios} for step in self.steps]
        steps = [Step(step.what, _shares(done) or r) for step, done, r in zip(self.steps, rows, asked, strict=True)]
        return replace(self, steps=tuple(steps), ratios={})

    def to_toml(self) -> str:
        """The recipe's file form."""
        head = {
            "fold": self.fold,
            "target": self.target,
            "keep": self.keep,
            "keep_inputs": self.keep_inputs,
            "only": self.only,
            "seed": self.seed,
            "anchors": self.anchors,
        }
        parts = [_table("", {key: value for key, value in head.items() if value not in ((), None)})]
        schedule = {"rounds": self.rounds, "max_drop": self.max_drop}
        parts.append(_table("[schedule]", {k: v for k, v in schedule.items() if v not in (1, None)}))
        parts.append(_table("[input_shape]", self.input_shapes))
        parts.append(_table("[data]", {k: v for k, v in _fields(self.scaling).items() if v != getattr(Scaling(), k)}))
        parts.append(_table("[ratio]", self.ratios))
        for step in self.steps:
            parts.append(_table("[[pass]]", {"name": step.what.name, **_given(step.what)}))
            parts.append(_table("[pass.ratios]", step.ratios))
        return "\n".join(filter(None, parts))


def _shares(rows: Iterable[GroupRow]) -> dict[str, float]:
    """The share of each group that went, rounded up so little that it means the same number of channels again."""
    shares = {}
    for row in rows:
        exact = Decimal(row.channels_before - row.channels_after) / max(row.channels_before, 1)
        shares[re.sub(r"([*?[])", r"[\1]", row.name)] = float(exact.quantize(Decimal("1e-7"), ROUND_CEILING))
    return shares


def _given(what: Pass) -> dict[str, Any]:
    """All options of a pass. TOML has no none: it is left out where it is the default, a word where it is not."""
    values = {f.name: (getattr(what, f.name), f.default) for f in fields(what)}
    return {
        name: "none" if value is None else value
        for name, (value, default) in values.items()
        if value is not None or default is not None
    }


def _fields(given: Any) -> dict[str, Any]:
    return {f.name: getattr(given, f.name) for f in fields(given)}


def _table(head: str, entries: Mapping[str, Any]) -> str:
    lines = [f"{_key(key)} = {_value(value)}" for key, value in entries.items()]
    return "".join(f"{line}\n" for line in ([head] if head else []) + lines) if lines else ""


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():  # a TOML basic string escapes as JSON does, and DEL besides
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple() | list():
            return f"[{', '.join(map(_value, value))}]"
    return str(value)
