"""Walking through lowered TIR: statements that store, and the loads of an expression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tvm.tirx import stmt as st

_INSIDE = ("a", "b", "condition", "true_value", "false_value", "value", "body")


def leaves(statement: Any) -> Iterator[Any]:
    """Every store and evaluation under a statement."""
    if isinstance(statement, st.SeqStmt):
        for each in statement.seq:
            yield from leaves(each)
    elif isinstance(statement, st.IfThenElse):
        yield from leaves(statement.then_case)
        if statement.else_case is not None:
            yield from leaves(statement.else_case)
    elif isinstance(statement, (st.For, st.AttrStmt)):
        yield from leaves(statement.body)
    elif isinstance(statement, (st.BufferStore, st.Evaluate)):
        yield statement


def stores(statement: Any) -> Iterator[Any]:
    """Every store under a statement."""
    return (leaf for leaf in leaves(statement) if isinstance(leaf, st.BufferStore))


def reads(statement: Any) -> Iterator[tuple[Any, Any]]:
    """Every load under a statement, with the store or evaluation that it is for."""
    for leaf in leaves(statement):
        for expression in (*getattr(leaf, "indices", ()), leaf.value):
            for load in loads(expression):
                yield leaf, load


def loads(expression: Any) -> Iterator[Any]:
    """Every load in an expression, those of an index first."""
    if hasattr(expression, "indices") and hasattr(expression, "source"):
        for index in expression.indices:
            yield from loads(index)
        yield expression
        return
    children = list(expression.args) if hasattr(expression, "args") else []
    children += [getattr(expression, name) for name in _INSIDE if hasattr(expression, name)]
    for child in children:
        yield from loads(child)
