"""Every code has a page, and the network on the page gives that code and no other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from pruneir.coupling import couple
from pruneir.errors import Refusal
from pruneir.explain import layers, locks
from pruneir.graph import Graph, parse
from pruneir.onnx_io import load
from pruneir.pipeline.passes import Context
from pruneir.pipeline.registry import parse_pass

ROOT = Path(__file__).parents[1]
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs/codes").glob("PIR*.md"))}


def block(page: str, *languages: str) -> tuple[str, str]:
    """The page's first block in one of these languages, and which it is."""
    found = re.search(rf"```({'|'.join(languages)})\n(.*?)```", page, re.DOTALL)
    assert found, "no example"
    return found[2].rstrip("\n"), found[1]


def example(page: str) -> Graph:
    """The network; constants of the onnx form, which states their shapes only, are zero."""
    source, language = block(page, "net", "onnx")
    if language == "net":
        return parse(source)
    model = onnx.parser.parse_model(source)
    for value in model.graph.value_info:
        array = np.zeros([dim.dim_value for dim in value.type.tensor_type.shape.dim], np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    return load(model)


def given(graph: Graph, code: str) -> list[Refusal]:
    """What holds channels of a graph but its interface, or what fold-bn leaves where the code is one of its."""
    if code >= "PIR020":
        return list(parse_pass("fold-bn").run(graph, Context(graph)).refusals)
    coupling = couple(graph)
    held = [reason for reason in locks(coupling) if code == "PIR001" or reason.code != "PIR001"]
    sides = [side for layer in layers(coupling) for side in (layer.outputs, layer.inputs)]
    return held or [reason for side in sides for reason in side.reasons if reason.code != "PIR001"]


def test_every_code_in_the_source_has_a_page() -> None:
    sources = [path for folder in ("pruneir", "passes", "backends") for path in (ROOT / folder).rglob("*.py")]
    used = {code for path in sources for code in re.findall(r"PIR\d{3}", path.read_text())}
    assert used == set(PAGES)


@pytest.mark.parametrize("code", PAGES)
def test_the_example_gives_the_code(code: str) -> None:
    page = PAGES[code]
    reasons = given(example(page), code)
    assert {reason.code for reason in reasons} == {code}
    says, _ = block(page, "says")
    assert says in {f"{reason.node}: {reason}" for reason in reasons if reason.code == code}
    assert all(heading in page for heading in ("## Example", "## Why it is left alone", "## What to do"))


def test_training_mode_has_one_code_in_folding_and_coupling() -> None:
    assert {refusal.code for refusal in couple(example(PAGES["PIR024"])).traced.refusals} == {"PIR024"}


def test_the_index_lists_every_page_under_its_title() -> None:
    index = (ROOT / "docs/codes/README.md").read_text()
    titles = {code: page.partition("\n")[0].removeprefix(f"# {code}: ") for code, page in PAGES.items()}
    assert dict(re.findall(r"\| \[(PIR\d{3})\]\(\1\.md\) \| (.+) \|", index)) == titles
