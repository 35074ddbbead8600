"""Whether a caption has a noun, a determiner and a preposition, as the rules of CC3M and CC12M ask; English only.

Takes texts, gives four columns. A light tagger of word lists (english.py), endings and places, with no model to load:
what the rules ask is mostly a question about closed classes, and a noun is what is left. How it agrees with a
statistical tagger is measured in docs/filter-text.md. Rules: Sharma et al. 2018 (CC3M), section 3; Changpinyo et al.
2021 (CC12M, arXiv 2102.08981), section 2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pipeline.filter.text import english

NOUN, VERB, ADJECTIVE, ADVERB = "N", "V", "J", "R"
DETERMINER, POSSESSIVE, PRONOUN, PREPOSITION, CONJUNCTION, AUXILIARY, NUMBER = "D", "S", "O", "P", "C", "X", "M"
MARK = "."
NOUN_OR_VERB = "n"
"""A form that is either; its place decides."""

COLUMNS = ("has_noun", "has_determiner", "has_preposition", "noun_share")
_MAX_CHARS = 10_000
"""Of a longer text, so many characters are tagged; a caption as long as that fails other rules."""
_MAX_WORD_CHARS = 40
"""A longer token is no word."""

_TOKEN = re.compile(r"[^\W\d_]+(?:['’.&-][^\W\d_]+)*|\d[\d.,:/]*\w*|[^\w\s]")
_CLASSES = (
    (english.AUXILIARIES, AUXILIARY),
    (english.DETERMINERS, DETERMINER),
    (english.POSSESSIVES, POSSESSIVE),
    (english.PRONOUNS, PRONOUN),
    (english.PREPOSITIONS, PREPOSITION),
    (english.CONJUNCTIONS, CONJUNCTION),
    (english.NUMBERS, NUMBER),
    (english.ADVERBS, ADVERB),
    (english.ADJECTIVES | english.LY_ADJECTIVES, ADJECTIVE),
    (english.ING_NOUNS | english.ED_NOUNS | english.NOT_ADVERBS, NOUN),
)
_ADJECTIVE_ENDINGS = ("able", "ible", "ful", "ous", "ive", "less", "ish", "esque", "ical", "ular", "iest")
_OPENS_PHRASE = frozenset((DETERMINER, POSSESSIVE, NUMBER, ADJECTIVE, NOUN, PRONOUN))
_EXPECTS_NOUN = frozenset((DETERMINER, POSSESSIVE, ADJECTIVE, NUMBER, PREPOSITION))
_OPEN = frozenset((NOUN, ADJECTIVE, NUMBER, NOUN_OR_VERB))


def part_of_speech_facts(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """has_noun, has_determiner, has_preposition, and noun_share: nouns over all tokens that are no punctuation."""
    number = len(texts)
    has = {tag: np.zeros(number, bool) for tag in (NOUN, DETERMINER, PREPOSITION)}
    share = np.zeros(number)
    for row, text in enumerate(texts):
        tags = tag_words(_TOKEN.findall(text[:_MAX_CHARS]))
        for tag, found in has.items():
            found[row] = tag in tags
        share[row] = tags.count(NOUN) / max(len(tags) - tags.count(MARK), 1)
    return dict(zip(COLUMNS, (*has.values(), share), strict=True))


def tag_words(tokens: Sequence[str]) -> list[str]:
    """One tag per token: first what the word may be, then what its neighbours make of it, left to right."""
    tags = [_word_class(token if len(token) <= _MAX_WORD_CHARS else "") for token in tokens]
    last = len(tags) - 1
    for i, tag in enumerate(tags):
        if tag in "NS.OCXM":
            continue
        before = tags[i - 1] if i else MARK
        after = tags[i + 1] if i < last else MARK
        if tag == PREPOSITION:
            tags[i] = _preposition(tokens[i].lower(), before, after)
        elif tag == DETERMINER:
            tags[i] = _determiner(tokens[i].lower(), before, after)
        elif tag == NOUN_OR_VERB:
            tags[i] = _noun_or_verb(before, after)
        elif tag == VERB:
            # "the running of", "a cut": a participle with nothing to qualify is the noun itself
            if before in "DS" and after not in _OPEN and after not in "JVRD":
                tags[i] = NOUN
        elif tag == ADJECTIVE and before in "DSJPM" and after not in _OPEN and after not in "JVRC" and i:
            # "dressed in black", "the young": an adjective that ends a phrase stands for its noun
            tags[i] = NOUN if before in "DSP" or after == MARK or tags[i - 1] == ADJECTIVE else ADJECTIVE
    return tags


def _preposition(word: str, before: str, after: str) -> str:
    if word == "to":
        return PREPOSITION if after in _OPENS_PHRASE or (after in "V." and before == PREPOSITION) else ADVERB
    if word in english.CLAUSE_OPENERS and after == PRONOUN:
        return CONJUNCTION
    if word == "like" and before in (PRONOUN, MARK):
        return VERB
    if word in english.PARTICLES and after not in _OPENS_PHRASE and after != NOUN_OR_VERB:
        return PREPOSITION if word in ("in", "on", "by") and after == VERB else ADVERB
    return PREPOSITION


def _determiner(word: str, before: str, after: str) -> str:
    if word in ("that", "which", "what", "whatever"):
        return DETERMINER if word == "that" and before != NOUN and after in "NJMn" else PRONOUN
    if word in ("this", "these", "those", "such") and after in "XV":
        return PRONOUN if word == "such" else DETERMINER
    return DETERMINER


def _noun_or_verb(before: str, after: str) -> str:
    if before in _EXPECTS_NOUN:
        return NOUN
    if before in "NOXR":
        return VERB
    # at the beginning: "jump rope", "play the game" against "park bench", "love"
    return VERB if after in (DETERMINER, POSSESSIVE, PRONOUN) else NOUN


@lru_cache(maxsize=1 << 17)
def _word_class(token: str) -> str:
    """What a word may be on its own."""
    if not token or not (token[0].isalnum() or token in "&+"):
        return MARK
    if token[0].isdigit():
        return NUMBER
    word = token.lower().replace("’", "'")
    known = _listed().get(word)
    if known is not None:
        return known
    if word.endswith("'s"):
        return NOUN
    return _by_ending(word)


def _by_ending(word: str) -> str:
    if "-" in word:
        tail = word.rsplit("-", 1)[1]
        if tail.endswith(("ed", "ing")) or tail in ("up", "down", "like", "old", "free", "in", "on", "out", "off"):
            return ADJECTIVE
        return _word_class(tail) if tail else NOUN
    if word.endswith("ly") and len(word) > 4:
        return ADVERB
    if len(word) > 4 and word.endswith(("ing", "ed")):
        return VERB
    if len(word) > 5 and word.endswith(_ADJECTIVE_ENDINGS):
        return ADJECTIVE
    return NOUN


@lru_cache(maxsize=1)
def _listed() -> dict[str, str]:
    """Every listed word -> its class; an earlier list wins over a later one."""
    found: dict[str, str] = {}
    for words, tag in _CLASSES:
        for word in words:
            found.setdefault(word, tag)
    for verb in english.VERBS:
        either = VERB if verb in english.VERBS_FIRST else NOUN_OR_VERB
        for form in (verb, _third_person(verb)):
            found.setdefault(form, either)
    for form in english.IRREGULAR_VERBS:
        found.setdefault(form, VERB)
    return found


def _third_person(verb: str) -> str:
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return f"{verb}es"
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}s"
