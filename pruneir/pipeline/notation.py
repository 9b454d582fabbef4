"""A pass as text, one grammar wherever one is written down:

    pass    = name [ "{" [ option { "," option } ] "}" ]
    option  = field "=" value
    value   = word | quoted string | "[" [ value { "," value } ] "]"

What a word means is for the field's type to say: `0.5`, `true`, `none`, `global`.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from pruneir.errors import PruneirError
from pruneir.pipeline.fields import Word

_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_TOKEN = re.compile(rf"""\s*(?:(?P<quoted>{_QUOTED})|(?P<mark>[{{}}\[\],=])|(?P<word>[^\s{{}}\[\],="']+))""")
_END = ("end", "")


def read(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a pass."""
    return _Reader(text).read()


class _Reader:
    """A recursive-descent reader of one pass."""

    def __init__(self, text: str):
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        offset = 0
        while text[offset:].strip():
            match = _TOKEN.match(text, offset)
            if match is None:
                self.fail(f"the quote at character {offset + 1} is not closed")
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            offset = match.end()
        self.at = 0

    def fail(self, problem: str) -> NoReturn:
        raise PruneirError(f"pass '{self.text}': {problem}; write a pass as name{{option=value,option=value}}")

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def next(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def expect(self, *marks: str) -> str:
        kind, found = self.next()
        if kind != "mark" or found not in marks:
            self.fail(f"expected {' or '.join(f'`{m}`' for m in marks)}, found {f'`{found}`' if found else 'the end'}")
        return found

    def word(self, what: str) -> str:
        kind, found = self.next()
        if kind != "word":
            self.fail(f"expected {what}, found {f'`{found}`' if found else 'the end'}")
        return found

    def read(self) -> tuple[str, dict[str, Any]]:
        name = self.word("a pass's name")
        given: dict[str, Any] = {}
        if self.peek() != _END:
            self.expect("{")
            if self.peek()[1] == "}":
                self.next()
            else:
                self.options(given)
        if self.peek() != _END:
            self.fail(f"expected the end, found `{self.peek()[1]}`")
        return name, given

    def options(self, given: dict[str, Any]) -> None:
        while True:
            key = self.word("an option's name")
            if key in given:
                self.fail(f"option '{key}' is given twice")
            self.expect("=")
            given[key] = self.value()
            if self.expect(",", "}") == "}":
                return

    def value(self) -> Any:
        kind, found = self.next()
        if kind == "word":
            return Word(found)
        if kind == "quoted":
            return re.sub(r"\\(.)", r"\1", found[1:-1])
        if found != "[":
            self.fail(f"expected a value, found {f'`{found}`' if found else 'the end'}")
        items: list[Any] = []
        if self.peek()[1] == "]":
            self.next()
            return items
        while True:
            items.append(self.value())
            if self.expect(",", "]") == "]":
                return items
