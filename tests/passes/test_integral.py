"""`integral`: shares of weights, winners by layer, thresholds, the scan, and training through the masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import pruneir
from pruneir.data import Data, from_arrays
from pruneir.errors import PruneirError
from pruneir.graph import Graph, check, parse
from pruneir.onnx_io import session, to_model
from pruneir.passes.integral import Integral
from pruneir.pipeline.passes import Context, Result
from pruneir.pipeline.registry import parse_pass
from pruneir.score import score
from pruneir.sparsity.rates import with_winners
from pruneir.sparsity.sites import Site, sites
from pruneir.sparsity.winners import count, winners

MODELS = Path(__file__).parents[2] / "models"
LAYERS = """
x[N,1,6,6] -> y[N,3] {
  a = Conv(x, wa[8,1,3,3], pads=[1,1,1,1])
  r = Relu(a)
  c = Conv(r, wc[6,8,3,3])
  q = Relu(c)
  f = Flatten(q)
  y = Gemm(f, wy[96,3], by[3])
}
"""


def samples(graph: Graph, number: int = 64, seed: int = 0, *, labels: bool = False) -> Data:
    random = np.random.default_rng(seed)
    given: dict[str, np.ndarray] = {"x": random.normal(size=(number, 1, 6, 6)).astype(np.float32)}
    if labels:
        given["y"] = session(graph).run(None, {"x": given["x"]})[0].argmax(axis=1)
    return from_arrays(given, graph)


def ran(what: Integral, graph: Graph | None = None, **context: Any) -> Result:
    graph = graph or parse(LAYERS)
    result: Result = what.run(graph, Context(graph, **context))
    check(result.graph)
    onnx.checker.check_model(to_model(result.graph), full_check=True)
    return result


def kept(graph: Graph) -> dict[str, int | None]:
    return {mask.source: mask.kept for mask in winners(graph)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("integral{weights=0}", "weights: '0.0' is not a share above 0, up to 1"),
        ("integral{weights=auto}", "weights: 'auto' is not a share"),
        ("integral{winners=1.5}", "winners: '1.5' is not a share above 0, up to 1, or auto"),
        ('integral{winners="fc*"}', "winners: 'fc*' is not a share"),
        ('integral{winners=["=0.5"]}', "winners: '=0.5' is not a share above 0"),
        ("integral{sample=1}", "sample=1 is not a share between 0 and 1"),
        ("integral{drop=-1}", "drop=-1 is not a number of points"),
        ("integral{samples=0}", "samples=0 is none"),
        ("integral{threshold=mean}", "exact, sampled, static"),
    ],
)
def test_options_are_checked_at_once(text: str, message: str) -> None:
    with pytest.raises(PruneirError) as caught:
        parse_pass(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (Integral(), "winners=auto scans on samples; give --val or --data"),
        (Integral(winners=(0.5,), threshold="static"), "a static threshold is measured on samples; give --data"),
        (Integral(winners=("head=0.5",)), "winners: nothing is called 'head'"),
        (Integral(weights=("head=0.5",), winners=(1.0,)), "weights: nothing is called 'head'"),
    ],
    ids=str,
)
def test_what_it_cannot_do_is_one_line(what: Integral, message: str) -> None:
    with pytest.raises(PruneirError) as caught:
        ran(what)
    assert message in str(caught.value)


def test_weights_are_the_largest_of_each_layer() -> None:
    graph = parse(LAYERS)
    result = ran(Integral(weights=(0.25, "wy=0.5"), winners=(1.0,)), graph)
    for name, share in {"wa": 0.25, "wc": 0.25, "wy": 0.5}.items():
        before, after = graph.initializers[name], result.graph.initializers[name]
        assert np.count_nonzero(after) == round(share * before.size)
        assert np.abs(after[after != 0]).min() > np.abs(before[after == 0]).max()
        np.testing.assert_array_equal(after[after != 0], before[after != 0])
    assert result.changed == {"wa", "wc", "wy"}
    assert not winners(result.graph)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0.25,), {"r": count(0.25, 288), "f": count(0.25, 96)}),
        ((0.25, "y=0.5"), {"r": count(0.25, 288), "f": 48}),
        (("r=0.125",), {"r": 36}),
        ((0.5, "wc=1"), {"f": 48}),
        ((1.0,), {}),
    ],
    ids=str,
)
def test_rates_go_by_value_layer_or_weight(given: tuple[float | str, ...], expected: dict[str, int]) -> None:
    assert kept(ran(Integral(winners=given)).graph) == expected


@pytest.mark.parametrize(
    ("restriction", "expected", "layers"),
    [
        ({"keep": ("c",)}, {"f": 48}, {"a", "y"}),
        ({"only": ("wc",)}, {"r": 144}, {"c"}),
        ({}, {"r": 144, "f": 48}, {"a", "c", "y"}),
    ],
    ids=["keep", "only", "all"],
)
def test_globs_restrict_both(restriction: dict[str, Any], expected: dict[str, int], layers: set[str]) -> None:
    result = ran(Integral(weights=(0.5,), winners=(0.5,)), **restriction)
    assert kept(result.graph) == expected
    zeros = {row.layer for row in result.layers if row.after < row.before}
    assert zeros == layers


@pytest.mark.parametrize("labels", [True, False], ids=["accuracy", "agreement"])
@pytest.mark.parametrize("drop", [0.0, 5.0, 20.0])
def test_the_scan_finds_the_smallest_rates_that_the_network_bears(drop: float, labels: bool) -> None:
    graph = parse(LAYERS)
    data = samples(graph, 200, labels=labels)
    result = ran(Integral(drop=drop), graph, data=data)
    found = kept(result.graph)
    masked: dict[Site, float] = {}

    def lost(site: Site, rate: float) -> float:
        return 100 - score(with_winners(graph, {**masked, site: rate})[0], data, graph).points

    for allowed, site in zip((drop / 2, drop), sites(graph, Context(graph)), strict=True):
        assert site.size is not None
        rate = (found[site.value] or 0) / site.size if site.value in found else 1.0
        assert lost(site, rate) <= allowed
        if rate > 0.1:  # the rates that were tried are a twentieth apart
            assert lost(site, rate - 0.05) > allowed
        masked[site] = rate
    assert any("before fine-tuning" in note for note in result.notes)


def test_validation_samples_are_what_is_scanned() -> None:
    graph = parse(LAYERS)
    blank = from_arrays({"x": np.zeros((8, 1, 6, 6), np.float32)}, graph)
    result = ran(Integral(drop=0), graph, data=samples(graph), validation=blank)
    assert kept(result.graph) == {"r": 3, "f": 1}  # of equal inputs all are decided alike


def test_the_count_is_of_the_result_and_by_layer() -> None:
    graph = parse(LAYERS)
    plain, few = (ran(Integral(weights=(w,), winners=(w,)), graph, data=samples(graph)).notes for w in (1.0, 0.2))
    assert "MACs of which neither operand is zero" in plain[-1]
    assert "weights alone 100.00 %" in plain[-1]
    assert "weights alone 20" in few[-1]
    assert any(note.startswith("c: ") and "inputs 20.1 % not zero" in note for note in few)


def test_before_opset_10_weights_alone_are_masked() -> None:
    graph = parse("opset 9; " + LAYERS)
    result = ran(Integral(weights=(0.5,), winners=(0.5,)), graph)
    assert not winners(result.graph)
    assert any("opset 9 has no TopK of this form" in note for note in result.notes)
    assert np.count_nonzero(result.graph.initializers["wc"]) == 216


@pytest.mark.parametrize("threshold", ["exact", "sampled", "static"])
def test_training_goes_through_the_winners_and_keeps_the_masks(threshold: Any) -> None:
    torch = pytest.importorskip("torch")
    from pruneir.training.network import Network
    from pruneir.training.options import Training
    from support.training import arrays

    data = arrays(192)
    start = parse(LAYERS)
    what = Integral(weights=(0.5,), winners=(0.3,), threshold=threshold)
    graph = pruneir.optimize(start, [what], data=data).graph
    network = Network(graph).train()
    x = torch.from_numpy(data["x"][:4])
    value = network({"x": x}, ["r"])["r"].detach().requires_grad_()
    (mask,) = [mask for mask in winners(graph) if mask.source == "r"]
    there = network({"x": x}, [mask.output])[mask.output].detach() != 0
    assert 0 < int(there.sum()) < value.numel()

    tuned = pruneir.train(graph, Training(epochs=4, lr=0.05, batch=16, threads=1), data=data)
    assert tuned.fitted.after.points > tuned.fitted.before.points
    assert kept(tuned.graph) == kept(graph)
    for name in ("wa", "wc", "wy"):
        before, after = graph.initializers[name], tuned.graph.initializers[name]
        assert (after[before == 0] == 0).all()
        assert (after != before).any()


def test_the_gradient_of_a_winner_is_one_and_of_a_loser_zero() -> None:
    torch = pytest.importorskip("torch")
    from pruneir.training.network import Network

    graph = parse("x[N,8] -> y[N,8] { h = MatMul(x, w1[8,8]); y = MatMul(h, w2[8,8]) }")
    graph.set_initializer("w2", np.eye(8, dtype=np.float32))
    (site,) = sites(graph, Context(graph))
    network = Network(with_winners(graph, {site: 0.375})[0])
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    made = network({"x": x})["y"]
    slope = torch.autograd.grad(made.sum(), network.weights["w1"])[0]
    assert ((made != 0).sum(1) == 3).all()
    assert torch.allclose(slope, x.T @ (made != 0).float(), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", ["exact", "sampled"])
@pytest.mark.parametrize(
    ("file", "shape", "masks"),
    [
        ("wdcnn/wdcnn_s0.onnx", None, 5),
        ("ppocr_mobile_v2_cls.onnx", ("N", 3, 48, 192), 53),
        ("mnist_mobilenet_se/mnist_mobilenet_se_s0.onnx", None, None),
    ],
)
def test_networks_without_training_stay_valid(
    file: str, shape: tuple[int | str, ...] | None, masks: int | None, threshold: str
) -> None:
    shapes = {"x": shape} if shape else None
    spec = f"integral{{weights=0.9,winners=0.7,threshold={threshold}}}"
    done = pruneir.optimize(MODELS / file, [spec], input_shapes=shapes)
    assert done.ok
    assert done.outcome.drift is not None
    assert 0 < done.outcome.drift.worst < 2
    found = winners(done.graph)
    assert masks is None or len(found) == masks
    assert found
    onnx.checker.check_model(to_model(done.graph), full_check=True)
