"""`ssd`: phases of sparsity training, cut and retraining, of detectors and of classifiers."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

torch = pytest.importorskip("torch")

import pruneir  # noqa: E402
from pruneir.api import optimize_by, train  # noqa: E402
from pruneir.data import Data, from_arrays  # noqa: E402
from pruneir.detection.anchors import load_anchors  # noqa: E402
from pruneir.errors import PruneirError  # noqa: E402
from pruneir.graph import Graph, check, parse  # noqa: E402
from pruneir.passes.ssd import Ssd  # noqa: E402
from pruneir.pipeline.passes import PhaseRow  # noqa: E402
from pruneir.pipeline.registry import parse_pass  # noqa: E402
from pruneir.report.phases import phases  # noqa: E402
from pruneir.report.table import table  # noqa: E402
from pruneir.score import score  # noqa: E402
from pruneir.training.options import Training  # noqa: E402
from support.detector import ANCHORS, detector, scenes  # noqa: E402
from support.training import arrays, network  # noqa: E402

FAST = "optimizer=adamw,lr=0.01,batch=16,threads=1,l1_weights=0.1"
DETECTOR = f"ssd{{loss=multibox,anchors=anchors.npy,{FAST},phases=2,cut_tolerance=40}}"
CLASSIFIER = f"ssd{{{FAST},epochs=4,cut_tolerance=20}}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("anchors.npy", ANCHORS)
    return tmp_path


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A detector that has learned its scenes a little."""
    anchors = tmp_path_factory.mktemp("anchors") / "anchors.npy"
    np.save(anchors, ANCHORS)
    options = Training(epochs=8, loss="multibox", optimizer="adamw", lr=0.01, batch=16, threads=1, anchors=str(anchors))
    return train(detector(anchors=False), options, data=scenes(128)).graph


@pytest.fixture(scope="module")
def pruned(learned: Graph, tmp_path_factory: pytest.TempPathFactory) -> pruneir.Optimized:
    """The same, pruned in two phases."""
    place = tmp_path_factory.mktemp("pruned") / "anchors.npy"
    np.save(place, ANCHORS)
    spec = DETECTOR.replace("anchors.npy", f'"{place}",trained_on=112')
    return pruneir.optimize(learned, [spec], data=scenes(128), validation=scenes(48, 1))


def test_every_phase_is_told(pruned: pruneir.Optimized) -> None:
    first, second = pruned.outcome.phases
    assert (first.name, second.name) == ("-1det", "-2det")
    assert {"a", "b"} <= set(first.layers)
    assert {"lc", "kc"} <= set(second.layers)  # the heads read what the second phase makes
    for row in (first, second):
        assert {each.kind for each in (row.induced, row.cut, row.retrained)} == {"mAP"}
        assert row.induced.points - row.cut.points <= 40
        assert 0 < row.small < 1
        assert row.zeros is not None
    assert second.params < first.params < pruned.outcome.before.params
    assert second.params == pruned.outcome.after.params
    told = pruned.report["phases"]
    assert [each["name"] for each in told] == ["-1det", "-2det"]
    assert told[1]["retrained"] == {"points": second.retrained.points, "kind": "mAP", "samples": 48}
    json.dumps(pruned.report)


def test_every_cut_equals_the_network_with_constants_held(pruned: pruneir.Optimized) -> None:
    record = pruned.outcome.records[-1]
    assert record.check is not None
    assert (record.check.ok, record.check.kind) == (True, "held")
    assert len(record.result.cutting) == 2
    check(pruned.graph)


def test_a_cut_that_does_not_equal_is_refused(learned: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Ssd.run

    def broken(self: Ssd, graph: Graph, context: Any) -> Any:
        result = plain(self, graph, context)
        before, cut = result.cutting[0]
        return replace(result, cutting=((before, replace(cut, reference=lambda: before)), *result.cutting[1:]))

    monkeypatch.setattr(Ssd, "run", broken)
    spec = DETECTOR.replace("cut_tolerance=40", "zeros=0.5").replace("phases=2", "phases=1")
    made = pruneir.optimize(learned, [spec], data=scenes(32), validation=scenes(16, 1))
    assert not made.ok


def test_the_plan_has_what_all_phases_left(pruned: pruneir.Optimized, learned: Graph) -> None:
    whole, left = learned.initializers, pruned.graph.initializers
    kept = pruned.plan.kept
    assert {"wb", "wc", "wlb", "wkc"} <= kept.keys()
    for name, array in left.items():
        axes = kept.get(name, {})
        assert array.shape == tuple(
            len(axes[axis][1]) if axis in axes else size for axis, size in enumerate(whole[name].shape)
        )
        assert all(axes[axis][0] == whole[name].shape[axis] for axis in axes)
    np.testing.assert_array_equal(kept["wb"][0][1], kept["wlb"][1][1])
    np.testing.assert_array_equal(kept["wb"][0][1], kept["wc"][1][1])
    assert "blb" in pruned.plan.changed
    assert left["wlb"].shape[0] == whole["wlb"].shape[0]
    rows = {row.name: (row.channels_before, row.channels_after) for row in pruned.outcome.rows}
    assert rows == {name: (len(whole[f"w{name}"]), len(left[f"w{name}"])) for name in "abc"}


def test_the_table_of_optimize_has_map(pruned: pruneir.Optimized, learned: Graph) -> None:
    found = pruned.accuracy
    assert found is not None
    assert (found.kind, found.samples) == ("mAP", 48)
    for points, graph in ((found.before, learned), (found.after, pruned.graph)):
        data = from_arrays(scenes(48, 1), graph)
        anchors = load_anchors(Path("anchors.npy"))
        assert 100 * points == pytest.approx(score(graph, data, anchors=anchors).points)
    assert found.before > 0.5


def test_it_runs_again_from_its_recipe(pruned: pruneir.Optimized, learned: Graph) -> None:
    again = optimize_by(pruned.recipe, learned, data=scenes(128), validation=scenes(48, 1))
    assert state(again.graph) == state(pruned.graph)


@pytest.fixture(scope="module")
def classifier() -> Graph:
    return train(network(), Training(epochs=20, lr=0.05, batch=16, threads=1), data=arrays(128)).graph


@pytest.mark.parametrize(("labels", "kind"), [(True, "accuracy"), (False, "agreement")])
def test_classifiers(labels: bool, kind: str, classifier: Graph) -> None:
    base = classifier
    data, validation = (arrays(96, seed, labels=labels) for seed in (1, 2))
    made = pruneir.optimize(base, [CLASSIFIER], data=data, validation=validation)
    assert made.ok
    assert {row.retrained.kind for row in made.outcome.phases} == {kind}
    assert len(made.outcome.phases) == 2  # as many as there are groups
    assert made.outcome.after.params < made.outcome.before.params
    assert made.outcome.phases[-1].retrained.points > score(base, from_arrays(validation, base), base).points - 30


def test_options_of_the_run_hold() -> None:
    spec = CLASSIFIER.replace("cut_tolerance=20", "zeros=0.2").replace("epochs=4", "epochs=1")
    given: dict[str, Any] = {"data": arrays(32), "validation": arrays(16, 1)}
    for options, left in (
        ({"keep": ["a"]}, (8, 2)),
        ({"only": ["a"]}, (2, 6)),
        ({"ratio": {"a": 0.5}}, (4, 2)),
        ({"target": "cortex-m4"}, (4, 4)),
    ):
        made = pruneir.optimize(network(), [spec], **given, **options)  # type: ignore[arg-type]
        assert made.ok
        assert (made.graph.initializers["wa"].shape[0], made.graph.initializers["wc"].shape[0]) == left, options
    made = pruneir.optimize(network(), [spec.replace("zeros=0.2", "zeros=0.2,phases=[c]")], **given)
    assert [row.name for row in made.outcome.phases] == ["-1det"]
    assert {row.name: row.note for row in made.outcome.rows}["a"] == "in no phase"


def test_a_budget_of_weights_is_met(classifier: Graph) -> None:
    spec = f"ssd{{{FAST},phases=1,max_per_group=1,tolerance=0}}".replace("l1_weights=0.1", "l1_weights=0.01")
    left = []
    for share in (1.0, 0.7, 0.3):
        budget = spec.replace("phases", f"params={share},phases")
        made = pruneir.optimize(classifier, [budget], data=arrays(32)).graph
        sizes = [sum(graph.initializers[name].size for name in ("wa", "wc", "wy")) for graph in (made, classifier)]
        left.append(sizes[0] / sizes[1])
        assert left[-1] <= share
    assert left[0] == 1 > left[1] >= left[2]


def test_thresholds_are_chosen_on_the_data_where_there_is_nothing_else() -> None:
    spec = CLASSIFIER.replace("epochs=4", "epochs=1,phases=1")
    made = pruneir.optimize(network(), [spec], data=arrays(32))
    assert made.outcome.phases[0].cut.samples == 32
    assert any("give --val" in note for note in made.outcome.notes)


def test_it_needs_samples() -> None:
    with pytest.raises(PruneirError, match="pass ssd trains before and after every cut; give samples with --data"):
        pruneir.optimize(network(), ["ssd"])


def test_a_detector_needs_its_anchors() -> None:
    with pytest.raises(PruneirError, match="give them as anchors=FILE.npy"):
        pruneir.optimize(
            detector(anchors=False), [DETECTOR.replace("anchors=anchors.npy,", "")], data=scenes(16), verify=False
        )


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("phases=0", "phases=0 is less than 1"),
        ("phases=[]", "phases=0 is less than 1"),
        ("induction=0", "induction=0 is less than 1"),
        ("trained_on=0", "trained_on=0 is less than 1"),
        ("samples=0", "samples=0 is less than 1"),
        ("tolerance=-1", "tolerance=-1 is not a number of points"),
        ("zeros=1.5", "zeros=1.5 is not a share between 0 and 1"),
        ("params=1.5", "params=1.5 is not a share between 0 and 1"),
        ("params=0.5,zeros=0.9", "zeros is instead of params; give only one of them"),
        ("params=0.5,cut_tolerance=9", "params is instead of cut_tolerance; give only one of them"),
        ("max_per_group=2", "max_per_group=2 is not a share between 0 and 1"),
        ("epochs=0", "epochs=0 is less than 1"),
    ],
)
def test_options_are_checked_at_once(option: str, told: str) -> None:
    with pytest.raises(PruneirError, match=told):
        parse_pass(f"ssd{{{option}}}")


def test_a_recipe_gives_one_budget() -> None:
    with pytest.raises(PruneirError, match="zeros is instead of params; give only one of them"):
        Ssd(params=0.5, zeros=0.5)


PULLED = {
    "phases=1": {"wa", "wc", "wy"},
    "phases=1,freeze=wa": {"wc", "wy"},
    "phases=1,only=[wy,by]": {"wy"},
    "phases=1,l1_at=[wc,wy]": {"wc", "wy"},
    "phases=[a],l1_at=[wc,wy]": {"wc"},
    "phases=[c],freeze=c": {"wy"},
    "phases=[a],only=wy": set[str](),
}


@pytest.mark.parametrize(("options", "pulled"), PULLED.items(), ids=PULLED)
def test_the_penalty_is_on_what_is_trained_of_the_phase(options: str, pulled: set[str]) -> None:
    spec = f"ssd{{{FAST},zeros=0.9,{options}}}".replace("l1_weights=0.1", "l1_weights=30")
    result = pruneir.optimize(network(), [spec], data=arrays(32)).outcome.records[-1].result
    ((sparse, _),) = result.cutting
    assert {name for name in ("wa", "wc", "wy") if not sparse.initializers[name].all()} == pulled
    told = [note for note in result.notes if "leave no weight of its layers to pull to zero" in note]
    assert bool(told) is not bool(pulled)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("l1_at=nonsense", "l1_at: nothing is called 'nonsense'"),
        (
            "params=0.01,max_per_group=0.5",
            "params=0.01 is out of reach: the largest cut of a leaves 0.5 of the weights",
        ),
        ("phases=[a,q]", "phases: no group of channels is called 'q'; groups are a, c"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_trained(option: str, told: str) -> None:
    seen: list[str] = []
    with pytest.raises(PruneirError, match=told):
        pruneir.optimize(
            network(), [f"ssd{{{FAST},{option}}}"], data=arrays(32), progress=lambda text, share: seen.append(text)
        )
    assert not [text for text in seen if "epoch" in text]


# Of b no more is cut than is asked for, which is too little for as many channels as the cut of a leaves.
THREE = """
x[N,1,6,6] -> y[N,3] {
  a = Conv(x, wa[8,1,3,3]); r = Relu(a); b = Conv(r, wb[10,8,3,3]); s = Relu(b); c = Conv(s, wc[4,10,1,1]); t = Relu(c)
  p = GlobalAveragePool(t); f = Flatten(p); y = Gemm(f, wy[4,3])
}
"""


def test_a_budget_that_is_missed_after_all_is_told() -> None:
    graph = parse(THREE)
    graph.set_initializer("wa", 10 * graph.initializers["wa"])  # so that the many weights that read a tell its channels
    spec = f'ssd{{{FAST},params=0.5,tolerance=0,max_per_group=1,phases=[a,"b;c"]}}'
    made = pruneir.optimize(graph, [spec], data=arrays(32), ratio={"b": 0.4})
    assert made.graph.initializers["wa"].shape[0] == 4
    (told,) = [note for note in made.outcome.notes if "missed" in note]
    assert told == "ssd: -2det: params=0.5 is missed: the largest cut leaves 0.546 of its weights"


def test_a_budget_that_a_later_round_misses_is_told() -> None:
    spec = f"ssd{{{FAST},params=0.5,phases=[a]}}"
    made = pruneir.optimize(network(), [spec], data=arrays(32), target="cortex-m4", rounds=2)
    assert [(row.round, row.channels_after) for row in made.outcome.phases] == [(1, 4), (2, 4)]
    told = [note for note in made.outcome.notes if "missed" in note]
    assert told == ["ssd: -1det: params=0.5 is missed: the largest cut leaves 1 of its weights"]


def test_a_budget_runs_again_from_its_recipe(classifier: Graph) -> None:
    made = pruneir.optimize(classifier, [f"ssd{{{FAST},params=0.5}}"], data=arrays(32))
    again = optimize_by(made.recipe, classifier, data=arrays(32))
    assert state(again.graph) == state(made.graph)


@pytest.mark.parametrize("phases", ["2", "[a,c]"])
def test_a_phase_that_nothing_may_be_cut_of_is_skipped(phases: str) -> None:
    spec = f"ssd{{{FAST},zeros=0,max_per_group=1,phases={phases}}}"
    kept = pruneir.optimize(network(), [spec], data=arrays(32), keep=["a"])
    assert [row.layers for row in kept.outcome.phases] == [("c", "y")]
    cut = pruneir.optimize(network(), [spec], data=arrays(32), rounds=2)
    assert [len(record.result.phases) for record in cut.outcome.records[1:]] == [2, 0]
    told = [note for made in (kept, cut) for note in made.outcome.notes if "is skipped" in note]
    left = "earlier cuts left one channel"
    skipped = [("a", "a: kept by --keep"), ("a", left), ("c", left)] if phases != "2" else []
    assert told == [f"ssd: phase '{name}' is skipped; {why}" for name, why in skipped]


def test_what_was_stopped_while_it_trained_goes_on_to_the_same_network(tmp_path: Path) -> None:
    given: dict[str, Any] = {"data": arrays(64), "validation": arrays(32, 1)}
    passes = [f"ssd{{{FAST},epochs=3,zeros=0.3,phases=2}}"]
    whole = pruneir.optimize(network(), passes, **given)
    seen: list[str] = []

    def stop(text: str, share: float) -> None:
        if "-2det, retraining, epoch 3 of 3" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pruneir.optimize(network(), passes, **given, checkpoints=tmp_path, progress=stop)
    assert sorted(path.parent.name for path in tmp_path.rglob("training.safetensors")) == [
        f"phase-{number}det-{stage}" for number in (1, 2) for stage in ("retraining", "sparsity-training")
    ]
    again = pruneir.optimize(
        network(),
        passes,
        **given,
        checkpoints=tmp_path,
        resume=True,
        progress=lambda text, share: seen.append(text),
    )
    assert {text.partition(", loss")[0] for text in seen if ", epoch" in text} == {"-2det, retraining, epoch 3 of 3"}
    assert state(again.graph) == state(whole.graph)


def test_a_training_that_fails_has_no_result() -> None:
    with pytest.raises(
        PruneirError, match=r"pass ssd: sparsity training of -1det stopped: .* lower lr, or .*\(clip=1\)\n"
    ):
        pruneir.optimize(network(), [f"ssd{{{FAST}}}".replace("lr=0.01", "lr=1e30")], data=arrays(32))


def test_nothing_to_learn_is_told() -> None:
    spec = f"ssd{{{FAST},phases=1}}".replace("l1_weights=0.1", "l1_weights=0")
    made = pruneir.optimize(network(), [spec], data=arrays(32, labels=False), ratio={"[ac]": 0.0})
    told = [note for note in made.outcome.notes if "there is nothing to learn" in note]
    assert [note.partition(": there")[0] for note in told] == [
        f"ssd: -1det, {stage}" for stage in ("sparsity training", "retraining")
    ]


def shown(rows: Sequence[PhaseRow], names: Sequence[str]) -> bool:
    """Whether the table has two lines for each of these: a row, and its layers."""
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(phases(rows))
    lines = console.export_text().splitlines()
    return all(len([line for line in lines if line.startswith(f"{name} ")]) == 2 for name in names)


def test_phases_of_several_rounds_are_told_apart() -> None:
    made = pruneir.optimize(network(), [f"ssd{{{FAST},zeros=0.3,phases=2}}"], data=arrays(32), rounds=2)
    expected = [(number, name) for number in (1, 2) for name in ("-1det", "-2det")]
    assert [(row.round, row.name) for row in made.outcome.phases] == expected
    assert [(each["round"], each["name"]) for each in made.report["phases"]] == expected
    assert shown(made.outcome.phases, [f"{number} · {name}" for number, name in expected])


TWICE = [f"ssd{{{FAST},epochs=2,zeros=0.3,phases=2,trained_on=24}}"] * 2
"""Two passes of one round."""


def test_phases_of_several_passes_are_told_apart() -> None:
    made = pruneir.optimize(network(), ["fold-bn", *TWICE], data=arrays(32))
    expected = [(number, name) for number in (2, 3) for name in ("-1det", "-2det")]
    assert [(row.step, row.name) for row in made.outcome.phases] == expected
    assert [(each["pass"], each["name"]) for each in made.report["phases"]] == expected
    assert shown(made.outcome.phases, [f"pass {number} · {name}" for number, name in expected])


def test_what_was_stopped_in_the_second_pass_goes_on_there(tmp_path: Path) -> None:
    given: dict[str, Any] = {"data": arrays(64), "validation": arrays(32, 1)}
    whole = pruneir.optimize(network(), TWICE, **given)
    seen: list[str] = []

    def stop(text: str, share: float) -> None:
        seen.append(text)
        if "-1det, retraining, epoch 2 of 2" in text and any("-2det, retraining" in earlier for earlier in seen):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pruneir.optimize(network(), TWICE, **given, checkpoints=tmp_path, progress=stop)
    kept = {path.parent.parent.name: path.parent.name for path in tmp_path.rglob("phase-1det-retraining/*.safetensors")}
    assert kept == dict.fromkeys(("pass-1", "pass-2"), "phase-1det-retraining")
    again = pruneir.optimize(network(), TWICE, **given, checkpoints=tmp_path, resume=True)
    assert state(again.graph) == state(whole.graph)


def test_each_pass_draws_its_samples_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    plain = Data.some

    def some(self: Data, limit: int, seed: int = 0) -> Data:
        seeds.append(seed) if limit == 24 else None
        return plain(self, limit, seed)

    monkeypatch.setattr(Data, "some", some)
    pruneir.optimize(network(), TWICE, data=arrays(32))
    assert len(set(seeds)) == len(seeds) == 8


def state(graph: Graph) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in graph.initializers.items()}


def test_the_table_has_a_line_for_each_phase(pruned: pruneir.Optimized) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(pruned.outcome, pruned.accuracy, width=120))
    lines = console.export_text().splitlines()
    for row in pruned.outcome.phases:
        (line,) = (
            line for line in lines if line.strip().startswith(row.name) and f"{row.retrained.points:.2f}" in line
        )
        assert f"{row.induced.points:.2f}" in line
        assert f"{row.channels_before} → " in line.replace("  ", " ")
    assert any(
        "mAP after sparsity training, after the cut and after retraining, on 48 samples" in line for line in lines
    )
