"""Walks through trees: the columns they speak of, and trees with other columns in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pipeline.filter.verdicts.expression.parse import Among, Call, Column, Compare, Logic, Node


def children(node: Node) -> tuple[Node, ...]:
    """The trees directly below."""
    match node:
        case Compare():
            return (node.left, node.right)
        case Among():
            return (node.item,)
        case Logic():
            return node.operands
        case Call():
            return node.arguments
    return ()


def nodes_of(node: Node) -> Iterator[Node]:
    """The tree itself and all below it."""
    yield node
    for child in children(node):
        yield from nodes_of(child)


def columns_of(node: Node) -> set[str]:
    """The columns that a tree speaks of."""
    return {found.name for found in nodes_of(node) if isinstance(found, Column)}


def renamed(node: Node, columns: Mapping[str, str]) -> Node:
    """The tree with other columns: a full name first, else its table (`clip` for `clip.similarity`)."""
    match node:
        case Column(name=name):
            table, _, column = name.partition(".")
            other = columns.get(name) or (f"{columns[table]}.{column}" if table in columns else name)
            return replace(node, name=other)
        case Compare():
            return replace(node, left=renamed(node.left, columns), right=renamed(node.right, columns))
        case Among():
            return replace(node, item=renamed(node.item, columns))
        case Logic():
            return replace(node, operands=tuple(renamed(operand, columns) for operand in node.operands))
        case Call():
            return replace(node, arguments=tuple(renamed(argument, columns) for argument in node.arguments))
    return node
