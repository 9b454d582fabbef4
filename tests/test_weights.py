from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pruneir
from pruneir.graph import Graph, parse
from pruneir.weight_files import as_array
from pruneir.weights import Names

CHAIN = "x[N,3,8,8] -> y { a = Conv(x, w1[8,3,3,3]); r = Relu(a); y = Conv(r, w2[4,8,1,1]) }"
DENSE = "x[N,5] -> y { a = Gemm(x, w1[8,5], b1[8], transB=1); r = Relu(a); y = Gemm(r, w2[4,8], b2[4], transB=1) }"
SQUARE = "x[N,8] -> y { a = Gemm(x, w1[8,8], b1[8], transB=1); r = Relu(a); y = Gemm(r, w2[4,8], b2[4], transB=1) }"
MATMUL = (
    "x[N,8] -> y { a = MatMul(x, w1[8,8]); s = Add(a, b1[8]); r = Relu(s); m = MatMul(r, w2[8,4]); y = Add(m, b2[4]) }"
)
NORMED = """x[N,3,8,8] -> y { a = Conv(x, w1[8,3,3,3]); b = BatchNormalization(a, g[8], h[8], m[8], v[8]); r = Relu(b)
                          y = Conv(r, w2[4,8,1,1], b2[4]) }"""
SHARED = """x[N,3,8,8] -> y, z { a = Conv(x, w1[8,3,1,1], b[8]); y = Conv(a, w2[4,8,1,1])
                             c = Conv(x, w3[8,3,1,1], b); z = Conv(c, w4[4,8,1,1]) }"""
KERAS = (2, 3, 1, 0)


def constants(graph: Graph) -> dict[str, np.ndarray]:
    return {name: array for name, array in graph.initializers.items() if graph.users(name)}


def turned(array: np.ndarray, layout: Any) -> np.ndarray:
    return array.T if layout == "transposed" else array if isinstance(layout, str) else array.transpose(layout)


# Text, how the framework turns what ONNX calls so, and what it has to say about it.
LAYOUTS: dict[str, tuple[str, dict[str, Any], Names]] = {
    "the same": (CHAIN, {}, {}),
    "with BatchNorm": (NORMED, {}, {}),
    "Gemm, transB": (DENSE, {}, {}),
    "kernels as Keras has them": (CHAIN, {"w1": KERAS, "w2": KERAS}, {"w1": ("w1", KERAS), "w2": ("w2", KERAS)}),
    "matrices are turned by their shape": (DENSE, {"w1": "transposed", "w2": "transposed"}, {}),
    "square ones by their values": (SQUARE, {"w1": "transposed"}, {}),
    "square ones that are as they are": (MATMUL, {}, {}),
    "turned, and it is said so": (SQUARE, {"w1": "transposed"}, {"w1": ("w1", "transposed")}),
}


@pytest.mark.parametrize(("text", "layouts", "names"), LAYOUTS.values(), ids=LAYOUTS)
def test_slices_are_the_frameworks_own(text: str, layouts: dict[str, Any], names: Names) -> None:
    """Without absorption a cut only slices: the file's values are those of `like`, sliced, in the layout of `like`."""
    graph = parse(text)
    like = {name: turned(array, layouts.get(name, "")) for name, array in constants(graph).items()}
    small = pruneir.optimize(graph, ["filter{ratio=0.5,absorb=false}"])
    pruned = pruneir.export_weights(small.plan, small.graph, like, names=names)
    original = pruneir.export_weights(small.plan, small.graph, like, names=names, values="original")
    assert list(pruned) == list(original) == list(like)
    assert pruned["w1"].size < like["w1"].size
    for name in like:
        np.testing.assert_array_equal(pruned[name], original[name])
        np.testing.assert_array_equal(pruned[name], turned(small.graph.initializers[name], layouts.get(name, "")))


def test_names_that_differ_and_parameters_that_onnx_has_no_need_of() -> None:
    graph = parse(CHAIN)
    held = constants(graph)
    like = {"stem.weight": held["w1"], "steps": np.array(7), "head.weight": held["w2"], "aux.weight": np.ones(3)}
    small = pruneir.optimize(graph, ["filter{ratio=0.5,absorb=false}"])
    names: Names = {"stem.weight": "w1", "head.weight": "w2", "aux.weight": None}
    made = pruneir.export_weights(small.plan, small.graph, like, names=names)
    assert {name: array.shape for name, array in made.items()} == {
        "stem.weight": (4, 3, 3, 3),
        "steps": (),
        "head.weight": (4, 4, 1, 1),
        "aux.weight": (3,),
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_types_stay(dtype: Any) -> None:
    graph = parse(CHAIN)
    like = {name: array.astype(dtype) for name, array in constants(graph).items()}
    small = pruneir.optimize(graph, ["filter{ratio=0.5,absorb=false}"])
    made = pruneir.export_weights(small.plan, small.graph, like)
    assert all(array.dtype == dtype for array in made.values())
    np.testing.assert_array_equal(made["w1"], small.graph.initializers["w1"].astype(dtype))


def test_a_bias_that_absorption_made_needs_a_parameter() -> None:
    graph = parse("x[N,3,8,8] -> y { a = Conv(x, w1[8,3,3,3], b1[8]); r = Relu(a); y = Conv(r, w2[4,8,1,1]) }")
    small = pruneir.optimize(graph, ["filter{ratio=0.5}"])
    (made,) = set(small.graph.initializers) - set(graph.initializers)
    with pytest.raises(pruneir.PruneirError, match=f"'{made}' \\[4\\], which y \\(Conv\\) reads, is in no parameter"):
        pruneir.export_weights(small.plan, small.graph, constants(graph))
    like = {name: array.astype(np.float16) for name, array in constants(graph).items()}
    weights = pruneir.export_weights(small.plan, small.graph, like, names={"b2": made})
    assert list(weights) == [*like, "b2"]
    np.testing.assert_array_equal(weights["b2"], small.graph.initializers[made].astype(np.float16))


def changed(graph: Graph, name: str) -> Graph:
    graph = graph.copy()
    array = graph.initializers[name]
    graph.set_initializer(name, np.random.default_rng(0).standard_normal(array.shape).astype(array.dtype))
    return graph


def test_a_square_matrix_that_training_changed_a_little_is_still_known() -> None:
    graph = parse(SQUARE)
    like = constants(graph) | {"w1": graph.initializers["w1"].T}
    small = pruneir.optimize(graph, ["filter{ratio=0.5,absorb=false}"])
    trained = small.graph.copy()
    noise = np.random.default_rng(0).standard_normal(trained.initializers["w1"].shape)
    trained.set_initializer("w1", trained.initializers["w1"] + 0.05 * noise.astype(np.float32))
    made = pruneir.export_weights(small.plan, trained, like)
    np.testing.assert_array_equal(made["w1"], trained.initializers["w1"].T)


def test_a_square_matrix_that_could_be_either_way_round() -> None:
    graph = parse(SQUARE)
    small = pruneir.optimize(graph, ["filter{ratio=0.5,absorb=false}"])
    other = changed(small.graph, "w1")
    with pytest.raises(pruneir.PruneirError, match=r"'w1' is square, \[8, 8\].*names=\{'w1': \('w1', 'as is'\)\}"):
        pruneir.export_weights(small.plan, other, constants(graph))
    made = pruneir.export_weights(small.plan, other, constants(graph), names={"w1": ("w1", "as is")})
    np.testing.assert_array_equal(made["w1"], other.initializers["w1"])


# Passes, text, what becomes of `like`, what is said in names, and the message.
WRONG: dict[str, tuple[str, str, dict[str, Any], Names, str]] = {
    "renamed": ("", CHAIN, {"stem": np.ones(3)}, {}, "no tensor 'stem': renamed.*{'stem': 'NAME'}"),
    "several": ("", CHAIN, {"s": np.ones(3), "t": np.ones(3)}, {}, "no tensor 's' and 1 more"),
    "mapped to nothing": ("", CHAIN, {}, {"w1": "conv1"}, "no tensor 'conv1':.*names={'w1': 'NAME'}"),
    "a folded BatchNorm": ("fold-bn", NORMED, {}, {}, "no tensor 'g' and 3 more: .*run fold-bn after"),
    "another network's": (
        "",
        CHAIN,
        {"w1": np.ones((9, 3, 3, 3))},
        {},
        r"'w1' is float64 \[9, 3, 3, 3\] and cannot be",
    ),
    "another rank": ("", CHAIN, {"w2": np.ones((4, 8))}, {}, r"'w2' of .*\[4, 4, 1, 1\], 4 of 8 on axis 1"),
    "another kind": ("", CHAIN, {"w2": np.ones((4, 8, 1, 1), np.int8)}, {}, "'w2' is int8 .* which is float32"),
    "no layout": ("", DENSE, {}, {"w1": ("w1", "upright")}, "'upright' turns no tensor of rank 2; say 'as is'"),
    "no axes": ("", CHAIN, {}, {"w1": ("w1", (0, 1))}, r"\(0, 1\) turns no tensor of rank 4"),
    "copied per use": ("", SHARED, {}, {}, "'b' was copied per use .*names={'b': 'b@a'}"),
}


@pytest.mark.parametrize(("last", "text", "like", "names", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit(last: str, text: str, like: dict[str, Any], names: Names, message: str) -> None:
    graph = parse(text)
    small = pruneir.optimize(graph, ["filter{absorb=false}", *filter(None, [last])], verify=False)
    with pytest.raises(pruneir.PruneirError, match=message):
        pruneir.export_weights(small.plan, small.graph, constants(graph) | like, names=names)


def test_copies_of_a_shared_vector_go_to_parameters_of_their_own() -> None:
    graph = parse(SHARED)
    held = constants(graph)
    like = {name: held[name] for name in ("w1", "w2", "w3", "w4")} | {"b1": held["b"], "b3": held["b"]}
    small = pruneir.optimize(graph, ["filter{absorb=false}"])
    made = pruneir.export_weights(small.plan, small.graph, like, names={"b1": "b@a", "b3": "b@c"})
    kept = {name: small.plan.kept[name][0][1] for name in ("w1", "w3")}
    np.testing.assert_array_equal(made["b1"], held["b"][kept["w1"]])
    np.testing.assert_array_equal(made["b3"], held["b"][kept["w3"]])
    assert not np.array_equal(made["b1"], made["b3"])


def test_a_folded_batchnorm_is_still_sliced_by_the_plan() -> None:
    graph = parse(NORMED)
    small = pruneir.optimize(graph, ["filter", "fold-bn"])
    made = pruneir.export_weights(small.plan, small.graph, constants(graph), values="original")
    kept = small.plan.kept["g"][0][1]
    for name in "ghmv":
        np.testing.assert_array_equal(made[name], graph.initializers[name][kept])


def test_files_of_two_runs() -> None:
    graph = parse(CHAIN)
    small, smaller = (pruneir.optimize(graph, [f"filter{{ratio={ratio},absorb=false}}"]) for ratio in (0.5, 0.75))
    with pytest.raises(pruneir.PruneirError, match="is not what the plan leaves: 'w1' is .* give the files of one run"):
        pruneir.export_weights(small.plan, smaller.graph, constants(graph))


def test_files_in_and_out(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    graph = parse(CHAIN)
    like = constants(graph) | {"half": np.ones(3, ml_dtypes.bfloat16), "steps": np.array(7)}
    pruneir.write_safetensors(tmp_path / "net.safetensors", like)
    small = pruneir.optimize(graph, ["filter{ratio=0.5,absorb=false}"])
    small.save(tmp_path / "small.onnx")
    files = (tmp_path / "small.plan.json", tmp_path / "small.onnx", tmp_path / "net.safetensors")
    made = pruneir.export_weights(*files, names={"half": None})
    pruneir.write_safetensors(tmp_path / "small.safetensors", made, metadata={"format": "pt"})
    back = pruneir.read_safetensors(tmp_path / "small.safetensors")
    assert {name: (array.dtype, array.shape) for name, array in back.items()} == {
        "w1": (np.float32, (4, 3, 3, 3)),
        "w2": (np.float32, (4, 4, 1, 1)),
        "half": (ml_dtypes.bfloat16, (3,)),
        "steps": (np.int64, ()),
    }
    with pytest.raises(pruneir.PruneirError, match="exists; pass --force"):
        pruneir.write_safetensors(tmp_path / "small.safetensors", {})
    pruneir.write_safetensors(tmp_path / "small.safetensors", {}, force=True)
    with pytest.raises(pruneir.PruneirError, match="cannot be written"):
        pruneir.write_safetensors(tmp_path / "text.safetensors", {"words": np.array(["a"])})
    assert len(list(tmp_path.iterdir())) == 4
    for wrong, message in (
        (tmp_path / "none", "no such file"),
        (tmp_path, "cannot be"),
        (files[0], "not a safetensors"),
    ):
        with pytest.raises(pruneir.PruneirError, match=message):
            pruneir.read_safetensors(wrong)


def test_torch_tensors_stay_tensors() -> None:
    torch = pytest.importorskip("torch")
    graph = parse(CHAIN)
    small = pruneir.optimize(graph, ["filter{ratio=0.5,absorb=false}"])
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        like = {name: torch.from_numpy(array).to(dtype).requires_grad_() for name, array in constants(graph).items()}
        made = pruneir.export_weights(small.plan, small.graph, like)
        assert all(tensor.dtype == dtype and not tensor.requires_grad for tensor in made.values())
        wanted = torch.from_numpy(small.graph.initializers["w1"]).to(dtype)
        assert torch.equal(made["w1"], wanted)
        assert str(as_array(made["w1"]).dtype) == str(dtype).removeprefix("torch.")
