"""From the text of an expression to a tree. Hand-written: nothing of a recipe is ever given to Python to run.

    either   := both { "or" both }              sum     := product { ("+" | "-") product }
    both     := negated { "and" negated }       product := signed { ("*" | "/") signed }
    negated  := "not" negated | compared        signed  := "-" signed | atom
    compared := sum { ("<" | "<=" | ">" | ">=" | "==" | "!=") sum }
              | sum ["not"] "in" "[" literal { "," literal } "]"
    atom     := number | "text" | true | false | null | table.column | function "(" either { "," either } ")"
              | "(" either ")"

A column is `<scorer>.<column>`; back quotes hold names with other characters: `list.`my column``. A chain of
comparisons means all of them: `0.2 <= x < 0.9`. Length and depth are bounded, for a recipe may be hostile.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import RecipeError

MAX_CHARS = 4_000
MAX_DEPTH = 40
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<text>"[^"\\]*"|'[^'\\]*')
  | (?P<word>(?:[^\W\d]\w*|`[^`]+`)(?:\.(?:\w+|`[^`]+`))*)
  | (?P<mark><=|>=|==|!=|[<>+\-*/()\[\],])
  | (?P<end>\Z)
  | (?P<wrong>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = ("and", "or", "not", "in", "true", "false", "null")
_HINTS = {
    "=": "Write == for equality.",
    "&": "Write `and`.",
    "|": "Write `or`.",
    "!": "Write `not`, or != for inequality.",
    "^": "There are no powers.",
    "%": "There is no remainder.",
    "{": "A list of choices is [a, b].",
}


@dataclass(frozen=True)
class Node:
    """A place in the tree. `at` is the character of the text, from 1; `depth` counts the levels below."""

    at: int
    depth: int


@dataclass(frozen=True)
class Literal(Node):
    """A number, a text, true, false or null."""

    value: float | int | str | bool | None


@dataclass(frozen=True)
class Column(Node):
    """`table.column`."""

    name: str


@dataclass(frozen=True)
class Call(Node):
    """A function of the table in check.py, the operators + - * / and the sign `neg` included."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Compare(Node):
    """Two values of one kind in order, or equal."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Among(Node):
    """Whether a value is one of some literals."""

    item: Node
    choices: tuple[Literal, ...]


@dataclass(frozen=True)
class Logic(Node):
    """`and` or `or` of two conditions or more, `not` of one."""

    operator: str
    operands: tuple[Node, ...]


class ExpressionError(RecipeError):
    """What is wrong with an expression, and at which character of it, from 1; 0 for the whole of it."""

    def __init__(self, at: int, words: str) -> None:
        super().__init__(f"at character {at}: {words}" if at else words)
        self.at, self.words = at, words

    def within(self, text: str) -> str:
        """The error with the place in the text, such as `at character 9 ("num_word >= 3"): ...`."""
        near = text[max(self.at - 1, 0) :][:30]
        return f"at character {self.at} ({near!r}): {self.words}" if self.at else self.words


def wrong(at: int, words: str) -> ExpressionError:
    """An error at a character of the text."""
    return ExpressionError(at, words)


def parse(text: str) -> Node:
    """The tree of an expression. Raises: ExpressionError: it is none."""
    if len(text) > MAX_CHARS:
        raise ExpressionError(0, f"{len(text)} characters; at most {MAX_CHARS} are read. Cut it into several rules.")
    return _Parser(text).whole()


def is_column_name(text: str) -> bool:
    """Whether `text` is a column as expressions write it."""
    match = _TOKEN.match(text)
    return match is not None and match.end() == len(text) and match["word"] is not None and "." in match["word"]


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while True:
        match = _TOKEN.match(text, at)
        assert match is not None  # `wrong` takes any character
        assert match.lastgroup is not None
        token = _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup) + 1)
        if token.kind == "wrong":
            if token.text in "\"'":
                raise wrong(token.at, "a text without its closing quote, or with a backslash in it.")
            found_words = f"{token.text!r} is no part of an expression. {_HINTS.get(token.text, '')}"
            raise wrong(token.at, found_words.strip())
        found.append(token)
        if token.kind == "end":
            return found
        at = match.end()


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.place = 0
        self.nested = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.place]

    def take(self, *texts: str) -> _Token | None:
        """The next token where it is one of `texts`, which is then behind us."""
        token = self.token
        if token.kind in ("mark", "word") and token.text in texts:
            self.place += 1
            return token
        return None

    def need(self, text: str, what: str) -> None:
        if self.take(text) is None:
            raise wrong(self.token.at, f"found {_told(self.token)}, wanted {text!r} {what}.")

    def whole(self) -> Node:
        node = self.either()
        if self.token.kind != "end":
            hint = _HINTS.get(self.token.text, "Join conditions by `and` or `or`.")
            raise wrong(self.token.at, f"found {_told(self.token)} after the end of the expression. {hint}")
        return node

    def either(self) -> Node:
        self.nested += 1
        if self.nested > MAX_DEPTH:
            raise wrong(self.token.at, f"nested more than {MAX_DEPTH} levels deep. Cut it into several rules.")
        node = self.joined("or")
        self.nested -= 1
        return node

    def joined(self, word: str) -> Node:
        first = self.joined("and") if word == "or" else self.negated()
        operands = [first]
        while self.take(word):
            operands.append(self.joined("and") if word == "or" else self.negated())
        if len(operands) == 1:
            return first
        return Logic(first.at, _depth(*operands), word, tuple(operands))

    def negated(self) -> Node:
        nots = []
        while token := self.take("not"):
            nots.append(token.at)
        node = self.compared()
        for at in reversed(nots):
            node = Logic(at, _depth(node), "not", (node,))
        return node

    def compared(self) -> Node:
        left = self.sum()
        place = self.place
        denied = self.take("not")
        if self.take("in"):
            among = self.among(left)
            return among if denied is None else Logic(denied.at, _depth(among), "not", (among,))
        self.place = place
        pairs: list[Node] = []
        while operator := self.take(*COMPARISONS):
            right = self.sum()
            pairs.append(Compare(operator.at, _depth(left, right), operator.text, left, right))
            left = right
        if not pairs:
            return left
        return pairs[0] if len(pairs) == 1 else Logic(pairs[0].at, _depth(*pairs), "and", tuple(pairs))

    def among(self, item: Node) -> Node:
        self.need("[", "and a list of choices after `in`")
        choices: list[Literal] = []
        while True:
            at = self.token.at
            node = self.signed()
            if isinstance(node, Call) and node.name == "neg" and isinstance(node.arguments[0], Literal):
                value = node.arguments[0].value
                node = Literal(at, 1, -value) if isinstance(value, int | float) else node
            if not isinstance(node, Literal) or node.value is None:
                raise wrong(at, "a list of choices holds numbers or texts as they are written, nothing computed.")
            choices.append(node)
            if self.take("]"):
                return Among(item.at, _depth(item), item, tuple(choices))
            self.need(",", "or ']'")

    def sum(self) -> Node:
        return self.chained(("+", "-"), self.product)

    def product(self) -> Node:
        return self.chained(("*", "/"), self.signed)

    def chained(self, operators: tuple[str, ...], part: Callable[[], Node]) -> Node:
        left = part()
        while operator := self.take(*operators):
            right = part()
            left = Call(operator.at, _depth(left, right), operator.text, (left, right))
        return left

    def signed(self) -> Node:
        signs = []
        while token := self.take("-"):
            signs.append(token.at)
        node = self.atom()
        for at in reversed(signs):
            node = Call(at, _depth(node), "neg", (node,))
        return node

    def atom(self) -> Node:
        token = self.token
        if token.kind == "number":
            self.place += 1
            return Literal(token.at, 1, _number(token))
        if token.kind == "text":
            self.place += 1
            return Literal(token.at, 1, token.text[1:-1])
        if self.take("("):
            node = self.either()
            self.need(")", "to close the bracket")
            return node
        if token.kind == "word" and (token.text not in _WORDS or token.text in ("true", "false", "null")):
            self.place += 1
            return self.named(token)
        raise wrong(token.at, f"found {_told(token)}, wanted a column, a number, a text or a function.")

    def named(self, token: _Token) -> Node:
        if token.text in ("true", "false", "null"):
            return Literal(token.at, 1, {"true": True, "false": False, "null": None}[token.text])
        if self.take("("):
            arguments: list[Node] = []
            while not self.take(")"):
                if arguments:
                    self.need(",", "or ')'")
                arguments.append(self.either())
            return Call(token.at, _depth(*arguments), token.text, tuple(arguments))
        return Column(token.at, 1, token.text.replace("`", ""))


def _depth(*below: Node) -> int:
    depth = 1 + max((node.depth for node in below), default=0)
    if depth > MAX_DEPTH:
        raise wrong(below[0].at, f"nested more than {MAX_DEPTH} levels deep. Cut it into several rules.")
    return depth


def _number(token: _Token) -> float | int:
    value = float(token.text)
    if not math.isfinite(value):
        raise wrong(token.at, f"{token.text} is too large for a number.")
    return int(token.text) if token.text.isdecimal() and value < 2**63 else value


def _told(token: _Token) -> str:
    return "the end" if token.kind == "end" else repr(token.text)
