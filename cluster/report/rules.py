"""The rules of a dataset's verdict as the page says them: their text, the columns they look at, the lines they draw.

Reads the recipe in dataset.json. Every comparison of a column with a number becomes a line, wherever it stands in a
rule's expression; so does one with a number of the whole dataset (`top`, `quantile`), where that has been found. Where
this pairmill cannot read the rules, such as of a rule set that is no longer there, text is shown and no line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from typing import Literal as Choice

from cluster.report.words import number
from pipeline.errors import RecipeError
from pipeline.filter.verdicts.expression.parse import Call, Column, Compare, ExpressionError, Literal, Logic, Node
from pipeline.filter.verdicts.expression.render import render
from pipeline.filter.verdicts.expression.tree import columns_of, nodes_of
from pipeline.filter.verdicts.rules import Rule, VerdictConfig
from pipeline.recipe import check

_TURNED = {">=": "<=", "<=": ">=", ">": "<", "<": ">"}
SIGNS = {">=": "≥", "<=": "≤", ">": ">", "<": "<"}


@dataclass(frozen=True)
class Line:
    """A threshold: rows pass where `column mark number`."""

    rule: str
    column: str
    mark: str
    number: float
    weight: Choice["needed", "part"] = "needed"
    """`needed`: no row passes the rule without it. `part`: it stands under `or`, `not` or a function."""

    def __str__(self) -> str:
        return f"{SIGNS[self.mark]} {number(self.number)}"


@dataclass(frozen=True)
class RuleView:
    """A rule: what it is called, what it keeps, and what it looks at."""

    name: str
    text: str
    columns: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()


def rules_of(recipe: Mapping[str, Any], wholes: Mapping[str, float] | None = None) -> tuple[RuleView, ...]:
    """The rules in the order in which they claim rows.

    Args:
        wholes: numbers of the whole dataset by their text, such as `top(clip.similarity, 0.3)`.
    """
    verdict = recipe.get("verdict")
    if not isinstance(verdict, Mapping):
        return ()
    try:
        rules = check(VerdictConfig, verdict, where="dataset.json").all_rules()
    except (RecipeError, ValueError):
        return tuple(_unread(rule) for rule in verdict.get("rules") or () if isinstance(rule, Mapping))
    return tuple(_view(rule, wholes or {}) for rule in rules)


def _view(rule: Rule, wholes: Mapping[str, float]) -> RuleView:
    try:
        root = rule.condition()
    except ExpressionError:
        return RuleView(rule.name, rule.keep or "")
    bounds = {">=": rule.min, "<=": rule.max}
    text = " and ".join(f"{rule.column} {SIGNS[mark]} {number(x)}" for mark, x in bounds.items() if x is not None)
    lines = _lines(rule.name, root, wholes)
    return RuleView(rule.name, rule.keep or text, tuple(_in_order(root)), tuple(dict.fromkeys(lines)))


def _lines(rule: str, root: Node, wholes: Mapping[str, float]) -> list[Line]:
    found = []
    needed = list(_needed(root))
    for node in nodes_of(root):
        if isinstance(node, Compare) and node.operator in SIGNS:
            for column, other, mark in ((node.left, node.right, node.operator), (node.right, node.left, "")):
                bound = _number(other, wholes)
                if isinstance(column, Column) and bound is not None:
                    weight: Choice["needed", "part"] = "needed" if any(node is one for one in needed) else "part"
                    found.append(Line(rule, column.name, mark or _TURNED[node.operator], bound, weight))
    return found


def _needed(node: Node) -> Iterator[Node]:
    """The conditions that all have to hold."""
    if isinstance(node, Logic) and node.operator == "and":
        for operand in node.operands:
            yield from _needed(operand)
    else:
        yield node


def _number(node: Node, wholes: Mapping[str, float]) -> float | None:
    """The number that a tree stands for, where it is one."""
    match node:
        case Literal(value=bool()) | Literal(value=None) | Literal(value=str()):
            return None
        case Literal(value=value):
            return float(value)  # type: ignore[arg-type]
        case Call(name="neg"):
            inner = _number(node.arguments[0], wholes)
            return None if inner is None else -inner
        case Call():
            return wholes.get(render(node))
    return None


def _in_order(root: Node) -> list[str]:
    """The columns of a tree as they come in its text."""
    text = render(root)
    return sorted(columns_of(root), key=lambda name: (text.find(name), name))


def _unread(rule: Mapping[str, Any]) -> RuleView:
    bounds = [f"{mark} {rule[name]}" for name, mark in (("min", "≥"), ("max", "≤")) if rule.get(name) is not None]
    text = rule.get("keep") or f"{rule.get('column')} {' and '.join(bounds)}"
    return RuleView(str(rule.get("name")), str(text))
