"""What is an expression, what is none, and what a hostile recipe may write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filter.verdicts.expression.parse import MAX_CHARS, ExpressionError, parse
from pipeline.filter.verdicts.expression.render import render


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a.b>=3", "a.b >= 3"),
        ("a.b >= 3 and c.d or not e.f", "((a.b >= 3) and c.d) or (not e.f)"),
        ("0.1 < a.b <= 1e-3", "(0.1 < a.b) and (a.b <= 0.001)"),
        ("a.b - 1 - 2 * -c.d", "(a.b - 1) - (2 * (-c.d))"),
        ("not not a.b", "not (not a.b)"),
        ("a.b not in ['x', 'say \"hi\"', -2]", 'not (a.b in ["x", \'say "hi"\', -2])'),
        ("`a`.`my column` == null", "a.`my column` == null"),
        ("semantic.rank_eps_0.05 == 0", "semantic.rank_eps_0.05 == 0"),
        ("f ( a.b , 'x' )", 'f(a.b, "x")'),
        ("a.b\n  and\tc.d", "a.b and c.d"),
        ("(((a.b)))", "a.b"),
        ("true", "true"),
        ("9223372036854775807 == 9223372036854775808", "9223372036854775807 == 9.223372036854775808e+18"),
    ],
)
def test_precedence_and_form(text, form):
    assert render(parse(text)) == render(parse(form))
    assert render(parse(render(parse(text)))) == render(parse(text))


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("", 1, "found the end, wanted a column"),
        ("a.b >= ", 8, "found the end, wanted a column"),
        ("a.b = 3", 5, "Write == for equality"),
        ("a.b && c.d", 5, "Write `and`"),
        ("a.b >= 3 c.d", 10, r"found 'c.d' after the end of the expression. Join conditions"),
        ("(a.b >= 3", 10, r"found the end, wanted '\)' to close"),
        ("a.b in 3", 8, r"wanted '\['"),
        ("a.b in [c.d]", 9, "nothing computed"),
        ("a.b in [1+2]", 10, r"wanted ',' or '\]'"),
        ("a.b in []", 9, "wanted a column, a number"),
        ("a.b == 'x", 8, "without its closing quote"),
        ("a.b == 'x\\'", 8, "backslash"),
        ("f(a.b c.d)", 7, r"wanted ',' or '\)'"),
        ("f(a.b,)", 7, r"found '\)'"),
        ("a.b >= 1e999", 8, "too large for a number"),
        ("a.b >= 3x", 8, "no part of an expression"),
        ("a.b ** 2", 6, r"found '\*'"),
        ("a.b[0]", 4, r"found '\['"),
        ("lambda: 1", 7, "no part of an expression"),
        ("__import__('os').system('x')", 17, r"'\.' is no part"),
        ("a.b if c.d else 3", 5, "found 'if'"),
        ("and", 1, "found 'and'"),
    ],
)
def test_what_is_no_expression_is_told_with_its_place(text, at, words):
    with pytest.raises(ExpressionError, match=words) as error:
        parse(text)
    assert error.value.at == at


@pytest.mark.parametrize(
    "text",
    ["(" * 1000 + "1", "-" * 3000 + "1", "not " * 900 + "a.b", "1" + "+1" * 1900, "f(" * 900],
)
def test_depth_is_bounded(text):
    with pytest.raises(ExpressionError, match="levels deep"):
        parse(text)


def test_length_is_bounded():
    assert parse("1 < " * 900 + "1").depth == 3
    assert parse(" or ".join(["a.b"] * 500)).depth == 2
    with pytest.raises(ExpressionError, match=rf"4001 characters; at most {MAX_CHARS}"):
        parse("1" * (MAX_CHARS + 1))


@given(st.text(alphabet="ab.1'\"()[]<=-+*/, notinadr`\n\\é", max_size=40) | st.text(max_size=40))
def test_any_text_is_an_expression_or_an_error(text):
    try:
        tree = parse(text)
    except ExpressionError:
        return
    assert render(parse(render(tree))) == render(tree)
