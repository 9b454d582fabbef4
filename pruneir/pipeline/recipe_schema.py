"""The recipe's file form as a pydantic model: all mistakes at once, and a JSON schema for editors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from pruneir.data import Scaling
from pruneir.errors import PruneirError
from pruneir.names import did_you_mean
from pruneir.pipeline import registry
from pruneir.pipeline.fields import Word
from pruneir.pipeline.recipe import Recipe, Step
from pruneir.targets import target as target_of

Share = Annotated[float, Field(ge=0, le=1)]
T = TypeVar("T")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DataTable(_Strict):
    """`[data]`: how raw samples become the network's input: images resized, then (x · scale − mean) / std."""

    scale: float | None = None
    mean: float | list[float] = []
    std: float | list[float] = []
    resize: Literal["stretch", "crop"] = "stretch"
    order: Literal["rgb", "bgr"] = "rgb"


class ScheduleTable(_Strict):
    """`[schedule]`: how often the passes run, and how many points of the validation score that may cost."""

    rounds: Annotated[int, Field(ge=1)] = 1
    max_drop: Annotated[float, Field(ge=0)] | None = None


class PassTable(BaseModel):
    """`[[pass]]`: a pass by name, with its options beside."""

    model_config = ConfigDict(extra="allow", strict=True)
    name: str
    ratios: dict[str, Share] = {}


class RecipeFile(_Strict):
    """A recipe."""

    fold: bool = True
    target: str = "any"
    keep: str | list[str] = []
    keep_inputs: str | list[str] = []
    only: str | list[str] = []
    ratio: dict[str, Share] = {}
    input_shape: dict[str, list[int | str]] = {}
    data: DataTable = DataTable()
    seed: Annotated[int, Field(ge=0)] = 0
    anchors: str | None = None
    schedule: ScheduleTable = ScheduleTable()
    passes: Annotated[list[PassTable], Field(alias="pass")] = []


def validated(given: dict[str, Any]) -> Recipe:
    """The recipe of a parsed TOML file."""
    try:
        file = RecipeFile.model_validate(given)
    except ValidationError as error:
        raise PruneirError("; ".join(_shown(each) for each in error.errors())) from None
    problems: list[str] = []
    steps = [_tried(problems, _step, table) for table in file.passes]
    _tried(problems, target_of, file.target)
    scaling = _tried(problems, _scaling, file.data)
    if problems:
        raise PruneirError("; ".join(problems))
    return Recipe(
        steps=tuple(step for step in steps if step is not None),
        fold=file.fold,
        target=file.target,
        keep=_listed(file.keep),
        keep_inputs=_listed(file.keep_inputs),
        only=_listed(file.only),
        ratios=file.ratio,
        input_shapes={name: tuple(shape) for name, shape in file.input_shape.items()},
        scaling=scaling or Scaling(),
        seed=file.seed,
        rounds=file.schedule.rounds,
        max_drop=file.schedule.max_drop,
        anchors=file.anchors,
    )


def json_schema() -> dict[str, Any]:
    """A JSON schema of recipes, with the options of every pass that is installed."""
    schema = RecipeFile.model_json_schema()
    tables = []
    for name in registry.names():
        fields: dict[str, Any] = {o.name: (o.kind, o.value) for o in registry.options(registry.get(name))}
        table = create_model(name, __base__=_Strict, ratios=(dict[str, Share], {}), **fields).model_json_schema()
        table["properties"]["name"] = {"const": name}
        table["required"] = [*table.get("required", []), "name"]
        tables.append({**table, "description": registry.summary(registry.get(name))})
    schema["properties"]["pass"]["items"] = {"oneOf": tables}
    schema.get("$defs", {}).pop("PassTable", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _step(table: PassTable) -> Step:
    extra = {key: Word(v) if isinstance(v, str) else v for key, v in (table.model_extra or {}).items()}
    return Step(registry.make(table.name, extra), table.ratios)


def _scaling(table: DataTable) -> Scaling:
    return Scaling(table.scale, _listed(table.mean), _listed(table.std), table.resize, table.order)


def _listed(given: T | list[T]) -> tuple[T, ...]:
    return tuple(given) if isinstance(given, list) else (given,)


def _tried(problems: list[str], make: Callable[[Any], T], given: Any) -> T | None:
    """What `make` makes of it; what it complains of goes to the problems."""
    try:
        return make(given)
    except PruneirError as error:
        problems.append(str(error))
        return None


def _shown(error: Any) -> str:
    """One of pydantic's findings, in a few words."""
    *inside, last = [str(part) for part in error["loc"] if part not in ("str", "float", "list[str]", "list[float]")]
    where = ".".join([*inside, last])
    if error["type"] == "extra_forbidden":
        tables: dict[str, type[BaseModel]] = {"data": DataTable, "schedule": ScheduleTable}
        table = tables.get(".".join(inside), RecipeFile)
        known = [field.alias or name for name, field in table.model_fields.items()]
        return f"unknown key '{where}'; {did_you_mean(last, known, 'keys are')}"
    return f"{where}: {error['msg'][0].lower()}{error['msg'][1:]}"
