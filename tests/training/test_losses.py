"""What is made small, against numpy; which loss labels and outputs call for; and what does not go together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pruneir.errors import PruneirError  # noqa: E402
from pruneir.graph import Graph, parse  # noqa: E402
from pruneir.training.heads import head_of  # noqa: E402
from pruneir.training.losses import cross_entropy, distance, mse  # noqa: E402
from pruneir.training.network import Network  # noqa: E402
from pruneir.training.objective import loss_of  # noqa: E402
from pruneir.training.options import Training  # noqa: E402

ENDS = {
    "scores": ("x[N,6] -> y[N,4] { y = Gemm(x, w[6,4]) }", 17),
    "softmax": ("x[N,6] -> y[N,4] { a = Gemm(x, w[6,4]); y = Softmax(a) }", 17),
    "log-softmax": ("x[N,6] -> y[N,4] { a = Gemm(x, w[6,4]); y = LogSoftmax(a) }", 17),
    "softmax and a copy": ("x[N,6] -> y[N,4] { a = Gemm(x, w[6,4]); s = Softmax(a); y = Identity(s) }", 17),
    "softmax over all that follows": (
        "x[N,6,1,1] -> y[N,4,1,1] { a = Conv(x, w[4,6,1,1]); y = Softmax(a, axis=1) }",
        11,
    ),
    "one place": ("x[N,6,1,1] -> y[N,4,1,1] { y = Conv(x, w[4,6,1,1]) }", 17),
}
PLACES = {
    "channels first": "x[N,6,2,3] -> y[N,4,2,3] { y = Conv(x, w[4,6,1,1]) }",
    "softmax over channels": "x[N,6,2,3] -> y[N,4,2,3] { a = Conv(x, w[4,6,1,1]); y = Softmax(a, axis=1) }",
    "channels last": "x[N,6,2,3] -> y[N,2,3,4] { a = Conv(x, w[4,6,1,1]); t = Transpose(a, perm=[0,2,3,1]); y = Softmax(t) }",
}


def values(graph: Graph, *names: str, scale: float = 1.0) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    kind = graph.type_of("x")
    assert kind is not None
    assert kind.shape is not None
    x = torch.randn(5, *map(int, kind.shape[1:]), generator=random) * scale  # type: ignore[arg-type]
    return dict(Network(graph).eval()({"x": x}, names))


def log_softmax(z: np.ndarray, axis: int) -> np.ndarray:
    z = z.astype(np.float64)
    z = z - z.max(axis, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis, keepdims=True)))


@pytest.mark.parametrize(("source", "opset"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_cross_entropy_is_that_of_the_values_before_a_softmax(source: str, opset: int, scale: float) -> None:
    graph = parse(source, opset=opset)
    head = head_of(graph, "y")
    found = values(graph, head.value, scale=scale)
    labels = np.array([0, 3, 1, 2, 2])
    z = found[head.value].detach().numpy().reshape(5, 4)
    loss = cross_entropy(head)(found, torch.from_numpy(labels), None)
    assert float(loss.detach()) == pytest.approx(-log_softmax(z, 1)[np.arange(5), labels].mean(), rel=1e-5)
    loss.backward()


@pytest.mark.parametrize("source", PLACES.values(), ids=PLACES)
def test_labels_of_places(source: str) -> None:
    graph = parse(source)
    head = head_of(graph, "y")
    found = values(graph, head.value)
    z = found[head.value].detach().numpy()
    z = np.moveaxis(z, 3, 1) if z.shape[-1] == 4 else z
    labels = np.random.default_rng(0).integers(0, 4, (5, 2, 3))
    expected = -np.take_along_axis(log_softmax(z, 1), labels[:, None], 1).mean()
    assert float(cross_entropy(head)(found, torch.from_numpy(labels), None).detach()) == pytest.approx(
        expected, rel=1e-5
    )


def test_mse_takes_labels_without_the_last_axis() -> None:
    graph = parse("x[N,6] -> y[N,1] { y = Gemm(x, w[6,1]) }")
    found = values(graph, "y")
    labels = np.arange(5)
    expected = ((found["y"].detach().numpy()[:, 0] - labels) ** 2).mean()
    assert float(mse(head_of(graph, "y"))(found, torch.from_numpy(labels), None).detach()) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["softmax", "scores"])
@pytest.mark.parametrize("match", ["classes", "values", "auto"])
def test_the_distance_from_a_teacher(kind: str, match: str) -> None:
    source, opset = ENDS[kind]
    graph, teacher = parse(source, opset=opset), parse(source, opset=opset, seed=1)
    head = head_of(graph, "y")
    ours, theirs = values(graph, head.value), values(teacher, head.value)
    z, t = (np.asarray(each[head.value].detach(), np.float64) for each in (ours, theirs))
    logs, goals = log_softmax(z / 3, 1), log_softmax(t / 3, 1)
    classes = 9 * (np.exp(goals) * (goals - logs)).sum(1).mean()
    far = ((z - t) ** 2).sum() / ((t - t.mean(0)) ** 2).sum()
    expected = {"classes": classes, "values": far, "auto": classes + far * (kind == "scores")}[match]
    term = distance(head, 3.0, match)  # type: ignore[arg-type]
    assert float(term(ours, None, theirs).detach()) == pytest.approx(expected, rel=1e-4)
    assert float(term(theirs, None, theirs).detach()) == pytest.approx(0, abs=1e-6)


def test_scores_before_a_sigmoid_are_softened() -> None:
    """Each by σ(z/T); as matched logits where values are asked for."""
    source = "x[N,4] -> y[N,3] { z = Gemm(x, w[4,3]); y = Sigmoid(z) }"
    head = head_of(parse(source), "y")
    assert (head.value, head.classes) == ("z", "each")
    z, t = torch.randn(5, 3, dtype=torch.float64) * 9, torch.randn(5, 3, dtype=torch.float64) * 9
    ours, goals = torch.sigmoid(z / 3), torch.sigmoid(t / 3)
    expected = (ours - goals).square().sum() / (goals - goals.mean(0)).square().sum()
    assert float(distance(head, 3.0)({"z": z}, None, {"z": t})) == pytest.approx(float(expected))
    assert float(distance(head, 3.0, "values")({"z": t * 0 + t.mean(0)}, None, {"z": t})) == pytest.approx(1)
    competing = 9 * ((t / 3).softmax(1) * ((t / 3).log_softmax(1) - (z / 3).log_softmax(1))).sum(1).mean()
    assert float(distance(head, 3.0, "classes")({"z": z}, None, {"z": t})) == pytest.approx(float(competing))


def test_a_constant_guess_is_at_distance_one_in_any_unit() -> None:
    head = head_of(parse("x[N,3,4] -> y[N,3,4] { y = Relu(x) }"), "y")
    t = torch.randn(50, 3, 4) * 1e3 + 7e4
    mean = t.mean(0, keepdim=True).expand_as(t)
    assert float(distance(head, 1.0)({"y": mean}, None, {"y": t})) == pytest.approx(1, rel=1e-3)


INTEGERS, FLOATS = np.zeros(5, np.int64), np.zeros(5, np.float32)
TWO = "x[N,6] -> y[N,4], z[N,2] { y = Gemm(x, w[6,4]); z = Gemm(x, v[6,2]) }"
CHOSEN = {
    "integers": (ENDS["scores"][0], {}, INTEGERS, "cross-entropy"),
    "integers of one number": ("x[N,6] -> y[N,1] { y = Gemm(x, w[6,1]) }", {}, INTEGERS, "mse"),
    "floats": (ENDS["scores"][0], {}, FLOATS, "mse"),
    "no labels": (ENDS["scores"][0], {}, None, "distillation"),
    "labels that are not wanted": (ENDS["scores"][0], {"loss": "distill"}, INTEGERS, "distillation"),
    "a mix": (ENDS["softmax"][0], {"distill": 0.25}, INTEGERS, "0.75 cross-entropy + 0.25 distillation"),
    "labels of one of two": (TWO, {"labelled": "z"}, INTEGERS, "cross-entropy"),
    "two, without labels": (TWO, {}, None, "distillation"),
}


@pytest.mark.parametrize(("source", "options", "labels", "text"), CHOSEN.values(), ids=CHOSEN)
def test_the_loss_goes_by_labels(source: str, options: dict[str, str], labels: np.ndarray | None, text: str) -> None:
    assert loss_of(parse(source), Training(**options), labels, teacher=True).text == text  # type: ignore[arg-type]


def test_outputs_have_weights() -> None:
    graph, teacher = parse(TWO), parse(TWO, seed=1)
    ours, theirs = values(graph, "y", "z"), values(teacher, "y", "z")
    alone = {name: float(distance(head_of(graph, name), 4.0)(ours, None, theirs).detach()) for name in "yz"}
    for given, shares in (((), (0.5, 0.5)), (("y=3",), (0.75, 0.25)), (("*=2", "y=0"), (0, 1))):
        loss = loss_of(graph, Training(output_weights=given), None, teacher=True)
        expected = sum(share * alone[name] for share, name in zip(shares, "yz", strict=True))
        assert float(loss(ours, None, theirs).detach()) == pytest.approx(expected, rel=1e-5)


def test_numbers_that_compete_within_a_sample() -> None:
    """T²·KL over all numbers of a sample, of both outputs together, besides what is compared of each."""
    graph = parse("x[N,2,5,5] -> y[N,3,4,4], b[N,4,4,4], z[N,1,2,2] {"
                  " y = Conv(x, w[3,2,2,2]); b = Conv(x, v[4,2,2,2]); z = Conv(x, u[1,2,4,4]) }")  # fmt: skip
    shapes = {"y": (6, 3, 4, 4), "b": (6, 4, 4, 4), "z": (6, 1, 2, 2)}
    ours, theirs = ({name: torch.randn(*shape) for name, shape in shapes.items()} for _ in range(2))
    z, t = (torch.cat([each["y"].flatten(1), each["z"].flatten(1)], 1) / 2 for each in (ours, theirs))
    divergence = (t.softmax(1) * (t.log_softmax(1) - z.log_softmax(1))).sum(1).mean()
    plain, ranking = (
        float(
            loss_of(graph, Training(temperature=2.0, output_weights=("y=2",), ranked=globs), None, teacher=True)(
                ours, None, theirs
            )
        )
        for globs in ((), ("[yz]",))
    )
    assert ranking - plain == pytest.approx(3 / 4 * 4 * float(divergence), rel=1e-4)


def test_a_number_of_each_sample_competes_with_none() -> None:
    graph = parse("x[N,4] -> y[N] { y = ReduceMean(x, axes=[1], keepdims=0) }", opset=17)
    y, t = torch.randn(5), torch.randn(5)
    plain, ranking = (
        float(loss_of(graph, Training(ranked=globs), None, teacher=True)({"y": y}, None, {"y": t}))
        for globs in ((), ("y",))
    )
    assert ranking == pytest.approx(plain)


WRONG = {
    "two outputs": (TWO, {}, INTEGERS, "any of the outputs y, z; say for which by labelled=NAME"),
    "no such output": (TWO, {"labelled": "q"}, INTEGERS, "no float output is called 'q'"),
    "no such weight": (TWO, {"output_weights": ("zz=1",)}, None, "nothing is called 'zz'"),
    "nothing to rank with labels": (
        TWO,
        {"labelled": "y", "ranked": ("y",)},
        INTEGERS,
        "ranked is of the distance from a teacher",
    ),
    "nothing to rank with a loss of one's own": (
        TWO,
        {"loss": "math:sqrt", "ranked": ("y",)},
        None,
        "ranked is of the distance",
    ),
    "nothing to weigh with labels": (
        TWO,
        {"labelled": "y", "output_weights": ("z=0.5",)},
        INTEGERS,
        "output_weights is of the distance from a teacher",
    ),
    "nothing to soften with labels": (
        TWO,
        {"labelled": "y", "temperature": 2.0},
        INTEGERS,
        "temperature is of the distance from a teacher",
    ),
    "nothing of weight to rank": (
        TWO,
        {"ranked": ("y", "z"), "output_weights": ("y=0",)},
        None,
        "ranked: what 'y' names has weight 0 in output_weights",
    ),
    "nothing to rank": (TWO, {"ranked": ("scores",)}, None, "ranked: nothing is called 'scores'"),
    "no labels": (ENDS["scores"][0], {"loss": "mse"}, None, "loss=mse needs labels"),
    "no float": ("x[N,6] -> y[N] { y = ArgMax(x, axis=1, keepdims=0) }", {}, INTEGERS, "no output"),
    "no module": (ENDS["scores"][0], {"loss": "nowhere:f"}, INTEGERS, "no module 'nowhere'"),
}


@pytest.mark.parametrize(("source", "options", "labels", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_go_together(
    source: str, options: dict[str, str], labels: np.ndarray | None, message: str
) -> None:
    graph = parse(source)
    if "ArgMax" in source:
        graph.declare("y", 7, ["N"])
    with pytest.raises(PruneirError, match=message):
        loss_of(graph, Training(**options), labels, teacher=True)  # type: ignore[arg-type]


def test_without_a_teacher_nothing_is_distilled() -> None:
    with pytest.raises(PruneirError, match="give --teacher"):
        loss_of(parse(TWO), Training(), None, teacher=False)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 4, 0, 0, 0], "labels from 0 to 4, but 'y' has 4"), ([-1] * 5, "from -1"), ([[0, 1]] * 5, r"labels \[5, 2\]")],
)
def test_labels_that_are_no_classes(labels: list[int], message: str) -> None:
    graph = parse(ENDS["scores"][0])
    with pytest.raises(PruneirError, match=message):
        cross_entropy(head_of(graph, "y"))(values(graph, "y"), torch.tensor(labels), None)


def test_a_loss_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_losses.py").write_text(
        "def spread(outputs, labels, taught):\n    return (outputs['y'] - labels[:, None]).abs().mean()\n"
        "def wrong(outputs, labels, taught):\n    return 3.0\n"
        "def broken(outputs, labels, taught):\n    return outputs['nope']\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    graph = parse(ENDS["scores"][0])
    found = values(graph, "y")
    loss = loss_of(graph, Training(loss="own_losses:spread"), FLOATS, teacher=False)
    assert float(loss(found, torch.ones(5)).detach()) == pytest.approx(float((found["y"] - 1).abs().mean().detach()))
    with pytest.raises(PruneirError, match="the loss wrong gave float, not a scalar tensor"):
        loss_of(graph, Training(loss="own_losses:wrong"), FLOATS, teacher=False)(found, torch.ones(5))
    with pytest.raises(PruneirError, match="the loss broken fails: KeyError: 'nope'"):
        loss_of(graph, Training(loss="own_losses:broken"), FLOATS, teacher=False)(found, torch.ones(5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0 is less than 1"),
        ({"lr": -1.0}, "lr=-1 is not a positive number"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"temperature": 0.0}, "temperature=0 is not a positive number"),
        ({"temperature": 1e300}, r"temperature=1e\+300 is not from 0.001 to 1000"),
        ({"distill": 1.5}, "distill=1.5 is not a share"),
        ({"l1_gamma": -1.0}, "l1_gamma=-1 is not a number from 0 up"),
        ({"loss": "hinge"}, "loss 'hinge' is not one of"),
        ({"dropout": 1.0}, "less than 1"),
        ({"milestones": (2.0,)}, "milestones are shares"),
        ({"output_weights": ("y",)}, "takes NAME=WEIGHT"),
        ({"loss": "distill", "distill": 0.5}, "nothing else"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, object], message: str) -> None:
    with pytest.raises(PruneirError, match=message):
        Training(**options)  # type: ignore[arg-type]
