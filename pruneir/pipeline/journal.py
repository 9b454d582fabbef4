"""A folder in which a run of several rounds writes down what it did, so that it can go on after it was stopped.

    run.json                 which run this is: a fingerprint of the network, the recipe with its files, and the data
    round-1.onnx, .json      the network after a round, and what the passes did
    round-2/pass-3/          what a pass keeps for itself, such as the epochs of a training
    log.txt                  one line a step

A round that was stopped half-way starts again: passes are deterministic, and training goes on from its own epochs.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter

from pruneir import files
from pruneir.coupling.engine import constants
from pruneir.data import Data
from pruneir.errors import PruneirError, Refusal
from pruneir.graph import Graph
from pruneir.onnx_io import load, save, skeleton
from pruneir.pipeline.outcome import Record, Round
from pruneir.pipeline.passes import GroupRow, LayerRow, PhaseRow, Result
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.recipe import Recipe, Step
from pruneir.verify import Verification

_SEEN = 64
"""Samples of a data set that a fingerprint looks at."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What a pass did, as far as a report tells it."""

    rows: tuple[GroupRow, ...]
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...]
    changed: tuple[str, ...]
    cut: tuple[str, ...]
    check: Verification | None
    seconds: float
    layers: tuple[LayerRow, ...] = ()
    phases: tuple[PhaseRow, ...] = ()


@dataclass(frozen=True, slots=True)
class _Page:
    """A round in its file."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")

    reached: Round
    plan: dict[str, Any]
    follows: dict[str, tuple[str, int]]
    copies: dict[str, str]
    passes: tuple[_Done, ...]
    network: str = ""
    """SHA-256 of its file."""


_PAGES = TypeAdapter(_Page)


@dataclass(frozen=True, slots=True)
class State:
    """Where a run is: what the last round came to, the network after it, what was cut and done so far."""

    reached: Round
    graph: Graph
    plan: Plan
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Journal:
    """The folder of a run."""

    folder: Path

    @classmethod
    def opened(cls, folder: Path, fingerprint: str, *, resume: bool) -> Journal:
        """The journal in a folder, begun or continued.

        PruneirError if the folder holds another run, or one that was not to be resumed.
        """
        mark = folder / "run.json"
        if mark.exists():
            try:
                same = json.loads(mark.read_text(encoding="utf-8"))["fingerprint"] == fingerprint
            except (ValueError, KeyError, TypeError, OSError):
                same = False
            if not same:
                raise PruneirError(f"{folder} holds another run (other network, recipe or data); give a new folder")
            if not resume:
                raise PruneirError(f"{folder} holds this run already; pass --resume to go on, or give a new folder")
        elif any(folder.glob("round-*.json")):
            raise PruneirError(f"{folder} holds rounds of a run that nothing says of which it is; give a new folder")
        else:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise PruneirError(f"{folder}: no such folder can be made ({error.strerror})") from None
            with files.written({mark: json.dumps({"schema": 1, "fingerprint": fingerprint}) + "\n"}):
                pass
        return cls(folder)

    def at(self, number: int, step: int) -> Path:
        """Where a pass of a round may keep what it needs to go on."""
        return self.folder / f"round-{number}" / f"pass-{step}"

    def log(self, line: str) -> None:
        """Write down a step."""
        place = self.folder / "log.txt"
        try:
            with place.open("a", encoding="utf-8") as log:
                log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")
        except OSError as error:
            raise PruneirError(
                f"{place} cannot be written ({error.strerror}); check the folder and your rights"
            ) from None

    def keep(self, state: State, steps: int) -> None:
        """Write down a round, its `steps` last passes with it; it counts once its page is there."""
        number = state.reached.number
        save(state.graph, self._network(number), force=True)
        plan = state.plan
        done = tuple(map(_done, state.records[len(state.records) - steps :]))
        mark = files.digest_of(self._network(number))
        page = _Page(state.reached, plan.to_json(), dict(plan.follows), dict(plan.copies), done, mark)
        with files.written({self._page(number): _PAGES.dump_json(page).decode() + "\n"}):
            pass

    def restored(self, before: tuple[Record, ...], steps: Iterable[Step], number: int) -> State | None:
        """The state after a round that was finished; None if it was not.

        before  what was done up to this round
        steps   the passes of the round
        """
        if not self._page(number).exists():
            return None
        again = f"remove {self._page(number)} to run that round again"
        try:
            page = _PAGES.validate_json(self._page(number).read_bytes())
            plan = replace(Plan.from_json(page.plan), follows=page.follows, copies=page.copies)
            passes = list(zip(steps, page.passes, strict=True))
        except (ValueError, OSError, PruneirError) as error:
            raise PruneirError(f"{self._page(number)} is damaged; {again}") from error
        if page.reached.number != number or page.network not in ("", files.digest_of(self._network(number))):
            raise PruneirError(f"{self._network(number)} is not what round {number} wrote; {again}")
        graph = load(self._network(number))
        records = tuple(_record(step, done, graph) for step, done in passes)
        return State(page.reached, graph, plan, (*before, *records))

    def _network(self, number: int) -> Path:
        return self.folder / f"round-{number}.onnx"

    def _page(self, number: int) -> Path:
        return self.folder / f"round-{number}.json"


def fingerprint(graph: Graph, recipe: Recipe, data: Mapping[str, Data | None]) -> str:
    """What tells runs apart: the network, the recipe but for how far it goes, the files that its options name, and of
    each data set the program that makes it, how many samples there are, and some, drawn at random, with their labels.
    """
    digest = hashlib.sha256(skeleton(graph).SerializeToString(deterministic=True))
    for name, array in constants(graph).items():
        digest.update(name.encode())
        digest.update(array.tobytes())
    digest.update(replace(recipe, rounds=1, max_drop=None).to_toml().encode())
    for part in (recipe, *(step.what for step in recipe.steps)):
        for name, contents in files.digests(part).items():
            digest.update(f"{name}={contents}".encode())
    for what, samples in data.items():
        digest.update(what.encode())
        if samples is None:
            continue
        digest.update(f"{len(samples)}{samples.code}".encode())
        for batch in samples.some(_SEEN, 0).batches(_SEEN):
            labels = {} if batch.labels is None else {"": batch.labels}
            for name, part in {**batch.feeds, **labels}.items():
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _done(record: Record) -> _Done:
    result = record.result
    return _Done(
        rows=result.rows,
        layers=result.layers,
        phases=result.phases,
        refusals=result.refusals,
        notes=result.notes,
        changed=tuple(sorted(result.changed)),
        cut=tuple(result.cuts),
        check=record.check,
        seconds=record.seconds,
    )


def _record(step: Step, done: _Done, graph: Graph) -> Record:
    result = Result(
        graph,
        rows=done.rows,
        layers=done.layers,
        phases=done.phases,
        refusals=done.refusals,
        notes=done.notes,
        cuts={key: {} for key in done.cut},
        changed=frozenset(done.changed),
    )
    return Record(step, result, done.check, done.seconds)
