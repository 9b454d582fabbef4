"""What some tests need of the machine. In CI what can be installed is never lacking (conftest.py)."""

from __future__ import annotations

import shutil

import pytest

from pruneir.backends.x86.cpu import AVX2, features

cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
avx2 = pytest.mark.skipif(not {*AVX2.features} <= features(), reason="needs a processor with AVX2 and FMA")
