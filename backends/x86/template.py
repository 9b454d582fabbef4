"""The text of a kernel: its epilogue, the sizes of one layer as macros, and the template that reads them.

A template undefines what it defines itself, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

_IDENTITY = """INLINE vf {name}_finish(vf sum, void *const *p, long point, long filter, int lanes) {{
    (void)p, (void)point, (void)filter, (void)lanes;
    return sum;
}}
"""


def instance(header: str, name: str, finish: str, macros: Mapping[str, object]) -> str:
    """A kernel `name` made of the template runtime/`header`.

    finish  C of `vf <name>_finish(vf sum, void *const *p, long point, long filter, int lanes)`, through which every
            vector passes before it is stored; empty: stored as it is
    macros  all that the template needs beside NAME and FINISH
    """
    given = {**macros, "NAME": name, "FINISH": f"{name}_finish"}
    return "\n".join(
        [
            finish or _IDENTITY.format(name=name),
            *(f"#define {macro} {value}" for macro, value in given.items()),
            f'#include "{header}"',
            *(f"#undef {macro.partition('(')[0]}" for macro in given),
            "",
        ]
    )
