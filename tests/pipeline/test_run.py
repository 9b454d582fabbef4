from __future__ import annotations

from typing import Any

import pytest

from pruneir import api
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.pipeline import Context, Recipe, Result, Step, parse_pass
from pruneir.pipeline.outcome import Outcome
from pruneir.pipeline.run import run

pytestmark = pytest.mark.usefixtures("tiny_passes")

NET = "x[N,3,4,4] -> y { a = Conv(x, v[4,3,1,1]); r = Relu(a); y = Conv(r, w[5,4,1,1]) }"


def chain(*passes: str, verify: bool = True, **settings: object) -> Outcome:
    recipe = Recipe(steps=tuple(Step(parse_pass(text)) for text in passes), **settings)  # type: ignore[arg-type]
    return run(parse(NET), recipe, verify=verify)


def names(outcome: Outcome) -> list[str]:
    return [record.step.what.name for record in outcome.records]


def test_the_clean_up_runs_first_unless_it_does_already_or_is_switched_off() -> None:
    assert names(chain("shave")) == ["fold", "shave"]
    assert names(chain("fold", "shave")) == ["fold", "shave"]
    assert names(chain("shave", "fold")) == ["fold", "shave", "fold"]
    assert names(chain("shave", fold=False)) == ["shave"]
    assert names(chain()) == ["fold"]


def test_each_pass_gets_the_graph_as_it_is_and_the_plan_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Graph, Context]] = []
    kind = type(parse_pass("shave"))
    original = kind.run

    def spy(self: object, graph: Graph, context: Context) -> Result:
        seen.append((graph, context))
        return original(self, graph, context)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "run", spy)
    outcome = chain("shave", "shave{ratio=0.25}", verify=False)
    (first, before), (second, after) = seen
    assert first is before.original is after.original
    assert second is not first
    assert before.plan.passes == ("fold",)
    assert after.plan.passes == ("fold", "shave")
    assert outcome.plan.changed == {"w"}


def test_a_pass_is_held_to_its_word() -> None:
    good, bad, lie = chain("shave"), chain("shave{honest=false}"), chain("spoil{honest=false}")
    assert good.ok
    assert not bad.ok
    assert not lie.ok
    assert good.drift is not None
    assert good.drift.worst == pytest.approx(0.5)


def test_without_verification_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.InferenceSession", None)
    outcome = chain("shave{honest=false}", verify=False)
    assert outcome.ok
    assert outcome.drift is None


def test_nothing_to_prune_is_a_warning_with_reasons() -> None:
    (warning,) = chain("shave{ratio=0}").warnings
    assert warning == "shave: nothing to prune: kept by --keep"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"keep": ("rr*",)}, "--keep: nothing is called 'rr*'"),
        ({"keep_inputs": ("q",)}, "--keep-inputs: nothing"),
        ({"only": ("zz",)}, "--only: nothing"),
        ({"ratios": {"zz": 0.5}}, "--ratio: nothing"),
        ({"target": "cortex-m5"}, "did you mean cortex-m55"),
    ],
)
def test_globs_must_match(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(PruneirError, match=message.replace("*", r"\*")):
        chain("shave", **setting)


@pytest.mark.parametrize("glob", ["a", "w", "x", "?", "[vw]"])
def test_globs_match_nodes_and_tensors(glob: str) -> None:
    chain("shave", keep=(glob,), verify=False)


def test_rows_join_over_a_chain() -> None:
    (row,) = chain("shave", "shave", verify=False).rows
    assert (row.channels_before, row.channels_after) == (4, 2)


def test_an_exception_says_which_pass_it_came_from() -> None:
    recipe = Recipe(steps=(Step(parse_pass("shave")),))
    with pytest.raises(KeyError) as caught:
        run(parse("x[N,4] -> y { y = Relu(x) }"), recipe, verify=False)
    assert caught.value.__notes__ == ["in pass shave, after fold"]


def test_a_run_replays_from_its_resolved_recipe() -> None:
    first = chain("shave", ratios={"a": 0.75}, verify=False)
    again = run(parse(NET), first.resolved, verify=False)
    assert first.resolved.ratios == {}
    assert again.rows == first.rows
    assert again.resolved == first.resolved


def test_the_input_is_not_changed_and_the_output_says_how_it_was_made() -> None:
    graph = parse(NET)
    made = api.optimize(graph, ["shave"], verify=False)
    props = {entry.key: entry.value for entry in made.model.metadata_props}
    assert 'name = "shave"' in props["pruneir.recipe"]
    assert props.keys() == {"pruneir.recipe", "pruneir.version"}
    assert not graph.header.metadata_props
    assert (graph.initializers["w"] != made.graph.initializers["w"]).any()
