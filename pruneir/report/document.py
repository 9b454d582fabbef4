"""A run as a JSON document, schema 1: what `--format json` prints and the Python API returns."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pruneir.cost import Cost
from pruneir.coupling import couple
from pruneir.deployment.prediction import predicted
from pruneir.errors import Refusal
from pruneir.pipeline.outcome import Outcome, Record
from pruneir.pipeline.passes import GroupRow, PhaseRow
from pruneir.report.accuracy import Accuracy
from pruneir.report.counted import counted_at
from pruneir.report.stored import layer_document, macs_left, size_document, stored

SCHEMA = 1
_COSTS = ("macs", "params", "bytes", "activation_peak")


def document(
    outcome: Outcome, *, source: str | None = None, output: str | None = None, accuracy: Accuracy | None = None
) -> dict[str, Any]:
    """Everything that the table says, and more.

    source, output   paths; None for a network in memory, and where nothing was written
    """
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "input": source,
        "output": output,
        **{name: _change(outcome.before, outcome.after, name) for name in _COSTS},
        "predicted_ms": _predicted(outcome),
        "counted_at": {name: list(shape) for name, shape in counted_at(outcome.graph).items()},
        "groups": [_group(row) for row in outcome.rows],
        "refusals": [refusal(each) for each in outcome.refusals],
        "verify": _verify(outcome),
        "passes": [_pass(record) for record in outcome.records],
        "warnings": list(outcome.warnings),
    }
    if outcome.layers:
        found |= _sparsity(outcome)
    if outcome.phases:
        found["phases"] = [_phase(row) for row in outcome.phases]
    if outcome.rounds:
        found["schedule"] = _schedule(outcome)
    return found | ({"accuracy": asdict(accuracy)} if accuracy else {})


def refusal(given: Refusal) -> dict[str, Any]:
    """One refusal."""
    return {**asdict(given), "holds": list(given.holds)}


def _change(before: Cost, after: Cost, name: str) -> dict[str, int]:
    return {"before": getattr(before, name), "after": getattr(after, name)}


def _predicted(outcome: Outcome) -> dict[str, float] | None:
    """Times for the target; null where none are predicted."""
    found = predicted(outcome)
    if found is None or found.ms is None:
        return None
    before, after = found.ms
    return {"before": before, "after": after}


def _group(row: GroupRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "members": list(row.members),
        "channels": {"before": row.channels_before, "after": row.channels_after},
        "macs": {"before": row.macs_before, "after": row.macs_after},
        "note": row.note,
    }


def _phase(row: PhaseRow) -> dict[str, Any]:
    """A phase of a pass that prunes and trains in turn."""
    return {
        "name": row.name,
        "round": row.round,
        "pass": row.step,
        "layers": list(row.layers),
        "threshold": row.threshold,
        "small": row.small,
        "zeros": row.zeros,
        "channels": {"before": row.channels_before, "after": row.channels_after},
        "macs": row.macs,
        "params": row.params,
        **{stage: asdict(getattr(row, stage)) for stage in ("induced", "cut", "retrained")},
    }


def _sparsity(outcome: Outcome) -> dict[str, Any]:
    """The weights that were set to zero, the bytes of all, and the MACs where zeros are skipped."""
    return {
        "layers": [layer_document(row) for row in outcome.layers],
        "stored": {"before": size_document(stored(outcome.original)), "after": size_document(stored(outcome.graph))},
        "macs_without_zeros": macs_left(couple(outcome.graph)),
    }


def _schedule(outcome: Outcome) -> dict[str, Any]:
    """The score of the original, what each round came to, and the round that the network is of."""
    return {
        "base": asdict(outcome.base) if outcome.base else None,
        "max_drop": outcome.recipe.max_drop,
        "rounds": [asdict(each) for each in outcome.rounds],
        "taken": outcome.taken,
        "missed": outcome.missed,
    }


def _verify(outcome: Outcome) -> dict[str, Any]:
    """Whether every pass kept its word, and the drift; `ran` is false without verification."""
    if outcome.drift is None:
        return {"ran": False}
    return {"ran": True, "ok": outcome.ok, "on": outcome.measured_on, "drift": outcome.drift.to_json()}


def _pass(record: Record) -> dict[str, Any]:
    what, result = record.step.what, record.result
    return {
        "name": what.name,
        "pass": str(what),
        "lossy": what.lossy,
        "seconds": round(record.seconds, 4),
        "notes": list(result.notes),
        "changed": sorted(result.changed),
        "check": record.check.to_json() if record.check else None,
    }
