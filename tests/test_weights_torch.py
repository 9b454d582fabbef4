"""A pruned network's weights in torch: built with the new widths it loads them, equals the file, and goes on training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import pruneir
from pruneir.graph import Graph, parse
from pruneir.onnx_io import to_model

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - skipped without

EXAMPLE = Path(__file__).parents[1] / "docs/examples/replay_torch.py"
BN = "'{0}.weight'[{1}], '{0}.bias'[{1}], '{0}.running_mean'[{1}], '{0}.running_var'[{1}]"
WIDTHS = {"stem": 16, "inner": 24, "hidden": 12}


class Net(nn.Module):  # type: ignore[misc]
    """A stem, a residual block with a depthwise convolution, two linear layers."""

    def __init__(self, stem: int, inner: int, hidden: int) -> None:
        super().__init__()
        self.stem, self.bn1 = nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem)
        self.inner = nn.Conv2d(stem, inner, 1)
        self.depthwise, self.bn2 = nn.Conv2d(inner, inner, 3, padding=1, groups=inner), nn.BatchNorm2d(inner)
        self.outer, self.bn3 = nn.Conv2d(inner, stem, 1, bias=False), nn.BatchNorm2d(stem)
        self.hidden, self.head = nn.Linear(stem, hidden), nn.Linear(hidden, 5)

    def forward(self, x: Any) -> Any:
        x = self.bn1(self.stem(x)).relu()
        inside = self.bn2(self.depthwise(self.inner(x).relu())).relu()
        x = (x + self.bn3(self.outer(inside))).relu().mean((2, 3))
        return self.head(self.hidden(x).relu())


# As exporters write it: named as in torch, the first linear layer as MatMul of the transposed weight.
TEXT = f"""x[N,3,8,8] -> y {{
    a1 = Conv(x, 'stem.weight'[16,3,3,3], pads=[1,1,1,1]); b1 = BatchNormalization(a1, {BN.format("bn1", 16)}); r1 = Relu(b1)
    a2 = Conv(r1, 'inner.weight'[24,16,1,1], 'inner.bias'[24]); r2 = Relu(a2)
    a3 = Conv(r2, 'depthwise.weight'[24,1,3,3], 'depthwise.bias'[24], pads=[1,1,1,1], group=24)
    b3 = BatchNormalization(a3, {BN.format("bn2", 24)}); r3 = Relu(b3)
    a4 = Conv(r3, 'outer.weight'[16,24,1,1]); b4 = BatchNormalization(a4, {BN.format("bn3", 16)})
    s = Add(r1, b4); r4 = Relu(s); p = GlobalAveragePool(r4); f = Flatten(p)
    h = MatMul(f, 'onnx::MatMul_31'[16,12]); g = Add(h, 'hidden.bias'[12]); r5 = Relu(g)
    y = Gemm(r5, 'head.weight'[5,12], 'head.bias'[5], transB=1) }}"""
NAMES = {"hidden.weight": "onnx::MatMul_31"}


def widths(weights: dict[str, Any]) -> dict[str, int]:
    return {name: len(weights[f"{name}.weight"]) for name in WIDTHS}


@pytest.fixture
def net() -> Any:
    torch.manual_seed(0)
    net = Net(**WIDTHS).eval()
    for bn in (net.bn1, net.bn2, net.bn3):
        for vector in (bn.weight.data, bn.bias.data, bn.running_mean, bn.running_var):
            vector.uniform_(0.1, 1.0)
    return net


def exported(net: Any) -> Graph:
    graph = parse(TEXT)
    for name, parameter in net.state_dict().items():
        if name in graph.initializers:
            assert graph.initializers[name].shape == tuple(parameter.shape)
            graph.set_initializer(name, parameter.numpy())
    graph.set_initializer("onnx::MatMul_31", net.hidden.weight.detach().numpy().T.copy())
    return graph


def outputs(graph: Graph, x: Any) -> np.ndarray:
    session = onnxruntime.InferenceSession(to_model(graph).SerializeToString())
    return np.asarray(session.run(None, {"x": x.numpy()})[0])


@pytest.mark.parametrize(
    "passes",
    [
        ["filter{ratio=0.5}"],
        ["filter{ratio=0.5,absorb=false}"],
        ["slim{ratio=0.4}"],
        ["slim{ratio=0.3}", "filter{ratio=0.3}"],
        [],
    ],
    ids=",".join,
)
def test_torch_loads_a_pruned_network_and_trains_on(net: Any, passes: list[str]) -> None:
    x = torch.randn(4, 3, 8, 8)
    graph = exported(net)
    np.testing.assert_allclose(outputs(graph, x), net(x).detach(), rtol=1e-5, atol=1e-5)
    small = pruneir.optimize(graph, passes)
    weights = pruneir.export_weights(small.plan, small.graph, net.state_dict(), names=NAMES)
    if passes:
        assert widths(weights)["stem"] < WIDTHS["stem"]
        assert widths(weights)["inner"] < WIDTHS["inner"]
    pruned = Net(**widths(weights)).eval()
    pruned.load_state_dict(weights, strict=True)
    np.testing.assert_allclose(outputs(small.graph, x), pruned(x).detach(), rtol=1e-5, atol=1e-5)

    optimizer = torch.optim.SGD(pruned.train().parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = (pruned(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_original_values_are_the_modules_own_slices(net: Any) -> None:
    small = pruneir.optimize(exported(net), ["filter{ratio=0.5}"])
    state = net.state_dict()
    weights = pruneir.export_weights(small.plan, small.graph, state, names=NAMES, values="original")
    kept = {name: small.plan.kept[f"{name}.weight"][0][1] for name in ("stem", "inner")}
    assert torch.equal(weights["inner.weight"], state["inner.weight"][kept["inner"]][:, kept["stem"]])
    assert torch.equal(weights["bn3.running_mean"], state["bn3.running_mean"][kept["stem"]])
    pruned = Net(**widths(weights))
    pruned.load_state_dict(weights, strict=True)


def test_a_matrix_of_another_name_is_suggested(net: Any) -> None:
    small = pruneir.optimize(exported(net), ["filter{ratio=0.5}"])
    with pytest.raises(pruneir.PruneirError, match=r"no tensor 'hidden.weight': .*\(perhaps 'onnx::MatMul_31'\)"):
        pruneir.export_weights(small.plan, small.graph, net.state_dict())


@pytest.mark.slow
def test_the_documented_example_runs(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    done = subprocess.run([sys.executable, EXAMPLE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'stem': 16, 'inner': 32, 'hidden': 16} → {'stem': 8, 'inner': 16, 'hidden': 8}" in done.stdout
    assert (tmp_path / "net.pruned.safetensors").exists()
