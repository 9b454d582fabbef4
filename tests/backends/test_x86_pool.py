"""The threads of an x86 library."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pruneir.backends.x86 import project
from support import needs

RUNTIME = Path(project.__file__).parent / "runtime"
pytestmark = needs.cc


POOL = """
#include "pool.h"
#include <stdio.h>
static long seen[64];
static void add(void *context, int thread, long begin, long end) {
    (void)thread;
    for (long i = begin; i < end; i++)
        ((long *)context)[i]++;
}
int main(void) {
    for (int threads = 1; threads <= 5; threads++) {
        struct pool *pool = pool_create(threads);
        for (int i = 0; i < 200; i++)
            pool_run(pool, add, seen, i % 65);
        pool_destroy(pool);
    }
    for (int i = 0; i < 64; i++) {
        long expected = 0;
        for (int j = 0; j < 200; j++)
            expected += 5 * (i < j % 65);
        if (seen[i] != expected)
            return printf("item %d: %ld times, not %ld\\n", i, seen[i], expected), 1;
    }
    return 0;
}
"""


@pytest.mark.parametrize("flags", [["-O2"], ["-O1", "-g", "-fsanitize=thread"]], ids=["fast", "thread sanitizer"])
def test_every_item_is_done_once(flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "pool_test.c").write_text(POOL)
    command = [
        "cc",
        "-std=gnu11",
        *flags,
        f"-I{RUNTIME}",
        "pool_test.c",
        str(RUNTIME / "pool.c"),
        "-lpthread",
        "-o",
        "t",
    ]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if made.returncode and "tsan" in made.stderr:
        pytest.skip("the compiler has no thread sanitizer")
    assert made.returncode == 0, made.stderr
    ran = subprocess.run([tmp_path / "t"], capture_output=True, text=True, check=False)
    if "FATAL: ThreadSanitizer" in ran.stderr:
        pytest.skip("the thread sanitizer does not run here")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
