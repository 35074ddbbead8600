"""From a tree to an `Expression`: every column known, every kind right, every threshold inside its column's range.

What is found is what a run needs to know before it starts: which columns to read and as what, and which numbers of
the whole dataset (`quantile`, `top`) have to be there first. Columns of the list itself, `list.<column>`, have no
declared kind: how an expression uses one says what it is read as.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa

from pipeline.errors import nearest
from pipeline.filter.ranges import Range, range_of
from pipeline.filter.verdicts.expression.parse import (
    Among,
    Call,
    Column,
    Compare,
    Literal,
    Logic,
    Node,
    parse,
    wrong,
)
from pipeline.filter.verdicts.expression.render import render

LIST_TABLE = "list"
"""The table whose columns are those of the published list, out of the record's `meta`."""


class Kind(StrEnum):
    """What a value is."""

    NUMBER = "a number"
    BOOLEAN = "true or false"
    TEXT = "a text"
    LIST = "a list"
    NULL = "null"
    OTHER = "of another kind"
    ANY = "of any kind"


@dataclass(frozen=True)
class Signature:
    """The kinds that a function takes; `more` allows the last one again and again. `literal` arguments are written."""

    takes: tuple[Kind, ...]
    gives: Kind
    more: bool = False
    literal: int | None = None
    """The argument that has to be a literal, from 0."""


_NUMBER_PAIR = Signature((Kind.NUMBER, Kind.NUMBER), Kind.NUMBER)
_TEXT_TEST = Signature((Kind.TEXT, Kind.TEXT), Kind.BOOLEAN, literal=1)
FUNCTIONS = {
    "+": _NUMBER_PAIR,
    "-": _NUMBER_PAIR,
    "*": _NUMBER_PAIR,
    "/": _NUMBER_PAIR,
    "neg": Signature((Kind.NUMBER,), Kind.NUMBER),
    "abs": Signature((Kind.NUMBER,), Kind.NUMBER),
    "min": Signature((Kind.NUMBER,), Kind.NUMBER, more=True),
    "max": Signature((Kind.NUMBER,), Kind.NUMBER, more=True),
    "len": Signature((Kind.ANY,), Kind.NUMBER),
    "lower": Signature((Kind.TEXT,), Kind.TEXT),
    "contains": _TEXT_TEST,
    "starts_with": _TEXT_TEST,
    "ends_with": _TEXT_TEST,
    "is_null": Signature((Kind.ANY,), Kind.BOOLEAN),
    "coalesce": Signature((Kind.ANY,), Kind.ANY, more=True),
    "if_else": Signature((Kind.BOOLEAN, Kind.ANY, Kind.ANY), Kind.ANY),
    "draw": Signature((Kind.TEXT,), Kind.NUMBER, literal=0),
    "quantile": Signature((Kind.NUMBER, Kind.NUMBER), Kind.NUMBER, literal=1),
    "top": Signature((Kind.NUMBER, Kind.NUMBER), Kind.NUMBER, literal=1),
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
WHOLE = ("quantile", "top")
"""Functions whose value is one number of the whole dataset."""
_NAMED = [name for name in FUNCTIONS if name.isidentifier() and name != "neg"]


@dataclass(frozen=True)
class Threshold:
    """A number that a column is compared with, for reports: `column operator number`."""

    column: str
    operator: str
    number: float


@dataclass(frozen=True)
class Whole:
    """A number of the whole dataset: `function` of the values of `argument` at `share`."""

    function: str
    argument: Node
    share: float

    @property
    def key(self) -> str:
        """Its text, which is its name."""
        return f"{self.function}({render(self.argument)}, {self.share!r})"


@dataclass(frozen=True)
class Expression:
    """A checked expression."""

    text: str
    root: Node
    kind: Kind
    columns: Mapping[str, Kind]
    """Columns to read, and as what."""
    wholes: tuple[Whole, ...]
    """Numbers of the whole dataset that it needs, those inside none of each other."""
    thresholds: tuple[Threshold, ...]
    """Numbers that columns are compared with as they are written."""


@dataclass(frozen=True)
class Known:
    """What expressions may speak of."""

    columns: Mapping[str, pa.Field]
    """`<scorer>.<column>` -> its field."""
    offers: Mapping[str, str] = field(default_factory=dict)
    """Scorer that the recipe leaves off -> how to turn it on."""


def compile_expression(text: str, want: Kind, known: Known) -> Expression:
    """Parse and check an expression that has to give `want`.

    Raises: ExpressionError: at which character, what was found, what was wanted, and the nearest right thing.
    """
    return checked(parse(text), text, want, known)


def checked(root: Node, text: str, want: Kind, known: Known) -> Expression:
    """Check a tree; `text` is what people are shown."""
    checker = _Checker(known)
    kind = checker.need(root, want)
    return Expression(text, root, kind, checker.kinds(), tuple(checker.wholes.values()), tuple(checker.thresholds))


def kind_of(type_: pa.DataType) -> Kind:
    """What a column of an Arrow type holds."""
    if pa.types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if pa.types.is_boolean(type_):
        return Kind.BOOLEAN
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return Kind.NUMBER
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return Kind.TEXT
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return Kind.LIST
    return Kind.OTHER


class _Checker:
    """Walks a tree once, collecting what it speaks of."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.used: dict[str, Kind] = {}
        self.wholes: dict[str, Whole] = {}
        self.thresholds: list[Threshold] = []
        self.inside: str | None = None

    def kinds(self) -> dict[str, Kind]:
        return dict(sorted(self.used.items()))

    def need(self, node: Node, want: Kind) -> Kind:
        """Check `node` where `want` is wanted; a list's column becomes what is wanted of it."""
        found = self.kind(node, want)
        if Kind.ANY in (found, want) or found is want:
            return found
        raise wrong(node.at, f"{render(node)} is {found.value}; wanted {want.value}. {_advice(found, want)}".rstrip())

    def kind(self, node: Node, want: Kind = Kind.ANY) -> Kind:
        match node:
            case Literal():
                return _literal_kind(node)
            case Column():
                return self.column(node, want)
            case Compare():
                return self.compare(node)
            case Among():
                return self.among(node)
            case Logic():
                for operand in node.operands:
                    self.need(operand, Kind.BOOLEAN)
                return Kind.BOOLEAN
            case Call():
                return self.call(node, want)
        raise AssertionError(node)

    def column(self, node: Column, want: Kind) -> Kind:
        table, dot, _ = node.name.partition(".")
        if table == LIST_TABLE and dot:
            found = self.used.get(node.name, Kind.ANY)
            if Kind.ANY not in (found, want) and found is not want:
                raise wrong(node.at, f"{node.name} is used as {found.value} and as {want.value}; it is one of them.")
            self.used[node.name] = want if found is Kind.ANY else found
            return self.used[node.name]
        if node.name not in self.known.columns:
            raise wrong(node.at, self.unknown(node.name, table))
        self.used[node.name] = kind_of(self.known.columns[node.name].type)
        return self.used[node.name]

    def unknown(self, name: str, table: str) -> str:
        if name in FUNCTIONS:
            return f"{name} is a function; give it arguments: {name}(...)."
        if "." not in name:
            right = [column for column in self.known.columns if column.endswith(f".{name}")]
            hint = f"Did you mean {right[0]!r}?" if right else nearest(name, ["true", "false", "null", *_NAMED])
            return f"{name!r} is no column; columns are <scorer>.<column>. {hint}"
        here = [column for column in self.known.columns if column.startswith(f"{table}.")]
        if name in self.known.offers and (here or table not in self.known.offers):
            return f"{name!r} is not written by this recipe. {self.known.offers[name]}"
        if not here and table in self.known.offers:
            return f"{name!r} is written by the scorer {table!r}, which is off. {self.known.offers[table]}"
        return f"no scorer of this recipe writes {name!r}. {nearest(name, here or self.known.columns)}"

    def compare(self, node: Compare) -> Kind:
        left, right = self.kind(node.left), self.kind(node.right)
        if left is Kind.ANY:
            left = self.kind(node.left, Kind.NUMBER if right is Kind.ANY else right)
        if right is Kind.ANY:
            right = self.kind(node.right, left)
        if Kind.NULL in (left, right):
            raise wrong(node.at, "nothing equals null, null included. Ask is_null(x).")
        if left is not right or left in (Kind.LIST, Kind.OTHER):
            raise wrong(
                node.at,
                f"{render(node.left)} is {left.value}, {render(node.right)} is {right.value}; "
                f"{node.operator} compares two numbers, two texts or two of true and false.",
            )
        if left is not Kind.NUMBER and node.operator not in ("==", "!="):
            raise wrong(node.at, f"{render(node.left)} is {left.value}, which has no order. Compare by == or !=.")
        self.bound(node.left, node.operator, node.right)
        self.bound(node.right, _MIRRORED.get(node.operator, node.operator), node.left)
        return Kind.BOOLEAN

    def bound(self, item: Node, operator: str, limit: Node) -> None:
        """Note a column's threshold; refuse one that no value of the column could be on the other side of."""
        number = constant(limit)
        if not isinstance(item, Column) or number is None:
            return
        self.in_range(item, number, limit.at)
        self.thresholds.append(Threshold(item.name, operator, number))

    def in_range(self, column: Column, number: float, at: int) -> None:
        fields = self.known.columns
        range_: Range | None = range_of(fields[column.name]) if column.name in fields else None
        if range_ is not None and number not in range_:
            raise wrong(at, f"{number:g} is outside the range of {column.name}, which is {range_}.")

    def among(self, node: Among) -> Kind:
        kinds = [_literal_kind(choice) for choice in node.choices]
        item = self.kind(node.item, kinds[0])
        for choice, kind in zip(node.choices, kinds, strict=True):
            if kind is not item:
                raise wrong(choice.at, f"{render(choice)} is {kind.value}, and {render(node.item)} is {item.value}.")
            if isinstance(node.item, Column) and kind is Kind.NUMBER:
                self.in_range(node.item, float(choice.value), choice.at)  # type: ignore[arg-type]
        return Kind.BOOLEAN

    def call(self, node: Call, want: Kind) -> Kind:
        signature = FUNCTIONS.get(node.name)
        if signature is None:
            raise wrong(node.at, f"there is no function {node.name!r}. {nearest(node.name, _NAMED)}")
        least, given = len(signature.takes), len(node.arguments)
        if given < least or (given > least and not signature.more):
            more = " or more" if signature.more else ""
            raise wrong(node.at, f"{node.name} takes {least}{more} arguments; found {given}.")
        if signature.literal is not None and not _is_literal(node.arguments[signature.literal]):
            raise wrong(node.arguments[signature.literal].at, f"{node.name} wants this as it is written, not computed.")
        if node.name in WHOLE:
            return self.whole(node)
        if signature.gives is Kind.ANY:
            return self.same(node, want)
        for place, argument in enumerate(node.arguments):
            self.need(argument, signature.takes[min(place, least - 1)])
        if node.name == "len" and self.kind(node.arguments[0]) not in (Kind.TEXT, Kind.LIST):
            found = self.kind(node.arguments[0], Kind.TEXT)
            if found is not Kind.TEXT:
                raise wrong(node.at, f"{render(node.arguments[0])} is {found.value}; only texts and lists have a len.")
        return signature.gives

    def same(self, node: Call, want: Kind) -> Kind:
        """coalesce and if_else: values of one kind, null among them."""
        values = node.arguments
        if node.name == "if_else":
            self.need(values[0], Kind.BOOLEAN)
            values = values[1:]
        kinds = [self.kind(value) for value in values]
        definite = [kind for kind in kinds if kind not in (Kind.ANY, Kind.NULL)]
        one = definite[0] if definite else want
        for value, kind in zip(values, kinds, strict=True):
            if kind is not Kind.NULL:
                self.need(value, one)
        return one if definite or Kind.ANY in kinds else Kind.NULL

    def whole(self, node: Call) -> Kind:
        if self.inside is not None:
            raise wrong(node.at, f"{node.name} inside {self.inside}: the same number for every row has no order.")
        argument, share = node.arguments[0], constant(node.arguments[1])
        if share is None or not 0 <= share <= 1:
            found = render(node.arguments[1])
            raise wrong(node.arguments[1].at, f"{node.name} wants a share from 0 to 1; found {found}.")
        self.inside = node.name
        self.need(argument, Kind.NUMBER)
        self.inside = None
        whole = Whole(node.name, argument, float(share))
        self.wholes[whole.key] = whole
        return Kind.NUMBER


def constant(node: Node) -> float | int | None:
    """The number that is written at `node`, with its sign; None where there is none."""
    if isinstance(node, Call) and node.name == "neg":
        inner = constant(node.arguments[0])
        return None if inner is None else -inner
    if isinstance(node, Literal) and _literal_kind(node) is Kind.NUMBER:
        return node.value  # type: ignore[return-value]
    return None


def _is_literal(node: Node) -> bool:
    return isinstance(node, Literal) or constant(node) is not None


def _literal_kind(node: Literal) -> Kind:
    if node.value is None:
        return Kind.NULL
    if isinstance(node.value, bool):
        return Kind.BOOLEAN
    return Kind.TEXT if isinstance(node.value, str) else Kind.NUMBER


def _advice(found: Kind, want: Kind) -> str:
    if want is Kind.BOOLEAN and found is Kind.NUMBER:
        return "Compare it with a threshold, such as x >= 0.5."
    if want is Kind.BOOLEAN and found is Kind.TEXT:
        return 'Compare it with a text, such as x == "en".'
    return ""
