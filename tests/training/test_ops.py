"""Every operator: its values are ONNX Runtime's, its gradient is that of finite differences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference import ReferenceEvaluator

from pruneir import onnx_io
from pruneir.coupling.rule import RULES
from pruneir.graph import Graph, Operator, parse
from support.operators import CASES, IMAGES, NO_GRADIENT, NOT_IN_ORT, QUANTIZED

pytest.importorskip("torch")
import torch

from pruneir.training.network import Network
from pruneir.training.ops import entry_of

QUANTIZED_ARITHMETIC = {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"}


def feeds_of(graph: Graph, *, batch: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Standard normal inputs, integers 0 and 1, symbolic axes at the batch."""
    random, made = np.random.default_rng(seed), {}
    for name in graph.data_inputs:
        kind = graph.type_of(name)
        assert kind is not None
        shape = [dim if isinstance(dim, int) else batch for dim in kind.shape or ()]
        dtype = tensor_dtype_to_np_dtype(kind.elem_type)
        made[name] = (random.integers(0, 2, shape) if dtype.kind == "i" else random.standard_normal(shape)).astype(
            dtype
        )
    return made


def computed(graph: Graph, feeds: Mapping[str, np.ndarray], *, runtime: bool) -> list[np.ndarray]:
    """The outputs of a graph, in ONNX Runtime or in the onnx package's own implementation."""
    if runtime:
        values = next(onnx_io.evaluate(graph, graph.outputs, [feeds]))
        return [values[name] for name in graph.outputs]
    return [np.asarray(y) for y in ReferenceEvaluator(onnx_io.to_model(graph)).run(None, dict(feeds))]


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_onnx_runtime(name: str) -> None:
    graph = parse(CASES[name])
    network = Network(graph).eval()
    for batch in (1, 3):
        feeds = feeds_of(graph, batch=batch, seed=batch)
        wanted = computed(graph, feeds, runtime=name not in NOT_IN_ORT)
        with torch.no_grad():
            made = network({key: torch.tensor(array) for key, array in feeds.items()})
        for output, want in zip(graph.outputs, wanted, strict=True):
            got = made[output].numpy()
            assert got.shape == want.shape
            assert got.dtype == want.dtype
            scale = np.abs(want.astype(np.float64)).max()
            assert scale > 0 or want.dtype.kind == "i"
            assert np.abs(got.astype(np.float64) - want).max() <= 1e-5 * scale + 1e-6


@pytest.mark.parametrize("name", sorted(CASES.keys() - QUANTIZED.keys()))
def test_gradients_are_finite_differences(name: str) -> None:
    graph = parse(CASES[name])
    network = Network(graph).double().eval()
    feeds = {key: torch.tensor(array) for key, array in feeds_of(graph, batch=2).items()}
    inputs = {key: tensor.double().requires_grad_() for key, tensor in feeds.items() if tensor.is_floating_point()}
    weights = dict(network.named_parameters())

    def run(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip(inputs, tensors, strict=False))
        held = dict(zip(weights, tensors[len(inputs) :], strict=True))
        made = torch.func.functional_call(network, held, ({**feeds, **given},))
        return tuple(tensor for tensor in made.values() if tensor.is_floating_point() and tensor.requires_grad)

    tensors = (*inputs.values(), *(weight.detach().clone().requires_grad_() for weight in weights.values()))
    if name in NO_GRADIENT:
        assert not run(*tensors)
    else:
        assert torch.autograd.gradcheck(run, tensors, fast_mode=True)


READS_DATA = {
    "compress",
    "dropout",
    "non-maximum suppression",
    "one hot",
    "pow",
    "reverse sequence",
    "where it is not zero",
}
"""Cases that look at values beyond shapes, which a device without memory has not; so do all scales of images."""


@pytest.mark.parametrize("name", sorted(CASES.keys() - READS_DATA - IMAGES.keys()))
def test_runs_on_another_device(name: str) -> None:
    """On torch's `meta`, which computes shapes alone, but lets no two devices meet; shapes stay in main memory."""
    graph = parse(CASES[name])
    network = Network(graph).eval()
    feeds = {key: torch.tensor(array) for key, array in feeds_of(graph).items()}
    wanted = network(feeds)
    made = network.to("meta")({key: tensor.to("meta") for key, tensor in feeds.items()})
    for output, want in wanted.items():
        assert made[output].shape == want.shape
        assert made[output].dtype == want.dtype
        assert made[output].device.type == "meta"


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantization_lets_gradients_through(name: str) -> None:
    """The gradient is that of the operators without the rounding: not zero, as that of the values would be."""
    graph = parse(QUANTIZED[name])
    network = Network(graph).eval()
    feeds = {key: torch.tensor(a).clamp(-1, 1).requires_grad_() for key, a in feeds_of(graph).items()}
    network(feeds)[graph.outputs[0]].sum().backward()
    (gradient,) = (tensor.grad for tensor in feeds.values())
    assert gradient.abs().min() > 0


def test_every_float_operator_that_coupling_knows() -> None:
    missing = {kind for domain, kind in RULES if entry_of(Operator(kind, (), (), domain=domain)) is None}
    assert missing == QUANTIZED_ARITHMETIC
