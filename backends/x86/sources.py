"""The C files of a program: kernels by text, each once, spread over files that compile side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_FILES = 8
_HEAD = '#include "simd.h"\n#include "vmath.h"\n\n'
KERNEL = "KERNEL"
"""What a kernel is called in its text until it has a name of its own."""


@dataclass(slots=True)
class Sources:
    """What has been written so far.

    texts  name of each kernel by its text
    whole  files that are complete
    """

    texts: dict[str, str] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)

    def kernel(self, what: str, text: str) -> str:
        """The name of a kernel with this text; equal ones are written once."""
        if text not in self.texts:
            self.texts[text] = f"{what}_{len(self.texts)}"
        return self.texts[text]

    def add(self, files: Mapping[str, str]) -> None:
        """More files."""
        self.whole |= files

    def files(self) -> dict[str, str]:
        """All files by name."""
        parts: list[list[str]] = [[] for _ in range(min(_FILES, len(self.texts)))]
        for place, (text, name) in enumerate(self.texts.items()):
            parts[place % _FILES].append(text.replace(KERNEL, name))
        return {f"kernels_{i}.c": _HEAD + "\n".join(texts) for i, texts in enumerate(parts)} | self.whole
