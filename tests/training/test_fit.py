"""Training from end to end on a small network: it learns, repeats itself, keeps names, and stops when it must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pruneir.data import from_arrays  # noqa: E402
from pruneir.errors import PruneirError  # noqa: E402
from pruneir.graph import Graph, parse, text  # noqa: E402
from pruneir.onnx_io import evaluate  # noqa: E402
from pruneir.score import score  # noqa: E402
from pruneir.training.fit import NothingToLearn, fit  # noqa: E402
from pruneir.training.history import Fitted  # noqa: E402
from pruneir.training.options import Training  # noqa: E402
from pruneir.training.rates import rate  # noqa: E402
from support.training import SOURCE, arrays, network, samples  # noqa: E402

WEIGHTS = {"wa", "g", "b", "wc", "wy", "by"}
STATISTICS = {"m", "v"}


def trained(
    graph: Graph | None = None, *, validation: bool = False, teacher: Graph | None = None, **options: Any
) -> Fitted:
    graph = graph or network()
    labels = options.pop("labels", True)
    data = samples(labels=labels, graph=graph)
    given = {"epochs": 2, "batch": 16, "lr": 0.1, "threads": 1, **options}
    val = samples(48, seed=1, labels=labels, graph=graph) if validation else None
    return fit(graph, Training(**given), data, val, teacher)


def equal(a: Graph, b: Graph) -> bool:
    return all(np.array_equal(array, b.initializers[name]) for name, array in a.initializers.items())


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "adamw", "lr": 0.02}, {"clip": 0.5, "warmup": 1.0}, {"schedule": "step"}],
    ids=str,
)
def test_it_learns_and_says_how_well(options: dict[str, Any]) -> None:
    fitted = trained(epochs=8, validation=True, **options)
    losses = [epoch.loss for epoch in fitted.history]
    assert losses[-1] < losses[0]
    assert fitted.before.kind == fitted.after.kind == "accuracy"
    assert fitted.after.points > max(fitted.before.points, 80)
    assert fitted.after.points == pytest.approx(score(fitted.graph, samples(48, seed=1)).points)
    assert fitted.changed == WEIGHTS | STATISTICS
    assert fitted.chosen == max(fitted.history, key=lambda e: (e.judged.points, -e.judged.loss)).number  # type: ignore[union-attr]


def test_names_order_and_types_stay_and_the_graph_given_too() -> None:
    graph = network()
    before = {name: array.copy() for name, array in graph.initializers.items()}
    fitted = trained(graph)
    assert text(fitted.graph) == text(graph)
    assert list(fitted.graph.initializers) == list(graph.initializers)
    assert all(np.array_equal(array, graph.initializers[name]) for name, array in before.items())


def test_the_same_arguments_give_the_same_weights() -> None:
    first = trained(dropout=0.2)
    assert equal(trained(dropout=0.2).graph, first.graph)
    other = fit(network(), Training(epochs=2, batch=16, lr=0.1, threads=1, dropout=0.2), samples(), seed=1)
    assert not equal(other.graph, first.graph)


def test_torch_is_left_as_it_was() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    trained(threads=1)
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_without_labels_it_learns_from_the_network_before_it_was_cut() -> None:
    teacher = trained(epochs=4).graph
    pruned = teacher.copy()
    pruned.set_initializer("wc", teacher.initializers["wc"] * (np.random.default_rng(0).random((6, 8, 1, 1)) < 0.6))
    fitted = trained(pruned, teacher=teacher, labels=False, epochs=6, lr=0.02, keep_zeros=False, validation=True)
    assert fitted.after.kind == "agreement"
    assert fitted.after.loss < fitted.before.loss / 3
    assert fitted.after.points > fitted.before.points


def test_labels_and_a_teacher_together() -> None:
    teacher = trained(epochs=8).graph
    fitted = trained(network(seed=3), teacher=teacher, distill=0.5, epochs=8, lr=0.02, validation=True)
    assert fitted.after.kind == "accuracy"
    assert fitted.after.points > fitted.before.points + 20
    assert fitted.after.loss < fitted.before.loss / 3


def test_where_outputs_are_no_classes_fidelity_counts() -> None:
    source = "x[N,1,6,6] -> y[N,4,6,6] { a = Conv(x, w[4,1,3,3], pads=[1,1,1,1]); y = Conv(a, v[4,4,1,1]) }"
    fitted = trained(parse(source), teacher=parse(source, seed=1), labels=False, epochs=10)
    assert fitted.after.kind == "fidelity"
    assert fitted.after.points > 90 > fitted.before.points


def test_there_must_be_something_to_learn() -> None:
    with pytest.raises(NothingToLearn, match="give --teacher"):
        trained(labels=False, teacher=network())
    assert trained(labels=False, teacher=network(), l1_gamma=0.1).changed


SELECTED = {
    "frozen node": ({"freeze": ("a", "n")}, {"wc", "wy", "by"} | STATISTICS),
    "frozen tensor": ({"freeze": ("w*",)}, {"g", "b", "by"} | STATISTICS),
    "one alone": ({"only": ("y",)}, {"wy", "by"} | STATISTICS),
    "one alone, but for": ({"only": ("y",), "freeze": ("by",)}, {"wy"} | STATISTICS),
    "statistics": ({"freeze_bn": True}, WEIGHTS),
    "all but scales": ({"freeze": ("g", "b"), "freeze_bn": True}, {"wa", "wc", "wy", "by"}),
}


@pytest.mark.parametrize(("options", "changed"), SELECTED.values(), ids=SELECTED)
def test_what_is_frozen_stays(options: dict[str, Any], changed: set[str]) -> None:
    graph = network()
    fitted = trained(graph, epochs=1, **options)
    assert fitted.changed == changed
    assert {n for n, a in fitted.graph.initializers.items() if not np.array_equal(a, graph.initializers[n])} == changed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": ("waa",)}, "freeze: nothing is called 'waa'; did you mean wa"),
        ({"only": ("q*",)}, r"only: nothing is called 'q\*'"),
        ({"freeze": ("*",)}, "leave no weight to train"),
        ({"patience": 1}, "patience is of the validation score"),
        ({"choose": "best"}, "choose=best is by the validation score"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"device": "meta"}, "device 'meta' cannot be used"),
        ({"threads": 100_000}, "threads=100000 is more than 1024"),
        ({"dropout": 0.5, "dropout_at": ("waa",)}, "dropout_at: nothing is called 'waa'"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PruneirError, match=message):
        trained(**options)


LABELS = {
    "not a number": (np.full((16, 3), np.nan), r"^given\.npz: labels hold NaN or infinity"),
    "text": (np.array(["a"] * 16), r"^given\.npz: labels are <U1, not numbers"),
}


@pytest.mark.parametrize(("labels", "message"), LABELS.values(), ids=LABELS)
def test_labels_of_which_nothing_can_be_learned(labels: np.ndarray, message: str) -> None:
    data = from_arrays({"x": arrays(16)["x"], "y": labels}, network(), source="given.npz")
    with pytest.raises(PruneirError, match=message):
        fit(network(), Training(epochs=1, loss="mse"), data)


def test_validation_without_labels_is_told_by_its_name() -> None:
    with pytest.raises(PruneirError, match="--val has no labels, and loss=cross-entropy needs some"):
        fit(network(), Training(epochs=1), samples(16), samples(16, labels=False))


def test_a_network_that_gives_no_numbers_is_told() -> None:
    graph = network()
    graph.set_initializer("wy", graph.initializers["wy"] * np.float32(np.nan))
    with pytest.raises(PruneirError, match="'y' is NaN before any training"):
        fit(graph, Training(epochs=1), samples(16))


def test_a_teacher_has_the_same_interface() -> None:
    with pytest.raises(PruneirError, match="the teacher's inputs are z"):
        trained(labels=False, teacher=parse(SOURCE.replace("x[N", "z[N").replace("Conv(x", "Conv(z")))


def test_a_loss_that_is_not_finite_ends_it_with_the_last_good_epoch() -> None:
    line = parse("x[N,1,6,6] -> y[N,1] { f = Flatten(x); y = Gemm(f, w[36,1]) }")
    fitted = trained(line, loss="mse", epochs=40, lr=0.5, schedule="constant", weight_decay=0.0, clip=0.0)
    assert fitted.failed
    assert "in epoch" in fitted.stopped or "after epoch" in fitted.stopped
    assert "lower lr, or clip" in fitted.stopped
    assert 0 < len(fitted.history) == fitted.chosen < 40
    assert all(np.isfinite(array).all() for array in fitted.graph.initializers.values())
    assert fitted.changed == {"w"}
    at_once = trained(lr=1e30)
    assert at_once.failed
    assert at_once.chosen == 0
    assert not at_once.changed
    assert "the result is" not in at_once.stopped
    assert at_once.ended == f"{at_once.stopped}; the result is the network as it was given"


def test_it_stops_when_nothing_gets_better_and_keeps_the_best() -> None:
    fitted = trained(epochs=12, lr=1e-9, momentum=0.0, weight_decay=0.0, freeze_bn=True, patience=2, validation=True)
    assert fitted.stopped.startswith("no better accuracy for 2 epochs")
    assert len(fitted.history) < 12
    worse = trained(trained(epochs=10).graph, epochs=2, lr=3.0, clip=100.0, validation=True)
    if not worse.failed:
        assert worse.after.points >= max([worse.before.points, *(e.judged.points for e in worse.history if e.judged)])


def test_the_last_epoch_counts_if_asked_for() -> None:
    assert trained(epochs=3, validation=True, choose="last").chosen == 3
    assert trained(epochs=3, validation=True, l1_gamma=1e-3).chosen == 3


def test_statistics_that_a_cut_left_behind_are_forgotten_at_once() -> None:
    graph = trained(epochs=8).graph
    graph.set_initializer("m", graph.initializers["m"] + 50)
    graph.set_initializer("v", graph.initializers["v"] * 1e4)
    fitted = trained(graph, epochs=1, batch=32, lr=1e-3)  # three steps: momentum alone would keep 0.9³ of them
    assert fitted.before.points < 60
    assert fitted.after.points > 90


def test_a_batchnorm_over_a_single_value_goes_by_its_running_statistics() -> None:
    graph = parse("x[1,4] -> y[1,3] { a = Gemm(x, w[4,3]); y = BatchNormalization(a, g[3], b[3], m[3], v[3]) }")
    data = from_arrays({"x": np.eye(4, dtype=np.float32), "y": np.array([0, 1, 2, 0])}, graph)
    fitted = fit(graph, Training(epochs=3, lr=0.1, threads=1), data)
    assert fitted.changed == {"w", "g", "b"}
    assert fitted.after.loss < fitted.before.loss


SHIFTS = {  # samples, batch, steps an epoch: whole batches, if there is one
    "whole": (96, 16, 6),
    "rest": (90, 16, 5),
    "fewer than a batch": (10, 16, 1),
}


@pytest.mark.parametrize(("count", "batch", "steps"), SHIFTS.values(), ids=SHIFTS)
def test_whole_batches(count: int, batch: int, steps: int) -> None:
    seen: list[float] = []
    fit(network(), Training(epochs=1, batch=batch), samples(count), progress=lambda told, share: seen.append(share))
    assert len([share for share in seen if share > 0]) - 1 == steps


def test_a_batch_size_that_the_graph_prescribes() -> None:
    graph = parse(SOURCE.replace("x[N", "x[4").replace("y[N", "y[4"))
    fitted = fit(graph, Training(epochs=1), samples(10, graph=graph), samples(6, graph=graph))
    assert fitted.after.samples == 6
    single = parse(SOURCE.replace("x[N", "x[1").replace("y[N", "y[1"))
    assert "a single sample" in fit(single, Training(epochs=1), samples(4, graph=single)).notes[0]


RATES = {
    "constant": ({}, [1.0] * 8),
    "cosine": ({"schedule": "cosine"}, [0.5 * (1 + np.cos(np.pi * s / 8)) for s in range(8)]),
    "step": ({"schedule": "step", "milestones": (0.25, 0.5)}, [1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01]),
    "warm": ({"warmup": 2.0}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
    "warm, then cosine": ({"warmup": 2.0, "schedule": "cosine"}, [0.25, 0.5, 0.75, 1, 1, 0.853553, 0.5, 0.146447]),
}


@pytest.mark.parametrize(("options", "expected"), RATES.values(), ids=RATES)
def test_the_learning_rate_over_the_steps(options: dict[str, Any], expected: list[float]) -> None:
    training = Training(**{"lr": 1.0, "epochs": 4, "schedule": "constant", **options})
    assert [rate(training, step, 2) for step in range(8)] == pytest.approx(expected, rel=1e-5)


def test_what_is_written_must_compute_what_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = evaluate

    def off(graph: Graph, names: list[str], batches: Any) -> Any:
        return ({name: a * np.float32(1.0001) for name, a in found.items()} for found in honest(graph, names, batches))

    monkeypatch.setattr("pruneir.training.writing.evaluate", off)
    with pytest.raises(PruneirError, match="ONNX Runtime gives 'y' of the trained network differently"):
        trained(epochs=1)


def test_a_loss_of_ones_own_trains_and_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "focal_losses.py").write_text(
        "def focal(outputs, labels, taught):\n"
        "    chance = outputs['y'].softmax(1).gather(1, labels[:, None])\n"
        "    return (-((1 - chance) ** 2) * chance.log()).mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    fitted = trained(loss="focal_losses:focal", epochs=6, validation=True)
    assert fitted.after.points > max(fitted.before.points, 80)
    assert fitted.after.loss < fitted.before.loss


def test_rounding_that_a_network_magnifies_is_no_difference() -> None:
    graph = parse("x[N,512] -> y[N,64] { a = MatMul(x, w[512,64]); b = Add(a, big[1]); y = Sub(b, big) }")
    graph.set_initializer("big", np.array([1e4], np.float32))
    graph.set_initializer("w", np.random.default_rng(0).standard_normal((512, 64)).astype(np.float32))
    x = np.random.default_rng(1).standard_normal((64, 512)).astype(np.float32)
    data = from_arrays({"x": x, "goal": np.zeros((64, 64), np.float32)}, graph, labels="goal")
    assert fit(graph, Training(epochs=1, only=("w",), threads=1), data).changed == {"w"}
