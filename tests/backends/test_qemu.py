"""Firmware in QEMU: it computes what its kernels say, counts exactly, and says what went wrong."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pruneir.backends.cortex_m import toolchain
from pruneir.backends.cortex_m.cpus import CPUS
from pruneir.backends.cortex_m.qemu import Firmware
from pruneir.errors import PruneirError
from support.firmware import EMULATED, LIKE, WEIGHTS, built, dense, program, without_programs

pytestmark = pytest.mark.qemu

ONE = {"x": np.zeros(1, np.float32)}


Built = Callable[[str], Firmware]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The firmware of `dense` for a processor, built once."""

    @cache
    def made(cpu: str) -> Firmware:
        return built(dense(), cpu, tmp_path_factory.mktemp(cpu))

    return made


def copied(firmware: Firmware, folder: Path) -> Path:
    """A copy of its project, built as it is."""
    return Path(shutil.copytree(firmware.elf.parents[1], folder / "copy"))


def samples(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    return [{"x": random.standard_normal((1, 40)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("cpu", EMULATED)
def test_outputs_are_those_of_the_kernels(cpu: str, network: Built) -> None:
    given = samples(5)
    firmware = network(cpu)
    together = firmware.run(given)
    for sample, output in zip(given, together.outputs, strict=True):
        np.testing.assert_allclose(output["y"], np.exp(sample["x"] @ WEIGHTS.T), rtol=1e-6)
        assert output["y"].shape == (1, 5)
        np.testing.assert_array_equal(firmware.run([sample]).outputs[0]["y"], output["y"])
    assert firmware.run(given).instructions == firmware.run(given[:1]).instructions == together.instructions


TURNS = """
__attribute__((naked)) static void turn(int count)
{
    __asm__ volatile("1: subs r0, #1\\n bne 1b\\n bx lr");
}
void k_few(const float *x, float *y) { turn(1000); y[0] = x[0]; }
void k_many(const float *x, float *y) { turn(12000000); y[0] = x[0]; }
"""


@pytest.mark.parametrize("cpu", LIKE)
def test_every_instruction_counts_once(cpu: str, tmp_path: Path) -> None:
    """Loops of two instructions; the longer one lets the counter of 24 bits run over twice and more."""
    what = program("k_few(x, y); k_many(x, y)", TURNS)
    few, many = built(what, cpu, tmp_path, "profile").run([ONE]).steps
    assert 2 * 1000 < few < 2 * 1000 + 20
    assert many - few == pytest.approx(2 * (12_000_000 - 1000), abs=100), "what is left is the counter's interrupt"


@pytest.mark.parametrize("cpu", EMULATED)
def test_steps_add_up_to_the_whole(cpu: str, network: Built) -> None:
    firmware = network(cpu)
    whole = firmware.run(samples(1))
    steps = replace(firmware, elf=firmware.elf.with_name("profile.elf")).run(samples(1)).steps
    assert len(steps) == 2
    assert whole.steps == ()
    assert sum(steps) == pytest.approx(whole.instructions, abs=25)


def test_counting_many_steps_takes_no_stack(tmp_path: Path) -> None:
    what = program("k_few(x, y);" * 1500, TURNS)
    steps = built(what, "cortex-m4", tmp_path, "profile").run([ONE]).steps
    assert len(steps) == 1500
    assert max(steps) - min(steps) < 20


STACK = """
__attribute__((naked)) static void dig(void)
{
    __asm__ volatile("sub sp, #BYTES\\n movs r0, #0\\n str r0, [sp]\\n add sp, #BYTES\\n bx lr");
}
void k_dig(const float *x, float *y) { dig(); y[0] = x[0]; }
"""


@pytest.mark.parametrize("cpu", LIKE)
def test_stack_is_measured_to_the_byte(cpu: str, tmp_path: Path) -> None:
    used = {}
    for size in (64, 256):
        folder = tmp_path / str(size)
        folder.mkdir()
        used[size] = built(program("k_dig(x, y)", STACK.replace("BYTES", str(size))), cpu, folder).run([ONE]).stack
    assert used[256] - used[64] == 256 - 64
    assert 64 < used[64] < 64 + 200


def test_what_was_never_written_reads_as_garbage(tmp_path: Path) -> None:
    what = program("k_sum(t, x, y)", "void k_sum(const float *t, const float *x, float *y) { y[0] = t[0] + x[0]; }")
    what = replace(what, temporaries=program("", "", temporaries="t[1]").temporaries)
    calls = (replace(what.calls[0], reads=("x",), writes=("y",), workspaces=("t",)),)
    assert np.isnan(built(replace(what, calls=calls), "cortex-m4", tmp_path).run([ONE]).outputs[0]["y"]).all()


SPARE = """
void k_fill(const float *x, float *t) { for (int i = 0; i < COUNT; i++) t[i] = x[0] + (float)i; }
void k_last(const float *t, const float *w, float *y) { y[0] = t[COUNT - 1] + w[COUNT - 1]; }
"""


@pytest.mark.parametrize("cpu", EMULATED)
def test_spare_memory_holds_weights_and_arena(cpu: str, tmp_path: Path) -> None:
    count = (CPUS[cpu].board.ram.length + 4096) // 4
    constants = {"w": np.full(count, 2, np.float32)}
    source = SPARE.replace("COUNT", str(count))
    what = program("k_fill(x, t); k_last(t, w, y)", source, temporaries=f"t[{count}]", constants=constants)
    outputs = built(what, cpu, tmp_path).run([{"x": np.ones(1, np.float32)}]).outputs
    assert outputs[0]["y"] == np.float32(count + 2)


TYPES = """
#include <stdint.h>
void k_count(const int64_t *x, int8_t *y, uint8_t *z) { for (int i = 0; i < 3; i++) { y[i] = (int8_t)-x[i]; z[i] = x[i] > 1; } }
"""


def test_other_types_and_several_outputs(tmp_path: Path) -> None:
    what = program("k_count(x, y, z)", TYPES, inputs="int64 x[3]", outputs="int8 y[3] bool z[3,1]")
    outputs = built(what, "cortex-m4", tmp_path).run([{"x": np.array([0, 1, 2])}]).outputs[0]
    assert outputs["y"].tolist() == [0, -1, -2]
    assert outputs["z"].tolist() == [[False], [False], [True]]
    assert (outputs["y"].dtype, outputs["z"].dtype) == (np.int8, np.bool_)


FAULTS = {
    "undefined instruction": ('__asm__ volatile("udf #0");', r"fault CFSR 00010000 .* PC [0-9a-f]{8}$"),
    "no memory there": ("*(volatile int *)0x5fffff00 = 1;", r"fault CFSR 00008200 .* PC [0-9a-f]{8}$"),
    "deep recursion": ("y[0] = deep(x, 0);", r"fault \(stack overflow\) .*; link.ld gives 8192 bytes$"),
}
DEEP = """
__attribute__((noinline)) static float deep(const float *x, int depth)
{
    volatile float kept = x[0];
    return depth > 100000 ? kept : deep(x, depth + 1) + kept;
}
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The firmware for a processor, built once, that makes the fault whose place its input says."""

    @cache
    def made(cpu: str) -> Firmware:
        cases = "".join(f"case {place}: {fault} break;" for place, (fault, _) in enumerate(FAULTS.values()))
        source = f"{DEEP}\nvoid k_bad(const float *x, float *y) {{ y[0] = x[0]; switch ((int)x[0]) {{ {cases} }} }}"
        return built(program("k_bad(x, y)", source), cpu, tmp_path_factory.mktemp(cpu))

    return made


@pytest.mark.parametrize("cpu", LIKE)
@pytest.mark.parametrize(("fault", "said"), [(fault, said) for fault, (_, said) in FAULTS.items()], ids=FAULTS)
def test_faults_are_one_clear_line(cpu: str, fault: str, said: str, faulty: Built) -> None:
    with pytest.raises(PruneirError, match=said) as caught:
        faulty(cpu).run([{"x": np.array([[*FAULTS].index(fault)], np.float32)}])
    assert "\n" not in str(caught.value)
    assert re.search(r"model\.elf in QEMU \(mps\d-an\d+\): stopped", str(caught.value))


def test_what_does_not_end_is_stopped(tmp_path: Path) -> None:
    source = "void k_hang(const float *x, float *y) { for (;;) *(volatile float *)y = x[0]; }"
    firmware = built(program("k_hang(x, y)", source), "cortex-m4", tmp_path)
    with pytest.raises(PruneirError, match="has not ended after 2 s"):
        firmware.run([ONE], patience=2)


def test_a_processor_without_a_board_says_so(network: Built) -> None:
    firmware = network("cortex-m0plus")
    with pytest.raises(PruneirError, match="cortex-m0plus: QEMU has no board of it; compile for cortex-m4"):
        firmware.run(samples(1))


def test_missing_programs_are_named_with_their_install_line(
    network: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firmware = network("cortex-m4")
    without_programs(monkeypatch, tmp_path)
    with pytest.raises(PruneirError, match="qemu-system-arm is not installed; apt-get install qemu-system-arm"):
        firmware.run(samples(1))


def test_the_first_complaint_of_the_compiler_is_shown(tmp_path: Path) -> None:
    source = "void k_bad(const float *x, float *y) { y[0] = x[0] + unknown; }"
    with pytest.raises(PruneirError, match=r"does not build: kernels\.c:1:\d+: error: 'unknown' undeclared"):
        built(program("k_bad(x, y)", source), "cortex-m4", tmp_path)


@pytest.mark.parametrize("name", ["main.c", "startup.c", "semihosting.c", "counter.c", "errno.c", "model.c"])
def test_our_own_c_is_held_to_every_warning(name: str, network: Built, tmp_path: Path) -> None:
    folder = copied(network("cortex-m4"), tmp_path)
    with (folder / name).open("a") as file:
        file.write("static int never_used;\n")
    with pytest.raises(PruneirError, match="error: 'never_used' defined but not used"):
        toolchain.build(folder)


def test_kernels_are_compiled_once_for_both_firmwares(network: Built) -> None:
    assert sorted(path.name for path in network("cortex-m4").elf.parent.glob("kernels*")) == ["kernels.o"]
