"""Options that leave each other without effect: never silently, however a pass is written down."""

from __future__ import annotations

import pytest

from pruneir.errors import PruneirError
from pruneir.pipeline import Recipe, Step, parse_pass, parse_recipe
from pruneir.training.options import Training

CLASHES = {
    "ssd{params=0.5,cut_tolerance=9}": "pass ssd: params is instead of cut_tolerance; give only one of them",
    "ssd{zeros=0.5,cut_tolerance=9}": "pass ssd: zeros is instead of cut_tolerance",
    "ssd{zeros=0.5,params=0.5}": "pass ssd: zeros is instead of params",
    "ssd{l1_weights=0,l1_at=a}": "pass ssd: l1_at has no effect without l1_weights",
    "slim{ratio=0.3,macs=0.5}": "pass slim: macs is instead of ratio",
    "magnitude{quality=1,sparsity=0.9}": "pass magnitude: quality is instead of sparsity",
    "magnitude{quality=1,of=left}": "pass magnitude: quality is instead of of",
    'magnitude{pattern="2:4",scope=local}': "pass magnitude: pattern is instead of scope",
    'magnitude{pattern="2:4",qualities=["a=1"]}': "pass magnitude: pattern is instead of qualities",
    "scalpel{penalty=0.1}": "pass scalpel: penalty has no effect without epochs; give that too, or leave penalty out",
    "scalpel{level=high,width=4}": "pass scalpel: width has no effect without level=auto or low or moderate",
    "integral{sample=0.2}": "pass integral: sample has no effect without threshold=sampled",
    "repair{reconstruct=none,damping=0.1}": "pass repair: damping has no effect without reconstruct=least-squares or",
    "train{optimizer=adamw,momentum=0.5}": "pass train: momentum has no effect without optimizer=sgd",
    "train{gamma=0.5}": "pass train: gamma has no effect without schedule=step",
    "train{l1_at=conv1}": "pass train: l1_at has no effect without l1_weights",
    "train{dropout_at=fc1}": "pass train: dropout_at has no effect without dropout",
    "train{labelled=y,loss=distill}": "pass train: labelled has no effect without loss=auto or cross-entropy or mse",
    'train{loss="losses:focal",distill=0.5}': "train: losses:focal gets the teacher's outputs itself",
}


@pytest.mark.parametrize(("text", "told"), CLASHES.items(), ids=CLASHES)
def test_on_the_command_line_and_in_a_recipe(text: str, told: str) -> None:
    name, _, options = text.removesuffix("}").partition("{")
    lines = [part.replace("=", " = ", 1) for part in options.split(",")]
    quoted = [line if line.split(" = ")[1][0] in '"[0123456789' else line.replace("= ", '= "') + '"' for line in lines]
    for write in (lambda: parse_pass(text), lambda: parse_recipe("\n".join(["[[pass]]", f'name = "{name}"', *quoted]))):
        with pytest.raises(PruneirError) as caught:
            write()
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)


GIVEN = {
    "ssd{params=0.5,cut_tolerance=20}": "params is instead of cut_tolerance",
    "slim{ratio=0.5,macs=0.5}": "macs is instead of ratio",
    "train{optimizer=adamw,momentum=0.9}": "momentum has no effect",
}


@pytest.mark.parametrize(("text", "told"), GIVEN.items(), ids=GIVEN)
def test_what_is_written_counts_with_its_default_too(text: str, told: str) -> None:
    with pytest.raises(PruneirError, match=told):
        parse_pass(text)


@pytest.mark.parametrize("text", ["ssd{params=0.5}", "slim{macs=0.5}", "train{optimizer=adamw}", "scalpel{level=high}"])
def test_a_recipe_with_every_option_may_be_read(text: str) -> None:
    recipe = Recipe((Step(parse_pass(text)),))
    assert parse_recipe(recipe.to_toml()) == recipe


def test_options_of_the_verb_train() -> None:
    with pytest.raises(PruneirError, match="train: momentum has no effect without optimizer=sgd"):
        Training(optimizer="adamw", momentum=0.5)
