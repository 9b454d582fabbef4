from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from pruneir.api import optimize_by
from pruneir.data import Scaling
from pruneir.errors import PruneirError
from pruneir.graph import parse
from pruneir.passes.train import Train
from pruneir.pipeline import GroupRow, Recipe, Step, parse_pass, parse_recipe, read_recipe
from pruneir.pipeline.recipe_schema import json_schema

pytestmark = pytest.mark.usefixtures("tiny_passes")


def full() -> Recipe:
    return Recipe(
        steps=(Step(parse_pass("shave{names=[a],cap=0.1}"), {"a*": 0.25}), Step(parse_pass("shave{mode=hard}"))),
        fold=False,
        target="cortex-m4",
        keep=("st*m", 'quo"te', "new\nline", "back\\slash", "ü\x7f"),
        keep_inputs=("k",),
        only=("o", "p"),
        ratios={"/layer 1/Conv": 0.3, "plain": 1.0},
        input_shapes={"x:0": ("N", 3, 8, 8)},
        scaling=Scaling(1 / 255, (0.5,), (0.25, 0.5), "crop", "bgr"),
        seed=7,
    )


def test_a_recipe_reads_back() -> None:
    assert parse_recipe(full().to_toml()) == full()
    assert parse_recipe(Recipe().to_toml()) == Recipe()
    assert parse_recipe("") == Recipe()


def test_what_is_written_is_toml_with_every_option() -> None:
    table = tomllib.loads(full().to_toml())["pass"][0]
    assert table["name"] == "shave"
    assert {"ratio", "mode", "count", "cap", "deep", "names"} < table.keys()
    assert table["ratios"] == {"a*": 0.25}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 2048, 1_000_003])
def test_a_resolved_share_means_the_same_count(size: int) -> None:
    recipe = Recipe(steps=(Step(parse_pass("shave")),))
    for cut in {0, 1, size // 3, size // 2, size - 1}:
        shares = recipe.resolved([[GroupRow("g[0]*", (), size, size - cut, 0, 0)]]).steps[0].ratios
        assert [int(size * share + 1e-9) for share in shares.values()] == [cut]
        assert list(shares) == ["g[[]0][*]"]


def test_a_single_text_or_number_is_a_list_of_one() -> None:
    recipe = parse_recipe('keep = "a"\n[data]\nmean = 0.5\n')
    assert recipe == replace(Recipe(), keep=("a",), scaling=Scaling(None, (0.5,), ()))


def test_the_passes_of_a_chain_name_one_file_of_anchors() -> None:
    def anchors(*files: str) -> str | None:
        return Recipe((Step(Train()), *(Step(Train(anchors=file)) for file in files))).anchors_file

    assert [anchors(), anchors("a.npy"), anchors("a.npy", "./a.npy")] == [None, "a.npy", "a.npy"]
    with pytest.raises(PruneirError, match=r"anchors are named in a\.npy, b\.npy; give one file"):
        anchors("a.npy", "b.npy")


def test_all_mistakes_at_once() -> None:
    text = 'tagret = "x86"\nseed = -1\n[ratio]\na = 2\n[data]\nscael = 1\nresize = "fit"\n[[pass]]\nratio = 0.5\n'
    with pytest.raises(PruneirError) as caught:
        parse_recipe(text)
    for part in (
        "'tagret'; did you mean target?",
        "seed: ",
        "ratio.a: ",
        "'data.scael'; did you mean scale?",
        "data.resize: input should be 'stretch' or 'crop'",
        "pass.0.name",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["seed = true", 'fold = "yes"', "fold = 1", "[schedule]\nrounds = true", '[ratio]\na = "0.5"']
)
def test_what_is_of_another_type_is_not_guessed(text: str) -> None:
    with pytest.raises(PruneirError, match="input should be a valid"):
        parse_recipe(text)


@pytest.mark.parametrize("size", ["0", "-1", "true", '""', "99999999999999999999"])
def test_a_size_that_no_axis_has(size: str) -> None:
    graph = parse("x[N,3] -> y { y = Relu(x) }")
    with pytest.raises(PruneirError, match=r"input_shape\.x|--input-shape: 'x' cannot have an axis of"):
        optimize_by(parse_recipe(f"[input_shape]\nx = [{size}, 3]"), graph)


def test_a_mark_of_the_byte_order_may_go_before(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert read_recipe(tmp_path / "r.toml").seed == 3


def test_all_mistakes_of_passes_at_once() -> None:
    text = 'target = "x68"\n[[pass]]\nname = "shav"\n[[pass]]\nname = "shave"\nratoi = 1\n[data]\nstd = 0\n'
    with pytest.raises(PruneirError) as caught:
        parse_recipe(text)
    for part in ("did you mean shave?", "did you mean ratio?", "no target 'x68'", "standard deviation of 0"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a = ", "not TOML"), (b"\xff\xfe", "not a text file"), (None, "no such recipe")],
)
def test_files_that_are_no_recipes(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PruneirError, match=message):
        read_recipe(path)


def test_the_schema_knows_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pruneir.pipeline.registry.names", lambda: ["fold", "shave"])
    schema = json_schema()
    tables = schema["properties"]["pass"]["items"]["oneOf"]
    assert [table["properties"]["name"]["const"] for table in tables] == ["fold", "shave"]
    assert tables[1]["properties"]["mode"]["enum"] == ["soft", "hard"]
