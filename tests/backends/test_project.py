"""The C project: the same program gives the same bytes, and every name and every byte is where C needs it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from pruneir.backends.cortex_m import project
from pruneir.backends.cortex_m.cpus import CPUS
from pruneir.backends.cortex_m.csource import Names
from pruneir.backends.lowering.arena import place
from pruneir.backends.lowering.program import Buffer, Constant, Program
from pruneir.errors import PruneirError
from support.firmware import dense, program

COPY = "void k_copy(const float *x, float *y) { y[0] = x[0]; }"


def files(what: Program, cpu: str = "cortex-m4") -> dict[str, str]:
    found: dict[str, str] = project.files(what, place(what), CPUS[cpu])
    return found


@pytest.mark.parametrize("cpu", CPUS)
def test_same_program_same_bytes(cpu: str, tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        project.write(folder, dense(), place(dense()), CPUS[cpu])
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert {"model.h", "model.c", "weights.bin", "weights.S", "kernels.c", "Makefile", "link.ld", "README.md"} <= {
        *written[0]
    }
    for name, raw in written[0].items():
        assert str(tmp_path).encode() not in raw, name
        assert not re.search(rb"@[A-Z_]+@", raw), f"{name} has an unfilled place"


def test_weights_are_the_constants_bit_for_bit(tmp_path: Path) -> None:
    odd = np.array([0.0, -0.0, np.nan, np.inf, 1e-45, 3.4e38], np.float32)
    turned = np.arange(12, dtype=np.int64).reshape(3, 4).T
    what = replace(dense(), constants=(*dense().constants, Constant("odd", odd), Constant("turned", turned)))
    project.write(tmp_path, what, place(what), CPUS["cortex-m4"])
    raw = (tmp_path / "weights.bin").read_bytes()
    for constant in what.constants:
        label, start, size = next(
            (found[1], int(found[2]), int(found[3]))
            for found in re.finditer(
                r'^(\w+):\n    .incbin "weights.bin", (\d+), (\d+)$', files(what)["weights.S"], re.M
            )
            if found[1] == f"weights_{constant.name}"
        )
        assert raw[start : start + size] == constant.values.tobytes(), label
        assert f" {label}[{constant.values.size}];" in files(what)["model.c"]


NAMES = {
    "plain": ("x", "x"),
    "path": ("/conv1/Conv_output_0", "conv1_Conv_output_0"),
    "keyword": ("float", "float_2"),
    "number": ("495", "v495"),
    "not ASCII": ("größe", "gr_e"),
    "nothing left": ("::", "v"),
    "used in model.c": ("arena", "arena_2"),
    "a function": ("memcpy", "memcpy_2"),
    "of macros": ("X", "X_2"),
    "of the interface": ("model_run_in", "model_run_in_2"),
    "a kernel": ("k_copy", "k_copy_2"),
    "a keyword of C++": ("class", "class_2"),
}


@pytest.mark.parametrize(("name", "identifier"), NAMES.values(), ids=NAMES)
def test_names_in_c(name: str, identifier: str) -> None:
    what = program(f"k_copy({name}, y)", COPY, inputs=f"{name}[1]")
    assert Names.of(what).inputs[name] == identifier


def test_names_that_differ_stay_apart() -> None:
    what = program("k_copy(a/b, c); k_copy(a.b, c)", COPY, inputs="a/b[1] a.b[1] a_b[1]", outputs="c[1] a:b[1]")
    names = Names.of(what)
    assert len({*names.inputs.values(), *names.outputs.values()}) == 5


def test_hostile_names_stay_in_their_comments() -> None:
    nasty = "a*/\\\n#error/*"
    what = replace(dense(), inputs=(Buffer(nasty, np.dtype("float32"), (1, 40)),), calls=())
    texts = files(what)
    assert "#error" not in [line[:6] for line in texts["model.h"].splitlines()]
    assert "a* /" in texts["model.h"]


OUTPUTS = {
    "written by a kernel": (dense(), ""),
    "a reshaped value": (replace(dense(), aliases={"y": "t"}), "memcpy(y, (at + 0), 20);"),
    "an input": (program("", COPY, inputs="x[4]", outputs="y[4]", aliases={"y": "x"}), "memcpy(y, x, 16);"),
    "an input of the same name": (program("", COPY, inputs="x[4]", outputs="x[4]"), "memcpy(x_2, x, 16);"),
    "a constant": (
        program("", COPY, outputs="y[2]", constants={"c": np.ones(2, np.float32)}, aliases={"y": "c"}),
        "memcpy(y, weights_c, 8);",
    ),
    "another output": (program("k_copy(x, y)", COPY, outputs="y[1] z[1]", aliases={"z": "y"}), "memcpy(z, y, 4);"),
}


@pytest.mark.parametrize(("what", "copy"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_that_lie_elsewhere_are_copied(what: Program, copy: str) -> None:
    found = re.findall(r"memcpy\(.*;", files(what)["model.c"])
    assert found == ([copy] if copy else [])


def test_a_type_without_a_c_word_is_one_clear_line() -> None:
    what = program("k_copy(x, y)", COPY, inputs="float16 x[1]")
    with pytest.raises(PruneirError, match=r"^'x' is of type float16.*cast it to float32$"):
        files(what)


def large(weights: int, arena: int) -> Program:
    return program(
        "k_copy(x, t); k_copy(w, t); k_copy(t, y)",
        COPY,
        temporaries=f"t[{arena // 4}]",
        constants={"w": np.zeros(weights // 4, np.float32)},
    )


PLACES = {
    "small": ("cortex-m4", 100, 100, "FLASH", "RAM"),
    "weights beyond M4's flash": ("cortex-m4", 5 << 20, 100, "SPARE", "RAM"),
    "arena beyond M4's RAM": ("cortex-m4", 100, 5 << 20, "FLASH", "SPARE"),
    "both beyond M55's": ("cortex-m55", 1 << 20, 1 << 20, "SPARE", "SPARE"),
}


@pytest.mark.parametrize(("cpu", "weights", "arena", "constants", "values"), PLACES.values(), ids=PLACES)
def test_what_is_too_large_goes_to_spare_memory(
    cpu: str, weights: int, arena: int, constants: str, values: str
) -> None:
    layout = files(large(weights, arena), cpu)["link.ld"]
    assert re.search(rf"\.weights .*> {constants}$", layout, re.M)
    assert re.search(rf"\.arena .*> {values}$", layout, re.M)


def test_what_no_memory_holds_is_one_clear_line() -> None:
    with pytest.raises(PruneirError, match="more than mps2-an386 has; prune it"):
        files(large(100, 20 << 20))


def test_many_weights_are_written_in_seconds(tmp_path: Path) -> None:
    start = perf_counter()
    what = large(32 << 20, 100)
    project.write(tmp_path, replace(what, constants=what.constants[:1]), place(what), CPUS["cortex-m55"])
    assert (tmp_path / "weights.bin").stat().st_size == 32 << 20
    assert perf_counter() - start < 5


def test_the_readme_has_ten_lines_with_the_figures() -> None:
    readme = files(dense())["README.md"]
    assert len(readme.splitlines()) <= 12
    assert "14 multiply-accumulates, 800 bytes of weights" in readme
    assert "mps2-an386" in readme
    assert "no `make run`" in files(dense(), "cortex-m0plus")["README.md"]
