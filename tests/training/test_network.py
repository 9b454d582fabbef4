"""A network in torch: equal to ONNX Runtime, trained like a torch module, and written back under its own names."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pruneir import onnx_io
from pruneir.errors import PruneirError
from pruneir.graph import Graph, check, parse, text
from pruneir.onnx_io import load, to_model
from pruneir.verify import random_feeds

pytest.importorskip("torch")
import torch

from pruneir.training.network import Network
from pruneir.training.ops import Call, op
from pruneir.training.parameters import untied

MODELS = Path(__file__).parents[2] / "models"
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def tensors(feeds: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array) for name, array in feeds.items()}


def assert_close(got: torch.Tensor, want: np.ndarray, name: str) -> None:
    assert tuple(got.shape) == want.shape
    scale = float(np.abs(want.astype(np.float64)).max(initial=0))
    assert np.abs(got.detach().numpy().astype(np.float64) - want).max(initial=0) <= 1e-5 * scale + 1e-6, name


@pytest.mark.parametrize("path", sorted(MODELS.rglob("*.onnx")), ids=lambda path: path.stem)
def test_equals_onnx_runtime_on_trained_networks(path: Path) -> None:
    assert_equals_onnx_runtime(load(path))


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(LIGHT.glob("light_*.onnx")), ids=lambda path: path.stem)
def test_equals_onnx_runtime_on_architectures(path: Path) -> None:
    """As they are, and with random weights in every value: those in the files are all alike, and saturate."""
    graph = load(path)
    assert_equals_onnx_runtime(graph)
    assert_equals_onnx_runtime(with_random_weights(graph), every_value=True, batches=(2,))


def assert_equals_onnx_runtime(graph: Graph, *, every_value: bool = False, batches: Sequence[int] = (1, 2)) -> None:
    network = Network(graph).eval()
    inner = [op.outputs[0] for op in graph.operators if not op.is_a("Constant")] if every_value else []
    names = list(dict.fromkeys([*inner, *graph.outputs]))
    for batch in batches:
        feeds = random_feeds(graph, batch=batch, seed=batch)
        wanted = next(onnx_io.evaluate(graph, names, [feeds]))
        with torch.no_grad():
            made = network(tensors(feeds), names)
        for name in names:
            assert np.abs(wanted[name]).max() > 0
            assert_close(made[name], wanted[name], name)


def with_random_weights(graph: Graph) -> Graph:
    """The tensors that ConstantOfShape fills, random: matrices that keep activations near one, positive vectors."""
    random, result = np.random.default_rng(0), graph.copy()
    for operator in graph.operators:
        shape = graph.initializers.get(operator.inputs[0]) if operator.is_a("ConstantOfShape") else None
        if shape is not None:
            result.remove(operator)
            size = tuple(shape.tolist())
            values = random.standard_normal(size, np.float32) * np.float32(np.prod(size[1:]) ** -0.5)
            result.set_initializer(operator.outputs[0], values if len(size) > 1 else np.abs(values) + np.float32(0.5))
    return result


RESIDUAL = (
    "x[N,3,6,6] -> y { a = Conv(x, w1[4,3,3,3], b1[4], pads=[1,1,1,1]); n = BatchNormalization(a, g[4], b[4], m[4], v[4])"
    "; r = Relu(n); c = Conv(r, w2[4,4,1,1]); s = Add(c, r); p = GlobalAveragePool(s); f = Flatten(p)"
    "; y = Gemm(f, w3[5,4], b3[5], transB=1) }"
)

ROLES = {
    "a network": (RESIDUAL, "w1 b1 g b w2 w3 b3", "m v"),
    "bounds and scales": (
        'x[N,3,4,4] -> y { a = Conv(x, w[3,3,1,1]); c = Clip(a, lo[]{0.0}, hi[]{6.0}); y = Resize(c, _, s[4]{1.0,1.0,2.0,2.0}, mode="linear") }',
        "w",
        "",
    ),
    "zeros an exporter added": ("x[N,3,4,4] -> y { y = Conv(x, w[2,3,1,1], z[2]{0.0,0.0}) }", "w", ""),
    "the inside of a group norm": (
        "x[N,4,3,3] -> y { c = Conv(x, w[4,4,1,1]); r = Reshape(c, {0,2,-1}); n = InstanceNormalization(r, s[2]{1.0,1.0}, z[2]{0.0,0.0})"
        "; o = Reshape(n, {0,4,3,3}); m = Mul(o, g[4,1,1]); y = Add(m, b[4,1,1]) }",
        "w g b",
        "",
    ),
    "states that start at zero": (
        "x[4,1,3] -> y { h = Slice(z[2,1,2]{0.0,0.0,0.0,0.0}, {0}, {1}, {0}); y = RNN(x, w[1,2,3], r[1,2,2], b[1,4], _, h, hidden_size=2) }",
        "w r b",
        "",
    ),
    "class token": (
        "x[1,2,3] -> y { a = MatMul(x, w[3,4]); c = Concat(token[1,1,4], a, axis=1); y = Softmax(c) }",
        "w token",
        "",
    ),
    "weights put together": (
        'x[4,N,3] -> y { w = Concat(w1[1,8,3], w2[1,8,3], axis=0); y = LSTM(x, w, r[2,8,2], direction="bidirectional", hidden_size=2) }',
        "w1 w2 r",
        "",
    ),
    "scales put together": (
        'x[N,3,4,4] -> y { a = Conv(x, w[3,3,1,1]); s = Concat(one[2]{1.0,1.0}, two[2]{2.0,2.0}, axis=0); y = Resize(a, _, s, mode="linear") }',
        "w",
        "",
    ),
    "channels swapped, then normalised": (
        "x[N,3] -> y { g = Gather(x, {2,1,0}, axis=1); d = Mul(g, s[3]); y = MatMul(d, w[3,2]) }",
        "w",
        "",
    ),
    "zero shift of a norm": (
        "x[N,2] -> y { y = BatchNormalization(x, g[2], b[2]{0.0,0.0}, m[2], v[2]) }",
        "g b",
        "m v",
    ),
    "data normalised first": (
        "x[N,3,4,4] -> y { a = Sub(x, mean[3,1,1]); d = Div(a, std[3,1,1]); y = Conv(d, w[2,3,1,1]) }",
        "w",
        "",
    ),
    "scale of a channel": ("x[N,3,4,4] -> y { a = Conv(x, w[2,3,1,1]); y = Mul(a, s[2,1,1]) }", "w s", ""),
    "one number": ("x[N,3] -> y { a = MatMul(x, w[3,3]); y = Mul(a, s[]{0.5}) }", "w", ""),
    "mask": ("x[N,2] -> y { a = MatMul(x, w[2,2]); m = Add(a, mask[2]{0.0,-1e9}); y = Softmax(m) }", "w", ""),
    "embedding": ("i[N,3]:i64 -> y { e = Gather(table[5,4], i); y = Add(e, position[3,4]) }", "table position", ""),
    "transposed weight": ("x[N,3] -> y { t = Transpose(w[4,3]); y = MatMul(x, t) }", "w", ""),
    "weight in a Constant": ("x[N,3] -> y { w = Constant(value=tensor[3,4]); y = MatMul(x, w) }", "w", ""),
    "scale and variance at once": ("x[N,2] -> y { y = BatchNormalization(x, v, b[2], m[2], v[2]) }", "b", "m v"),
    "weights of a recurrent layer": (
        "x[4,N,3] -> y { y = LSTM(x, w[1,8,3], r[1,8,2], b[1,16], hidden_size=2) }",
        "w r b",
        "",
    ),
}


@pytest.mark.parametrize(("source", "weights", "statistics"), ROLES.values(), ids=ROLES)
def test_what_is_trained_is_what_operators_read_as_weights(source: str, weights: str, statistics: str) -> None:
    network = Network(parse(source))
    assert set(network.weights) == set(weights.split())
    assert set(network.statistics) == set(statistics.split())


def test_scales_are_those_of_batch_norms() -> None:
    network = Network(parse(RESIDUAL))
    assert list(network.scales) == ["g"]
    assert network.scales["g"] is network.weights["g"]


def module() -> torch.nn.Module:
    """The residual network as one writes it in torch."""

    class Residual(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = torch.nn.Conv2d(3, 4, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(4, momentum=0.1)
            self.conv2 = torch.nn.Conv2d(4, 4, 1, bias=False)
            self.head = torch.nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            r = torch.relu(self.norm(self.conv1(x)))
            return self.head((self.conv2(r) + r).mean((2, 3)))

    return Residual()


NAMES = {
    "w1": "conv1.weight", "b1": "conv1.bias", "g": "norm.weight", "b": "norm.bias", "w2": "conv2.weight",
    "w3": "head.weight", "b3": "head.bias", "m": "norm.running_mean", "v": "norm.running_var",
}  # fmt: skip


def test_trains_as_the_same_torch_module_does() -> None:
    """Ten steps of SGD in training mode: the same losses, weights and running statistics."""
    graph = parse(RESIDUAL)
    network, twin = Network(graph), module()
    twin.load_state_dict({NAMES[n]: torch.tensor(graph.initializers[n]) for n in NAMES}, strict=False)
    random = torch.Generator().manual_seed(0)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (network.train(), twin.train())]
    for _ in range(10):
        x, label = torch.randn(8, 3, 6, 6, generator=random), torch.randint(0, 5, (8,), generator=random)
        losses = [torch.nn.functional.cross_entropy(y, label) for y in (network({"x": x})["y"], twin(x))]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    state = twin.state_dict()
    for name, tensor in {**network.weights, **network.statistics}.items():
        assert torch.allclose(tensor, state[NAMES[name]], rtol=1e-4, atol=1e-6), name
        moved = not torch.equal(tensor.detach(), torch.tensor(graph.initializers[name]))
        assert moved or name == "b1", "all but the bias that the batch's mean takes away again"


def test_momentum_is_the_share_that_is_kept() -> None:
    graph = parse("x[N,1] -> y { y = BatchNormalization(x, g[1], b[1], m[1]{1.0}, v[1]{1.0}, momentum=0.75) }")
    network = Network(graph).train()
    network({"x": torch.tensor([[2.0], [4.0]])})
    assert network.statistics["m"].item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert network.statistics["v"].item() == pytest.approx(0.75 * 1 + 0.25 * 2)  # unbiased: ((−1)² + 1²) / (2 − 1)


SHARED_STATISTICS = {
    "by two norms": (
        "x[N,2,3,3] -> y { a = BatchNormalization(x, g[2], b[2], m[2], v[2]); c = Conv(a, w[2,2,1,1])"
        "; y = BatchNormalization(c, g, b, m, v) }"
    ),
    "by a scale": "x[N,2,3,3] -> y { a = Conv(x, w[2,2,1,1]); y = BatchNormalization(a, v[2], b[2], m[2], v) }",
}


@pytest.mark.parametrize("source", SHARED_STATISTICS.values(), ids=SHARED_STATISTICS)
def test_statistics_that_are_read_twice_do_not_disturb_the_gradient(source: str) -> None:
    network = Network(parse(source)).train()
    network({"x": torch.randn(4, 2, 3, 3)})["y"].square().sum().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in network.weights.values())


def test_the_mode_of_the_run_decides_whatever_the_node_says() -> None:
    graph = parse("x[N,2] -> y { y = BatchNormalization(x, g[2], b[2], m[2], v[2], training_mode=1) }")
    network, x = Network(graph).eval(), torch.randn(4, 2)
    by_running = network({"x": x})["y"]
    assert torch.equal(network.statistics["m"], torch.tensor(graph.initializers["m"]))
    assert not torch.allclose(by_running, network.train()({"x": x})["y"])


def test_dropout_drops_in_training_and_keeps_the_mean() -> None:
    network = Network(parse("x[N,10000] -> y { y = Dropout(x, 0.25, f[]{0}:bool) }"))
    torch.manual_seed(0)
    y = network.train()({"x": torch.ones(1, 10000)})["y"]
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert y.max().item() == pytest.approx(1 / 0.75)
    assert torch.equal(network.eval()({"x": torch.ones(1, 10000)})["y"], torch.ones(1, 10000))


@pytest.mark.parametrize("path", [MODELS / "mnist_resnet/mnist_resnet_s0.onnx", MODELS / "ppocr_mobile_v2_cls.onnx"])
def test_untrained_the_file_is_written_back_bit_by_bit(path: Path) -> None:
    graph = load(path)
    assert to_model(Network(graph).written()).SerializeToString() == to_model(graph).SerializeToString()


def changed_by(graph: Graph) -> Graph:
    """The graph written back after every parameter grew by an eighth."""
    network = Network(graph)
    with torch.no_grad():
        for tensor in network.weights.values():
            tensor.add_(0.125)
    return network.written()


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "f64"])
def test_trained_values_come_back_in_their_type_and_order(dtype: str) -> None:
    graph = parse(f"x[N,3]:{dtype} -> y:{dtype} {{ a = MatMul(x, w[3,4]:{dtype}); y = Add(a, b[4]:{dtype}) }}")
    before = {name: array.copy() for name, array in graph.initializers.items()}
    written = changed_by(graph)
    assert text(written) == text(graph)
    assert list(written.initializers) == list(graph.initializers)
    for name, array in written.initializers.items():
        assert array.dtype == before[name].dtype
        assert np.array_equal(array, (before[name].astype(np.float64) + 0.125).astype(array.dtype))
        assert np.array_equal(graph.initializers[name], before[name])


def test_constants_are_written_back_into_their_operators() -> None:
    graph = parse(
        "x[N,2] -> y { w = Constant(value=tensor[2,2]{1.0,2.0,3.0,4.0}); a = MatMul(x, w)"
        "; b = Constant(value_floats=[1.0,2.0]); y = Add(a, b) }"
    )
    written = changed_by(graph)
    check(written)
    assert [op.type for op in written.operators] == [op.type for op in graph.operators]
    assert written.constant("w").tolist() == [[1.125, 2.125], [3.125, 4.125]]  # type: ignore[union-attr]
    assert written.constant("b").tolist() == [1.125, 2.125]  # type: ignore[union-attr]
    assert "value_floats" in written.producer("b").attributes  # type: ignore[union-attr]
    assert graph.constant("b").tolist() == [1.0, 2.0]  # type: ignore[union-attr]


SHARED = (
    "x[N,3,4,4] -> y { a = Conv(x, w1[2,3,1,1]); one2 = Identity(one[2]); n = BatchNormalization(a, one, b[2], m[2], v[2])"
    "; y = BatchNormalization(n, one2, b, m, v) }"
)


def test_what_is_shared_through_identity_gets_a_tensor_each() -> None:
    graph = untied(parse(SHARED))
    check(graph)
    assert list(Network(parse(SHARED)).scales) == ["one"]
    assert set(Network(graph).scales) == {"one", "one2"}
    assert np.array_equal(graph.initializers["one"], graph.initializers["one2"])
    assert "b" in Network(graph).weights  # shared by name: stays one tensor


def test_a_shared_matrix_gets_the_gradient_of_all_its_uses() -> None:
    network = Network(parse("x[N,3] -> y { a = MatMul(x, w[3,3]); y = MatMul(a, w) }"))
    x, w = torch.randn(2, 3), network.weights["w"]
    network({"x": x})["y"].sum().backward()
    twin = w.detach().clone().requires_grad_()
    (x @ twin @ twin).sum().backward()
    assert torch.allclose(w.grad, twin.grad)


def branches(then: str, otherwise: str, operator: str = "If") -> Graph:
    """If over two operators on the captured `a`, at run time."""
    info = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    bodies = {
        key: helper.make_graph([helper.make_node(kind, ["a"], ["z"])], key, [], info)
        for key, kind in (("then_branch", then), ("else_branch", otherwise))
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("ReduceSum", ["a"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node(operator, ["c"], ["y"], name="choice", **bodies),
    ]
    weights = {"w": np.eye(3, dtype=np.float32), "zero": np.zeros((), np.float32)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_branch_is_chosen_at_run_time_and_differentiated(sign: int) -> None:
    graph = branches("Exp", "Neg")
    network = Network(graph)
    x = torch.full((2, 3), float(sign))
    y = network({"x": x})["y"]
    y.sum().backward()
    wanted = next(onnx_io.evaluate(graph, ["y"], [{"x": x.numpy()}]))["y"]
    assert_close(y.detach(), wanted, "y")
    assert network.weights["w"].grad.abs().min() > 0


def test_a_loop_is_differentiated_through_its_steps() -> None:
    """a ← a·w three times: dy/dx = w³."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("MatMul", ["h", "w"], ["h2"]), helper.make_node("Identity", ["go"], ["going"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("h", TensorProto.FLOAT, None)],
        [info("going", TensorProto.BOOL, []), info("h2", TensorProto.FLOAT, None)],
    )
    w = np.array([[2, 0], [1, 1]], np.float32)
    model = helper.make_graph(
        [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)],
        "g",
        [info("x", TensorProto.FLOAT, [1, 2])],
        [info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.array(3), "n"), onnx.numpy_helper.from_array(w, "w")],
    )
    graph = load(helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    y = Network(graph)({"x": x})["y"]
    y[0, 0].backward()
    assert np.allclose(y.detach(), x.detach() @ torch.tensor(np.linalg.matrix_power(w, 3)))
    assert x.grad is not None
    assert np.allclose(x.grad[0], np.linalg.matrix_power(w, 3)[:, 0])


REFUSED = {
    "an unknown operator": (
        'x[N,3] -> y { a = com.acme::Magic(x) @"head/magic"; y = Relu(a) }',
        "Magic (node 'head/magic')",
    ),
    "integer arithmetic": ("x[N,3]:u8, w[3,2]:u8 -> y:i32 { y = MatMulInteger(x, w) }", "MatMulInteger (node 'y')"),
}


@pytest.mark.parametrize(("source", "where"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_run_is_refused_before_any_run(source: str, where: str) -> None:
    with pytest.raises(PruneirError) as error:
        Network(parse(source))
    assert f"cannot differentiate {where}" in str(error.value)
    assert "end the exported graph before it" in str(error.value)
    assert "\n" not in str(error.value)


def test_refused_only_where_something_depends_on_it() -> None:
    network = Network(parse("x[N,3] -> y { unused = com.acme::Magic(x); y = Relu(x) }"))
    assert network({"x": torch.tensor([[-1.0, 0.0, 2.0]])})["y"].tolist() == [[0, 0, 2]]
    with pytest.raises(PruneirError, match="cannot differentiate Magic"):
        network({"x": torch.zeros(1, 3)}, ["unused"])


BAD_RUNS = {
    "a missing input": ({}, None, "'x' is not fed"),
    "a wrong shape": ({"x": (2, 4)}, None, "MatMul (node 'a') cannot run"),
    "an unknown value": ({"x": (2, 3)}, ["nothing"], "no value 'nothing'"),
}


@pytest.mark.parametrize(("shapes", "names", "message"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_a_bad_run_says_what_is_wrong(
    shapes: dict[str, tuple[int, ...]], names: list[str] | None, message: str
) -> None:
    network = Network(parse("x[N,3] -> y { a = MatMul(x, w[3,4]); y = Relu(a) }"))
    with pytest.raises(PruneirError) as error:
        network({name: torch.zeros(shape) for name, shape in shapes.items()}, names)
    assert message in str(error.value)


def test_state_goes_into_a_file_and_into_a_copy(tmp_path: Path) -> None:
    graph = parse(RESIDUAL)
    network = Network(graph).train()
    twin = copy.deepcopy(network)
    network({"x": torch.randn(4, 3, 6, 6)})["y"].sum().backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    assert not torch.equal(network.weights["w1"], twin.weights["w1"])
    assert not torch.equal(network.statistics["m"], twin.statistics["m"])
    torch.save(network.state_dict(), tmp_path / "state.pt")
    twin.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(network.eval()({"x": x})["y"], twin.eval()({"x": x})["y"])


def test_values_are_freed_after_their_last_use() -> None:
    """A chain in evaluation holds two activations at a time and not all of them."""
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watched(call: Call, x: torch.Tensor) -> torch.Tensor:
        nonlocal most
        y = x + 1
        alive.append(weakref.ref(y))
        most = max(most, sum(ref() is not None for ref in alive))
        return y

    op("Watched", domain="test")(watched)
    chain = "; ".join(f"a{i + 1} = test::Watched(a{i})" for i in range(20))
    network = Network(parse(f"a0[N,3] -> y {{ {chain}; y = Relu(a20) }}"))
    assert network({"a0": torch.zeros(1, 3)})["y"].tolist() == [[20, 20, 20]]
    assert most <= 2
