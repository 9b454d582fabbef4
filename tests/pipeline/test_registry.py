from __future__ import annotations

import pytest

from pruneir.errors import PruneirError
from pruneir.pipeline import parse_pass, registry

pytestmark = pytest.mark.usefixtures("tiny_passes")

ROUND_TRIPS = [
    "shave",
    "shave{ratio=0.25}",
    "shave{mode=hard,count=7,deep=true}",
    "shave{cap=0.5}",
    'shave{names=[a,"b c","[d]"]}',
    r'shave{names=["quote \" and \\"]}',
]

READS = {
    "shave{}": "shave",
    " shave { ratio = 1e-1 } ": "shave{ratio=0.1}",
    "shave{cap=none}": "shave",
    "shave{cap=NONE,deep=True}": "shave{deep=true}",
    "shave{names=a}": "shave{names=[a]}",
    "shave{names=[]}": "shave",
    "shave{mode='hard'}": "shave{mode=hard}",
    "shave{ratio=1}": "shave{ratio=1.0}",
}

ERRORS = {
    "shav": "unknown pass 'shav'; did you mean shave?",
    "zzz": "unknown pass 'zzz'; passes are broken, fold, shave, spoil",
    "broken": "pass 'broken' cannot be loaded from tests:Kind: no module named 'nowhere'",
    "shave{ratoi=1}": "pass shave: no option 'ratoi'; did you mean ratio?",
    "shave{q=1}": "pass shave: no option 'q'; its options are ratio, mode, count, cap, deep, names, honest",
    "fold{q=1}": "pass fold: no option 'q'; it has no options",
    "shave{ratio=much}": "pass shave: ratio takes a number, not 'much'",
    "shave{count=1.5}": "pass shave: count takes an integer, not '1.5'",
    "shave{cap=x}": "pass shave: cap takes a number or none, not 'x'",
    "shave{deep=1}": "pass shave: deep takes true or false, not '1'",
    "shave{mode=harder}": "pass shave: mode takes one of soft, hard, not 'harder'; did you mean hard?",
    "shave{ratio=2}": "pass shave: ratio=2 is more than 1",
    "shave{ratio=0.5": "expected `,` or `}`, found the end",
    "shave{ratio}": "expected `=`, found `}`",
    "shave{ratio=}": "expected a value, found `}`",
    "shave{ratio=1}x": "expected the end, found `x`",
    "shave{ratio=1,ratio=2}": "option 'ratio' is given twice",
    "shave{names='a}": "the quote at character 13 is not closed",
    "": "expected a pass's name, found the end",
}


@pytest.mark.parametrize("text", ROUND_TRIPS)
def test_a_pass_reads_back_as_it_is_written(text: str) -> None:
    assert str(parse_pass(text)) == text


@pytest.mark.parametrize(("text", "written"), READS.items())
def test_words_mean_what_the_field_asks(text: str, written: str) -> None:
    assert str(parse_pass(text)) == written


@pytest.mark.parametrize(("text", "message"), ERRORS.items())
def test_mistakes_are_named_in_one_line(text: str, message: str) -> None:
    with pytest.raises(PruneirError) as caught:
        parse_pass(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_typed_values_are_not_words() -> None:
    assert registry.make("shave", {"ratio": 0.25, "names": ["a"], "cap": None}) == parse_pass(
        "shave{ratio=0.25,names=[a]}"
    )
    with pytest.raises(PruneirError, match="ratio takes a number, not 'True'"):
        registry.make("shave", {"ratio": True})
    with pytest.raises(PruneirError, match="ratio takes a number"):
        registry.make("shave", {"ratio": "0.5"})


def test_a_pass_documents_itself() -> None:
    kind = registry.get("shave")
    options = {o.name: (o.takes, o.default) for o in registry.options(kind)}
    assert options["mode"] == ("one of soft, hard", "soft")
    assert options["cap"] == ("a number or none", "none")
    assert options["names"] == ("a list [a,b], each a text", "[]")
    assert registry.summary(registry.get("fold")) == "Does nothing, without loss. A second sentence."
