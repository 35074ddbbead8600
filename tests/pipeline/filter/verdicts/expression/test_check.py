"""Every mistake is one error with its place, what was found, and the nearest right thing."""

import pyarrow as pa
import pytest

from pipeline.filter.ranges import ranged
from pipeline.filter.verdicts.expression.check import Kind, Known, Threshold, compile_expression
from pipeline.filter.verdicts.expression.parse import ExpressionError

FIELDS = {
    "text.num_words": ranged("num_words", pa.int32(), 0),
    "text.has_noun": pa.field("has_noun", pa.bool_()),
    "text.title": pa.field("title", pa.string()),
    "clip.similarity": ranged("similarity", pa.float32(), -1, 1),
    "record.fetched_at": pa.field("fetched_at", pa.timestamp("ms")),
    "concepts.matches": pa.field("matches", pa.list_(pa.int32())),
}
KNOWN = Known(FIELDS, {"language": "Add [score.language].", "text.profanity": "Name a list of words."})


def check(text, want=Kind.BOOLEAN):
    return compile_expression(text, want, KNOWN)


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("text.num_word >= 3", 1, "no scorer of this recipe writes 'text.num_word'. Did you mean 'text.num_words'?"),
        ("num_words >= 3", 1, "columns are <scorer>.<column>. Did you mean 'text.num_words'?"),
        ("clop.similarity >= 0", 1, "Did you mean 'clip.similarity'?"),
        ('language.lang == "en"', 1, "written by the scorer 'language', which is off. Add [score.language]."),
        ("text.profanity == 0", 1, "'text.profanity' is not written by this recipe. Name a list of words."),
        ("True", 1, "Did you mean 'true'?"),
        ("abs >= 3", 1, "abs is a function; give it arguments"),
        ("coalesc(text.num_words, 1) > 0", 1, "no function 'coalesc'. Did you mean 'coalesce'?"),
        ("eval(text.num_words)", 1, "no function 'eval'"),
        ('text.num_words >= "3"', 16, 'text.num_words is a number, "3" is a text'),
        ("text.title > 'a'", 12, "which has no order. Compare by == or !="),
        ("text.title == null", 12, r"Ask is_null(x)"),
        ("text.has_noun >= false", 15, "has no order"),
        ("text.num_words", 1, "text.num_words is a number; wanted true or false. Compare it with a threshold"),
        ("text.title", 1, "text.title is a text; wanted true or false. Compare it with a text"),
        ("text.has_noun and text.num_words", 19, "wanted true or false"),
        ("not text.num_words > 3 + text.title", 26, "text.title is a text; wanted a number"),
        ("record.fetched_at > 3", 19, "record.fetched_at is of another kind"),
        ("concepts.matches == concepts.matches", 18, "is a list"),
        ("len(text.num_words) > 3", 1, "only texts and lists have a len"),
        ("clip.similarity >= 28", 20, "28 is outside the range of clip.similarity, which is -1..1"),
        ("-1.5 < clip.similarity", 1, "-1.5 is outside the range"),
        ("clip.similarity in [0.5, 2]", 26, "2 is outside the range"),
        ("text.num_words >= -1", 19, "-1 is outside the range of text.num_words, which is 0.."),
        ("text.title in ['a', 2]", 21, "2 is a number, and text.title is a text"),
        ("text.num_words in ['a']", 20, '"a" is a text, and text.num_words is a number'),
        ("abs(1, 2) > 0", 1, "abs takes 1 arguments; found 2"),
        ("min() > 0", 1, "min takes 1 or more arguments; found 0"),
        ("coalesce(text.num_words, 'x') == 1", 26, '"x" is a text; wanted a number'),
        ("if_else(text.num_words, 1, 2) > 0", 9, "wanted true or false"),
        ("contains(text.title, text.title)", 22, "as it is written, not computed"),
        ("clip.similarity >= quantile(clip.similarity, 70)", 46, "wants a share from 0 to 1; found 70"),
        ("clip.similarity >= top(clip.similarity, text.num_words)", 41, "as it is written"),
        ("clip.similarity >= top(top(clip.similarity, 0.1), 0.1)", 24, "top inside top"),
        ("list.a > 3 and list.a == 'x'", 23, 'list.a is a number, "x" is a text'),
        ("list.a and abs(list.a) > 1", 16, "list.a is used as true or false and as a number"),
    ],
)
def test_mistakes(text, at, words):
    with pytest.raises(ExpressionError) as error:
        check(text)
    assert words in error.value.words
    assert error.value.at == at, error.value


def test_what_an_expression_needs_is_known():
    found = check('clip.similarity >= top(clip.similarity, 0.3) and list.NSFW == "UNLIKELY" and list.w > 100 > list.h')
    assert found.columns == {
        "clip.similarity": Kind.NUMBER, "list.NSFW": Kind.TEXT, "list.w": Kind.NUMBER, "list.h": Kind.NUMBER,
    }  # fmt: skip
    assert [whole.key for whole in found.wholes] == ["top(clip.similarity, 0.3)"]
    assert found.thresholds == (Threshold("list.w", ">", 100), Threshold("list.h", "<", 100))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("is_null(list.a)", {"list.a": Kind.ANY}),
        ("is_null(list.a) or list.a > 3", {"list.a": Kind.NUMBER}),
        ("list.a == list.b", {"list.a": Kind.NUMBER, "list.b": Kind.NUMBER}),
        ("list.a in ['x']", {"list.a": Kind.TEXT}),
        ("coalesce(list.a, 'x') == 'x'", {"list.a": Kind.TEXT}),
        ("coalesce(list.a, 0) > 1", {"list.a": Kind.NUMBER}),
        ("coalesce(list.a, list.b) > 1", {"list.a": Kind.NUMBER, "list.b": Kind.NUMBER}),
        ("list.flag", {"list.flag": Kind.BOOLEAN}),
        ("len(list.title) > 3", {"list.title": Kind.TEXT}),
        ("list.`a b` > 1", {"list.a b": Kind.NUMBER}),
        ("len(concepts.matches) > 1", {"concepts.matches": Kind.LIST}),
        ("is_null(record.fetched_at)", {"record.fetched_at": Kind.OTHER}),
        ("if_else(text.has_noun, null, 1) > 0", {"text.has_noun": Kind.BOOLEAN}),
    ],
)
def test_kinds_follow_from_use(text, kinds):
    assert check(text).columns == kinds


def test_a_number_at_the_end_of_its_range_is_inside():
    assert check("clip.similarity <= 1 and clip.similarity >= -1 and text.num_words >= 0")
