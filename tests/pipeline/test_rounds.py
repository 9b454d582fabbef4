"""Schedules: rounds of the same passes, a tolerance of the score, and going on after a stop."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.data import from_arrays
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.onnx_io import save
from pruneir.pipeline import Recipe, Step, parse_pass, parse_recipe
from pruneir.pipeline.journal import fingerprint
from pruneir.pipeline.outcome import Outcome, Round
from pruneir.pipeline.run import run
from pruneir.score import Score
from support.builders import Builder

SLIM = "filter{ratio=0.25,scope=local}"
SAMPLES = {"x": np.random.default_rng(1).standard_normal((64, 3, 8, 8)).astype(np.float32)}


def network() -> Graph:
    b = Builder(("N", 3, 8, 8))
    x = b.op("Relu", b.norm(b.conv("x", 3, 16, 3), 16))
    x = b.op("Relu", b.norm(b.conv(x, 16, 16, 3), 16))
    x = b.op("Flatten", b.op("GlobalAveragePool", x))
    return b.finish(b.op("Gemm", x, b.weight("head", 16, 10)))


def scheduled(rounds: int, max_drop: float | None = None, *, step: str = SLIM, **options: object) -> Outcome:
    graph = network()
    recipe = Recipe((Step(parse_pass(step)),), rounds=rounds, max_drop=max_drop)
    data = pruneir.data.from_arrays(SAMPLES, graph)
    return run(graph, recipe, data=data, **options)  # type: ignore[arg-type]


def test_rounds_cut_on_and_on() -> None:
    outcome = scheduled(3)
    macs = [each.macs for each in outcome.rounds]
    assert macs == sorted(macs, reverse=True)
    assert len(set(macs)) == 3
    assert outcome.after.macs == macs[-1]
    assert outcome.taken == 3
    assert [each.score.kind for each in outcome.rounds if each.score] == ["agreement"] * 3


def test_a_round_that_loses_too_much_is_not_taken() -> None:
    free = scheduled(4)
    assert free.base is not None
    lost = [free.base.points - each.score.points for each in free.rounds if each.score]
    allowed = lost[0]
    first_bad = next(n for n, points in enumerate(lost, 1) if points > allowed)
    outcome = scheduled(4, allowed)
    assert (outcome.taken, len(outcome.rounds)) == (first_bad - 1, first_bad)
    assert outcome.after.macs == outcome.rounds[outcome.taken - 1].macs
    assert outcome.ok
    assert len(outcome.records) == 1 + outcome.taken


def test_a_first_round_that_loses_too_much_is_kept_and_missed() -> None:
    outcome = scheduled(3, 0.0, step="filter{ratio=0.75,absorb=false}")
    assert outcome.taken == 1
    assert not outcome.ok
    assert outcome.missed is not None
    assert "max_drop=0" in outcome.missed


@pytest.mark.parametrize(
    ("before", "after", "allowed", "loses"),
    [
        (99.9, 99.6, 0.3, False),
        (100.0, 100 * 59 / 60, 100 - 100 * 59 / 60, False),
        (99.9, 99.5, 0.3, True),
        (90.0, 95.0, 0.0, False),
        (90.0, float("nan"), 5.0, True),
    ],
)
def test_what_is_just_allowed_is_not_too_much(before: float, after: float, allowed: float, loses: bool) -> None:
    reached = Round(1, 0, 0, Score(after, "fidelity", 1000))
    assert reached.loses(Score(before, "fidelity", 1000), allowed) is loses


def test_the_resolved_recipe_writes_rounds_out() -> None:
    resolved = scheduled(3).resolved
    assert (resolved.rounds, len(resolved.steps)) == (1, 3)
    assert parse_recipe(resolved.to_toml()) == resolved


def test_a_stopped_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    whole = scheduled(3, checkpoints=tmp_path / "a")

    class Stopped(Exception): ...

    def stop(stage: str, share: float) -> None:
        if stage.startswith("round 3"):
            raise Stopped

    with pytest.raises(Stopped):
        scheduled(3, checkpoints=tmp_path / "b", progress=stop)
    assert sorted(p.name for p in (tmp_path / "b").glob("round-?.json")) == ["round-1.json", "round-2.json"]
    stages: list[str] = []
    resumed = scheduled(3, checkpoints=tmp_path / "b", resume=True, progress=lambda stage, share: stages.append(stage))
    assert not any(stage.startswith(("round 1", "round 2")) for stage in stages)
    assert resumed.plan.to_json() == whole.plan.to_json()
    assert resumed.resolved == whole.resolved
    assert [r.result.rows for r in resumed.records] == [r.result.rows for r in whole.records]
    assert [r.check for r in resumed.records] == [r.check for r in whole.records]
    for name, array in whole.graph.initializers.items():
        np.testing.assert_array_equal(resumed.graph.initializers[name], array)
    assert "round 2" in (tmp_path / "b/log.txt").read_text()


def test_more_rounds_may_be_asked_for_later(tmp_path: Path) -> None:
    scheduled(2, checkpoints=tmp_path)
    assert scheduled(3, checkpoints=tmp_path, resume=True).plan.to_json() == scheduled(3).plan.to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mark: mark, "pass --resume to go on"),
        (lambda mark: {**mark, "fingerprint": "of another"}, "holds another run"),
        (lambda mark: {}, "holds another run"),
    ],
)
def test_a_folder_is_not_taken_over(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    scheduled(1, checkpoints=tmp_path)
    mark = tmp_path / "run.json"
    mark.write_text(json.dumps(change(json.loads(mark.read_text()))))
    with pytest.raises(PruneirError, match=message):
        scheduled(1, checkpoints=tmp_path)


def test_a_damaged_page_is_said(tmp_path: Path) -> None:
    scheduled(1, checkpoints=tmp_path)
    (tmp_path / "round-1.json").write_text("{")
    with pytest.raises(PruneirError, match="damaged"):
        scheduled(1, checkpoints=tmp_path, resume=True)


def edited(page: Path, **changes: object) -> None:
    page.write_text(json.dumps({**json.loads(page.read_text()), **changes}))


def with_a_folder_for_a_log(folder: Path) -> None:
    for name in ("round-1.json", "log.txt"):
        (folder / name).unlink()
    (folder / "log.txt").mkdir()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a page without its passes": (lambda folder: edited(folder / "round-1.json", passes=[]), "is damaged; remove"),
    "a page of no plan": (
        lambda folder: edited(folder / "round-1.json", plan={"initializers": 3}),
        "is damaged; remove",
    ),
    "the page of another round": (
        lambda folder: edited(folder / "round-1.json", reached={"number": 2, "macs": 1, "params": 1}),
        "is not what round 1 wrote; remove",
    ),
    "another network": (
        lambda folder: save(network(), folder / "round-1.onnx", force=True),
        "is not what round 1 wrote",
    ),
    "no network": (lambda folder: (folder / "round-1.onnx").unlink(), "is not what round 1 wrote; remove"),
    "half a network": (lambda folder: (folder / "round-1.onnx").write_bytes(b"half"), "is not what round 1 wrote"),
    "a run that nobody knows": (
        lambda folder: (folder / "run.json").unlink(),
        "holds rounds of a run that nothing says",
    ),
    "a log that is a folder": (with_a_folder_for_a_log, "log.txt cannot be written"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_folder_that_was_tampered_with_is_told(damage: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    scheduled(1, checkpoints=tmp_path)
    damage(tmp_path)
    with pytest.raises(PruneirError, match=told):
        scheduled(1, checkpoints=tmp_path, resume=True)


def test_a_folder_that_takes_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    for name in ("write_text", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(PruneirError, match=r"run.json cannot be written \(Read-only file system\); check the folder"):
        scheduled(1, checkpoints=tmp_path / "kept")


def test_a_tolerance_needs_samples() -> None:
    with pytest.raises(PruneirError, match="--val"):
        run(network(), Recipe((Step(parse_pass(SLIM)),), max_drop=1.0))


OTHER_DATA = {
    "a later sample": lambda x, y: (np.where(np.arange(40)[:, None] > 20, 1 - x, x), y),
    "labels": lambda x, y: (x, np.where(np.arange(40) > 20, 1 - y, y)),
    "a sample more": lambda x, y: (np.concatenate([x, x[-1:]]), np.concatenate([y, y[-1:]])),
}


@pytest.mark.parametrize("change", OTHER_DATA.values(), ids=OTHER_DATA)
def test_other_data_are_another_run(change: Callable[..., tuple[np.ndarray, np.ndarray]]) -> None:
    graph, random = parse("x[N,3] -> y[N,2] { y = Gemm(x, w[3,2]) }"), np.random.default_rng(0)
    x, y = random.random((40, 3), np.float32), random.integers(0, 2, 40)
    marks = [
        fingerprint(graph, Recipe(), {"data": from_arrays({"x": x, "y": y}, graph)})
        for x, y in ((x, y), (x, y), change(x, y))
    ]
    assert marks[0] == marks[1] != marks[2]


def test_another_content_of_a_file_that_a_pass_names_is_another_run(tmp_path: Path) -> None:
    file = tmp_path / "anchors.npy"
    recipe = Recipe((Step(parse_pass(f'train{{loss=multibox,anchors="{file}"}}')),))
    marks = []
    for anchors in (np.eye(4), np.eye(4), np.ones((4, 4))):
        np.save(file, anchors)
        marks.append(fingerprint(network(), recipe, {}))
    assert marks[0] == marks[1] != marks[2]


def test_another_content_of_a_module_that_is_named_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    graph = network()
    recipe = Recipe((Step(parse_pass('train{loss="own_program:loss"}')),))
    source = "import numpy as np\ndef batches():\n    yield np.zeros((4, 3, 8, 8), np.float32)\n"
    for named in (recipe, Recipe()):
        marks = []
        for text in (source, source, source + "# another\n"):
            Path("own_program.py").write_text(text)
            data = None if named is recipe else pruneir.data.load_data("own_program:batches", graph)
            marks.append(fingerprint(graph, named, {"data": data}))
        assert marks[0] == marks[1] != marks[2]
