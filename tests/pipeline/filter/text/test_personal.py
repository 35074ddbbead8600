"""Each pattern on texts that hold what it looks for, and on texts that only look so; then on a text without end."""

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filter.text.personal import COLUMNS, passes_luhn, passes_mod_97, personal_facts

HOLDS = {
    "has_url": [
        "see https://t.co/r67DX4Px0R",
        "HTTP://EXAMPLE.ORG/a.jpg",
        "www.example.net for more",
        "Candle Set at johnlewis.com",
        "photo:example.co.uk/x",
    ],
    "has_email": ["write to jane.doe+x@example.com today", "JANE@EXAMPLE.CO.UK", "jane [at] example.org"],
    "has_phone": [
        "call 020 7946 0958",
        "+44 20 7946 0958",
        "+1 (212) 555-0123",
        "(212) 555-0123",
        "212-555-0123 for rent",
        "Plumber 212.555.0123",
        "1-800-555-0199",
        "Tel: 0171/1234567",
        "0049 30 1234567",
    ],
    "has_ip_address": [
        "camera at 192.168.0.1",
        "[10.0.0.255]:80",
        "2001:db8:0:0:1:0:0:1",
        "at fe80::1",
        "ends 8.8.8.8.",
    ],
    "has_card_number": ["card 4111 1111 1111 1111", "5500-0000-0000-0004 x", "378282246310005"],
    "has_iban": ["GB82 WEST 1234 5698 7654 32", "IBAN DE89370400440532013000."],
}
NOT = {
    "has_url": [
        "the end.Next one",
        "a dog. cat",
        "3.5mm jack",
        "e.g. this",
        "U.S. flag",
        "see http: nothing",
        "Node.js",
    ],
    "has_email": ["dog @ the beach", "@houseoftalent1", "meet at noon", "a@b", "5 @ 3.50"],
    "has_phone": [
        "1920x1080",
        "Code: 600-06382904",
        "born 1998-2005",
        "2017-11-24 10:20",
        "ISBN 978-3-16-148410-0",
        "10,000,000 people",
        "$212.555.0123",
        "Thinkstation P500 Xeon E5-1620",
        "12345678901234",
        "1 2 3 4 5 6 7 8 9",
    ],
    "has_ip_address": [
        "version 1.2.3",
        "300.1.1.1",
        "1.2.3.4.5",
        "256.256.256.256",
        "12:30:45",
        "at 10:20",
        "::",
        "3:2:1",
    ],
    "has_card_number": ["4111 1111 1111 1112", "0000 0000 0000 0000", "600-06382904", "20171124102030"],
    "has_iban": ["GB82 WEST 1234 5698 7654 33", "DE89", "AB12 CDEF GHIJ"],
}


def facts_of(text):
    return {name: column[0].as_py() for name, column in personal_facts(pa.array([text], pa.large_string())).items()}


@pytest.mark.parametrize(("column", "text"), [(name, text) for name, texts in HOLDS.items() for text in texts])
def test_what_it_looks_for_is_found(column, text):
    assert facts_of(text)[column]


@pytest.mark.parametrize(("column", "text"), [(name, text) for name, texts in NOT.items() for text in texts])
def test_what_only_looks_so_is_not(column, text):
    assert not facts_of(text)[column]


@given(st.text("0123456789", min_size=12, max_size=18).filter(lambda number: len(set(number)) > 1))
def test_one_check_digit_of_ten_passes(number):
    passing = [digit for digit in "0123456789" if passes_luhn(number + digit)]
    total = sum(sum(divmod(int(digit) * (2 - i % 2), 10)) for i, digit in enumerate(reversed(number)))
    assert passing == [str(-total % 10)]


@given(st.from_regex(r"\A[A-Z]{2}\Z"), st.from_regex(r"\A[A-Z0-9]{12,28}\Z"))
def test_one_pair_of_check_digits_passes(country, account):
    letters = "".join(str(ord(sign) - 55) if sign > "9" else sign for sign in account + country)
    check = 98 - int(letters + "00") % 97
    assert passes_mod_97(f"{country}{check:02d}{account}")
    assert not passes_mod_97(f"{country}{check % 97 + 2:02d}{account}") or check % 97 + 2 == check


@pytest.mark.parametrize("stuff", ["a", "1", "1 ", "a@", "a.", "1.", "AB12 ", "www.", "4111 ", "(", "::1", "+1", "-"])
def test_a_caption_of_a_million_characters_is_no_trap(stuff):
    """Backtracking would take years on some of these; the suite's time limit is the test."""
    facts_of(stuff * (1_000_000 // len(stuff)) + "!")


def test_long_random_captions_end():
    signs = random.Random(0).choices("ab 1.@:/-+()GB", k=1_000_000)
    assert set(facts_of("".join(signs))) == set(COLUMNS)
