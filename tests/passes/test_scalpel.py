"""`scalpel`: groups, nodes, or both, as the target's parallelism has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.api import optimize_by
from pruneir.coupling import couple
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.passes.scalpel import Scalpel
from pruneir.pipeline import parse_recipe
from pruneir.sparsity import weights
from pruneir.sparsity.groups import Layout
from pruneir.sparsity.nodes import WeightCounter
from pruneir.surgery import apply
from pruneir.targets import TARGETS
from support.training import arrays, network

MODELS = Path(__file__).parents[2] / "models"
NETWORK = """
x[N,1,10,10] -> y {
  a = Conv(x, wa[24,1,3,3], ba[24]); r = Relu(a)
  c = Conv(r, wc[32,24,3,3]); n = BatchNormalization(c, g[32], b[32], m[32], v[32]); q = Relu(n)
  p = MaxPool(q, kernel_shape=[2,2], strides=[2,2]); f = Flatten(p)
  h = Gemm(f, wh[288,40], bh[40]); s = Relu(h)
  y = Gemm(s, wy[40,10], by[10])
}
"""


def shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {weight.name: weight.array.shape for weight in weights(graph)}


def empty_groups(graph: Graph, name: str, width: int) -> float:
    """The share of a weight's groups that are zero; every group is zero or whole."""
    (weight,) = (each for each in weights(graph) if each.name == name)
    found = Layout(weight, width)
    assert ((found.nonzero == 0) | (found.nonzero == np.broadcast_to(found.sizes, found.nonzero.shape))).all()
    return float((found.nonzero == 0).mean())


@pytest.mark.parametrize("target", [name for name, each in TARGETS.items() if each.parallelism == "low"])
def test_low_parallelism_gets_groups_everywhere(target: str) -> None:
    made = pruneir.optimize(parse(NETWORK), ["scalpel{sparsity=0.6}"], target=target)
    assert made.ok
    assert shapes(made.graph) == shapes(parse(NETWORK))
    width = TARGETS[target].simd_width if TARGETS[target].simd_width > 1 else 8
    empty = {name: empty_groups(made.graph, name, width) for name in ("wa", "wc", "wh", "wy")}
    assert min(empty["wc"], empty["wh"]) > 0.3
    left = sum(weight.nonzero for weight in weights(made.graph))
    total = sum(weight.array.size for weight in weights(made.graph))
    assert 0.4 * total - width < left <= 0.4 * total


def test_high_parallelism_gets_fewer_nodes() -> None:
    made = pruneir.optimize(parse(NETWORK), ["scalpel{sparsity=0.6}"], target="cuda")
    assert made.ok
    found = shapes(made.graph)
    assert all(found[name][axis] % 8 == 0 for name, axis in (("wa", 0), ("wc", 0), ("wh", 1)))
    assert sum(np.prod(shape) for shape in found.values()) <= 0.4 * sum(map(np.prod, shapes(parse(NETWORK)).values()))
    assert all(weight.nonzero == weight.array.size for weight in weights(made.graph))


def test_moderate_parallelism_gets_nodes_of_convolutions_and_groups_of_matrices() -> None:
    made = pruneir.optimize(parse(NETWORK), ["scalpel{sparsity=0.6}"], target="x86")
    assert made.ok
    now = {weight.name: weight for weight in weights(made.graph)}
    assert all(now[name].nonzero == now[name].array.size for name in ("wa", "wc"))
    assert now["wa"].array.size + now["wc"].array.size <= 0.4 * (24 * 9 + 32 * 24 * 9)
    assert now["wh"].array.shape[1] == 40
    assert empty_groups(made.graph, "wh", 8) > 0
    assert now["wh"].nonzero + now["wy"].nonzero <= 0.4 * (288 * 40 + 400)
    assert made.plan.kept["wc"][0][0] == 32
    assert {"wh", "wy"} <= made.plan.changed


def test_the_level_and_the_width_can_be_chosen() -> None:
    made = pruneir.optimize(parse(NETWORK), ["scalpel{sparsity=0.5,level=low,width=4,importance=std}"], target="cuda")
    assert shapes(made.graph) == shapes(parse(NETWORK))
    assert empty_groups(made.graph, "wc", 4) > 0


def test_a_share_of_what_is_left() -> None:
    made = pruneir.optimize(parse(NETWORK), ["scalpel{of=left}", "scalpel{of=left}"])
    every = weights(made.graph)
    assert sum(w.nonzero for w in every) / sum(w.array.size for w in every) == pytest.approx(0.25, abs=0.002)
    nodes = pruneir.optimize(
        parse(NETWORK), ["scalpel{sparsity=0.4,of=left}", "scalpel{sparsity=0.5}"], target="cuda-sm90"
    )
    assert sum(w.array.size for w in weights(nodes.graph)) <= 0.5 * sum(w.array.size for w in every)


def test_globs_keep_weights_and_nodes() -> None:
    kept = pruneir.optimize(parse(NETWORK), ["scalpel{sparsity=0.6}"], target="cortex-m4", keep=["wc"])
    assert empty_groups(kept.graph, "wc", 8) == 0
    assert next(row for row in kept.outcome.records[-1].result.layers if row.name == "wc").note == "kept by --keep"
    nodes = pruneir.optimize(parse(NETWORK), ["scalpel{sparsity=0.6}"], target="cuda", keep=["wc"])
    assert shapes(nodes.graph)["wc"][0] == 32


@pytest.mark.parametrize("target", ["cortex-m4", "x86", "cuda"])
def test_the_recipe_that_is_written_gives_the_same_network(target: str) -> None:
    made = pruneir.optimize(parse(NETWORK), ["scalpel{sparsity=0.4}", "scalpel{sparsity=0.3,of=left}"], target=target)
    again = optimize_by(parse_recipe(made.recipe.to_toml()), parse(NETWORK))
    assert again.model.SerializeToString(deterministic=True) == made.model.SerializeToString(deterministic=True)


def test_what_a_cut_leaves_of_the_weights_is_counted() -> None:
    coupling = couple(parse(NETWORK))
    counter = WeightCounter(coupling, weights(coupling.graph))
    removed = {group: np.arange(0, len(group), 3) for group in coupling.groups}
    cut = apply(coupling, coupling.dead(removed.items())).graph
    assert counter.left(removed) == sum(map(np.prod, shapes(cut).values()))
    assert counter.left({}) == counter.total


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sparsity": 1.2}, "sparsity=1.2 is not a share"),
        ({"width": 0}, "width is at least 1"),
        ({"penalty": 0.0}, "penalty=0 is not a positive number"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, float], says: str) -> None:
    with pytest.raises(PruneirError, match=says):
        Scalpel(**options)  # type: ignore[arg-type]


NETWORKS = ["ppocr_mobile_v2_cls", "mnist_conv_cntk", "mnist_mobilenet_se/mnist_mobilenet_se_s0"]


@pytest.mark.parametrize("target", ["cortex-m4", "x86", "cuda"])
@pytest.mark.parametrize("name", NETWORKS)
def test_trained_networks_stay_valid_without_data(name: str, target: str) -> None:
    made = pruneir.optimize(MODELS / f"{name}.onnx", ["scalpel{sparsity=0.3}"], target=target)
    assert made.ok
    assert made.outcome.drift is not None
    assert made.plan.changed or made.plan.kept


# With training


def test_gates_learn_from_the_network_itself_where_there_are_no_labels() -> None:
    pytest.importorskip("torch")
    made = pruneir.optimize(
        network(), ["scalpel{sparsity=0.3,epochs=2,penalty=0.5}"], data=arrays(labels=False), target="cuda"
    )
    assert made.ok
    assert made.outcome.records[-1].result.notes


def test_where_too_few_gates_close_the_lowest_go() -> None:
    pytest.importorskip("torch")
    passes = ["scalpel{sparsity=0.4,epochs=1,penalty=1e-6,lr=1e-6,level=high}"]
    made = pruneir.optimize(network(), passes, data=arrays())
    assert made.ok
    assert any("closed too few gates" in note for note in made.outcome.records[-1].result.notes)
    assert sum(map(np.prod, shapes(made.graph).values())) <= 0.6 * sum(map(np.prod, shapes(network()).values()))


def test_training_that_fails_is_one_line() -> None:
    pytest.importorskip("torch")
    with pytest.raises(PruneirError, match="training with gates stopped: the loss is .* lower lr"):
        pruneir.optimize(network(), ["scalpel{epochs=2,lr=1e30}"], data=arrays(), target="cuda")


def test_gates_need_data() -> None:
    pytest.importorskip("torch")
    with pytest.raises(PruneirError, match="give --data"):
        pruneir.optimize(parse(NETWORK), ["scalpel{epochs=1}"], target="cuda")


@pytest.mark.parametrize("target", ["cuda", "x86"])
def test_gates_find_the_nodes_that_do_nothing(target: str) -> None:
    pytest.importorskip("torch")
    source = """
    x[N,1,6,6] -> y[N,3] {
      a = Conv(x, wa[8,1,3,3], ba[8]); r = Relu(a); c = Conv(r, wc[16,8,3,3], bc[16]); q = Relu(c)
      f = Flatten(q); y = Gemm(f, wy[64,3], by[3])
    }"""
    train = {"epochs": 8, "lr": 0.05, "batch": 16, "threads": 1}
    options = ",".join(f"{key}={value}" for key, value in train.items())
    graph = parse(source)
    graph.set_initializer("wc", np.where(np.arange(16)[:, None, None, None] % 2, graph.initializers["wc"], 1e-3))
    base = pruneir.optimize(graph, [f"train{{{options}}}"], data=arrays(256)).graph
    passes = ["scalpel{sparsity=0.5,level=high,epochs=10,lr=0.05,penalty=0.05}", f"train{{{options}}}"]
    if target == "x86":
        passes[0] = passes[0].replace("high", "moderate")
    made = pruneir.optimize(base, passes, data=arrays(256))
    assert made.ok
    record = made.outcome.records[-2]
    assert not any("too few gates" in note for note in record.result.notes)
    assert not any(name.startswith("gates/") for name in (*made.graph.values, *made.graph.initializers))
    kept = record.result.cuts["wc"][0]
    assert (kept % 2).mean() > 0.5
    assert made.outcome.drift is not None
    scored = pruneir.optimize(made.graph, [], data=arrays(256, 1)).accuracy
    assert scored is not None
    assert scored.after >= 0.9
