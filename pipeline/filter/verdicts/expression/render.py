"""From a tree back to text in one form: equal expressions have equal texts, whatever blanks they were written with."""

from __future__ import annotations

import re

from pipeline.filter.verdicts.expression.parse import Among, Call, Column, Compare, Literal, Logic, Node

_PLAIN = re.compile(r"\w+\Z")


def render(node: Node) -> str:
    """The text of a tree; parsing it gives the tree again."""
    match node:
        case Literal():
            return _literal(node.value)
        case Column():
            return ".".join(part if _PLAIN.match(part) else f"`{part}`" for part in node.name.split("."))
        case Compare():
            return f"{_inner(node.left)} {node.operator} {_inner(node.right)}"
        case Among():
            return f"{_inner(node.item)} in [{', '.join(render(choice) for choice in node.choices)}]"
        case Logic(operator="not"):
            return f"not {_inner(node.operands[0])}"
        case Logic():
            return f" {node.operator} ".join(_inner(operand) for operand in node.operands)
        case Call(name="neg"):
            return f"-{_inner(node.arguments[0])}"
        case Call() if node.name in "+-*/":
            return f"{_inner(node.arguments[0])} {node.name} {_inner(node.arguments[1])}"
        case Call():
            return f"{node.name}({', '.join(map(render, node.arguments))})"
    raise AssertionError(node)


def _inner(node: Node) -> str:
    """Brackets around everything that binds less than a function."""
    whole = isinstance(node, Literal | Column) or (isinstance(node, Call) and node.name[0].isalpha())
    whole = whole and not (isinstance(node, Call) and node.name == "neg" and not isinstance(node.arguments[0], Literal))
    return render(node) if whole else f"({render(node)})"


def _literal(value: float | int | str | bool | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}'" if '"' in value else f'"{value}"'
    return repr(value)
