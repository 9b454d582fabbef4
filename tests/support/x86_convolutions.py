"""Convolutions of many geometries, what they sum in double precision, and templates of them compiled and run."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import strategies as st

from pruneir.backends.x86.tiling import Geometry

RUNTIME = Path(__file__).parents[2] / "backends" / "x86" / "runtime"
FLAGS = (
    "-std=gnu11 -ffp-contract=fast -fno-math-errno -fno-trapping-math -fPIC -shared -Wall -Wextra -Werror -Wno-psabi"
)
AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq")


def conv(
    ic: int, oc: int, size: tuple[int, int], k: tuple[int, int] = (1, 1), stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0), dilation: tuple[int, int] = (1, 1), n: int = 1,
) -> Geometry:  # fmt: skip
    """`pads` are above, left, below, right."""
    oh, ow = ((size[i] + pads[i] + pads[i + 2] - (k[i] - 1) * dilation[i] - 1) // stride[i] + 1 for i in (0, 1))
    return Geometry(n, *size, ic, oh, ow, oc, *k, *stride, *dilation, *pads[:2])


SAME, TWO = (1, 1, 1, 1), (2, 2)
CASES = {
    "3×3": conv(16, 32, (14, 14), (3, 3), pads=SAME),
    "3×3, odd": conv(37, 91, (9, 11), (3, 3), pads=SAME),
    "3×3, few filters": conv(5, 3, (8, 8), (3, 3), pads=SAME),
    "3×3, valid": conv(8, 24, (9, 8), (3, 3)),
    "3×3, stride 2": conv(19, 40, (15, 14), (3, 3), TWO, SAME),
    "3×3, stride 2, padded behind": conv(12, 16, (14, 14), (3, 3), TWO, (0, 0, 1, 1)),
    "3×3, dilated": conv(33, 17, (13, 12), (3, 3), (1, 1), (2, 3, 2, 3), (2, 3)),
    "3×3, dilated beyond the image": conv(6, 9, (5, 4), (3, 3), (1, 1), (6, 6, 6, 6), (6, 6)),
    "3×3 on one point": conv(20, 33, (1, 1), (3, 3), pads=SAME),
    "3×3 on small images": conv(9, 20, (4, 3), (3, 3), pads=SAME, n=5),
    "more padding than image": conv(7, 10, (2, 3), (3, 3), pads=(4, 5, 3, 4)),
    "stem 7×7": conv(3, 64, (30, 32), (7, 7), TWO, (3, 3, 3, 3)),
    "stem 3×3": conv(3, 24, (20, 21), (3, 3), pads=SAME),
    "stem 3×3, one channel": conv(1, 8, (12, 12), (3, 3), TWO, SAME),
    "stem, narrow": conv(3, 8, (20, 2), (3, 5), pads=(1, 2, 1, 2)),
    "stem, two images": conv(4, 20, (8, 9), (5, 5), pads=(2, 2, 2, 2), n=2),
    "1-D, across": conv(8, 16, (1, 100), (1, 16), (1, 4), (0, 7, 0, 8)),
    "1-D, down": conv(8, 16, (100, 1), (16, 1), (4, 1), (7, 0, 8, 0)),
    "1-D, dilated": conv(2, 5, (1, 40), (1, 3), (1, 1), (0, 4, 0, 4), (1, 4)),
    "5×1": conv(11, 25, (12, 7), (5, 1), pads=(2, 0, 2, 0)),
    "as large as the image": conv(10, 20, (3, 4), (3, 4), n=5),
    "as large as the padded image": conv(10, 20, (3, 4), (5, 4), pads=(1, 0, 1, 0)),
    "1×1": conv(64, 64, (7, 9)),
    "1×1, odd": conv(45, 73, (6, 5)),
    "1×1, one in, one out": conv(1, 1, (5, 7)),
    "1×1, stride 2": conv(24, 50, (9, 10), stride=TWO),
    "1×1, padded": conv(10, 12, (4, 5), pads=(1, 2, 0, 1)),
    "1×1, batch": conv(12, 30, (3, 3), n=4),
    "more weights than the first cache holds": conv(500, 40, (5, 5)),
    "more weights than the second": conv(300, 100, (6, 6), (3, 3), pads=SAME),
    "dense, one row": conv(300, 137, (1, 1)),
    "dense, few rows": conv(129, 70, (1, 3)),
    "dense, many rows": conv(65, 40, (1, 50)),
}  # fmt: skip

FINISH = """
INLINE vf {name}_finish(vf sum, void *const *p, long point, long filter, int lanes) {{
    sum += vf_load((const float *)p[3] + filter);
    return vf_max(sum + vf_load_n((const float *)p[4] + point * {channels} + filter, lanes), vf_set(0));
}}
"""
"""Adds an operand of the filter and one of the place, then takes what is positive."""


def build(text: str, *flags: str) -> ctypes.CDLL:
    with TemporaryDirectory(prefix="pruneir-") as folder:
        (Path(folder) / "all.c").write_text('#include "tile.h"\n' + text)
        command = ["cc", *FLAGS.split(), *flags, f"-I{RUNTIME}", "all.c", "-o", "all.so"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        return ctypes.CDLL(str(Path(folder) / "all.so"))


def correlated(x: np.ndarray, weights: np.ndarray, g: Geometry) -> np.ndarray:
    """What a convolution is, in double precision. x is NHWC, weights OIHW."""
    below = max(0, (g.oh - 1) * g.sh + (g.kh - 1) * g.dh + 1 - g.ih - g.pt)
    right = max(0, (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1 - g.iw - g.pl)
    image = np.pad(x.astype(float), ((0, 0), (g.pt, below), (g.pl, right), (0, 0)))
    y = np.zeros((g.n, g.oh, g.ow, g.oc))
    for kh in range(g.kh):
        for kw in range(g.kw):
            rows = slice(kh * g.dh, kh * g.dh + (g.oh - 1) * g.sh + 1, g.sh)
            columns = slice(kw * g.dw, kw * g.dw + (g.ow - 1) * g.sw + 1, g.sw)
            y += image[:, rows, columns] @ weights[:, :, kh, kw].T.astype(float)
    return y


class Guarded:
    """Arrays whose last byte lies before a page that must not be touched; or, in `front`, whose first lies behind one."""

    def __init__(self, front: bool) -> None:
        self.front = front

    def array(self, values: np.ndarray) -> np.ndarray:
        page = mmap.PAGESIZE
        room = -(-values.nbytes // page) * page
        pages = mmap.mmap(-1, room + page)
        array = np.frombuffer(pages, np.float32, values.size, page if self.front else room - values.nbytes)
        array[...] = values.ravel()
        guard = np.frombuffer(pages, np.uint8).ctypes.data + (0 if self.front else room)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
        return array.reshape(values.shape)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any that has an output, even if no tap touches the image."""
    k, stride, dilation = ((draw(st.integers(1, most)), draw(st.integers(1, most))) for most in (5, 3, 3))
    pads = tuple(draw(st.integers(0, 6)) for _ in range(4))
    spans = [(k[i] - 1) * dilation[i] + 1 - pads[i] - pads[i + 2] for i in (0, 1)]
    size = (
        draw(st.integers(max(1, spans[0]), max(1, spans[0]) + 18)),
        draw(st.integers(max(1, spans[1]), max(1, spans[1]) + 18)),
    )
    ic, oc = draw(st.integers(1, 50)), draw(st.integers(1, 80))
    return conv(ic, oc, size, k, stride, (pads[0], pads[1], pads[2], pads[3]), dilation, draw(st.integers(1, 3)))
