"""Passes, plans and recipes: what is done to a network, in which order, and what came of it."""

from pruneir.pipeline.passes import Context, Couplings, GroupRow, Pass, Result
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.recipe import Recipe, Step
from pruneir.pipeline.recipe_file import parse_recipe, read_recipe
from pruneir.pipeline.registry import parse_pass

__all__ = [
    "Context",
    "Couplings",
    "GroupRow",
    "Pass",
    "Plan",
    "Recipe",
    "Result",
    "Step",
    "parse_pass",
    "parse_recipe",
    "read_recipe",
]
