"""Patterns of web addresses and of what names a person: e-mail, phone, IP address, card number, bank account.

Takes a column of texts, gives one boolean column per pattern. The patterns run in RE2 (pyarrow.compute), which is
linear in the length of the text whatever the pattern, so that no caption can stall a worker. Card and account numbers
are then checked by their check digits (Luhn; ISO 7064 mod 97-10), which nine of ten, and 96 of 97, numbers that only
look so do not pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_TLD = (
    "com|org|net|edu|gov|mil|int|info|biz|name|pro|xyz|online|shop|site|store|blog|club|app|dev|art|photo|photography|"
    "io|co|me|tv|cc|us|uk|ca|au|nz|ie|de|fr|es|it|nl|be|at|ch|se|no|dk|fi|pl|cz|pt|gr|hu|ro|ru|ua|tr|il|in|pk|cn|jp|"
    "kr|tw|hk|sg|my|id|th|vn|ph|br|ar|mx|cl|za|ng|ke|eg|eu"
)
"""Endings that make bare words with a dot a web address; others, as in "end.Next", need a scheme or www."""

_SCHEME = r"\b(?:https?|ftp)://[^\s]"
_BARE = rf"\b(?:www\.[a-z0-9-]+\.[a-z]|[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*\.(?:{_TLD})(?:[/?:#]|\b))"
URL = rf"(?i)(?:{_SCHEME}|{_BARE})"
EMAIL = r"(?i)\b[a-z0-9][a-z0-9._%+-]*(?:@|\s?[\[(]at[\])]\s?)[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b"
IP_ADDRESS = (
    rf"(?:^|[^0-9.])(?:{_OCTET}\.){{3}}{_OCTET}(?:$|[^0-9.]|\.(?:$|[^0-9]))"
    r"|(?i:(?:^|[^0-9a-f:])(?:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){1,6})(?:$|[^0-9a-f:]))"
)
_NOT_BEFORE, _NOT_AFTER = r"(?:^|[^0-9A-Za-z.,/_#$€£-])", r"(?:$|[^0-9A-Za-z_/-])"
PHONE = (
    # +44 20 7946 0958: an international prefix and 7 to 14 more digits, whatever groups them
    rf"(?:(?:^|[^0-9A-Za-z+])(?:\+|00)[1-9](?:[ .()/-]{{0,2}}[0-9]){{7,14}}{_NOT_AFTER})"
    # (212) 555-0123, 212-555-0123, 212.555.0123, 1-800-555-0123
    rf"|(?:{_NOT_BEFORE}(?:1[ .-])?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}[.-])"
    rf"[2-9][0-9]{{2}}[ .-][0-9]{{4}}{_NOT_AFTER})"
    # tel: 0171 1234567, phone 555 0123, call 020 7946 0958
    r"|(?i:\b(?:tel|phone|telephone|mobile|cell|fax|whatsapp|call|tél|telefon|hotline)(?: us)?[.:]? ?"
    r"(?:at |on |no\.? ?)?"
    r"\(?[0-9](?:[ .()/-]{0,2}[0-9]){6,14}(?:$|[^0-9]))"
)
_CARD = r"(?:^|[^0-9])[2-6][0-9]{3}(?:[ -]?[0-9]){9,15}(?:$|[^0-9])"
_CARD_NUMBER = re.compile(r"(?<![0-9])[2-6][0-9]{3}(?:[ -]?[0-9]){9,15}(?![0-9])")
_IBAN = r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"
_IBAN_NUMBER = re.compile(_IBAN)

COLUMNS = ("has_url", "has_email", "has_phone", "has_ip_address", "has_card_number", "has_iban")


def personal_facts(texts: pa.Array) -> dict[str, pa.Array]:
    """COLUMNS, one boolean per text."""
    return {
        "has_url": pc.match_substring_regex(texts, URL),
        "has_email": pc.match_substring_regex(texts, EMAIL),
        "has_phone": pc.match_substring_regex(texts, PHONE),
        "has_ip_address": pc.match_substring_regex(texts, IP_ADDRESS),
        "has_card_number": _checked(texts, _CARD, _CARD_NUMBER, passes_luhn),
        "has_iban": _checked(texts, _IBAN, _IBAN_NUMBER, passes_mod_97),
    }


def passes_luhn(number: str) -> bool:
    """Whether the digits of a number, 13 to 19 of them, end in their check digit (ISO/IEC 7812-1)."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = (digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2])
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def passes_mod_97(number: str) -> bool:
    """Whether an account number has the check digits of ISO 13616."""
    plain = number.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _checked(texts: pa.Array, pattern: str, finder: re.Pattern[str], passes: Callable[[str], bool]) -> pa.Array:
    """Where a match of `finder` passes its check; `pattern` is for RE2, and leaves few texts to look at."""
    found = pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False).copy()
    for row in np.flatnonzero(found).tolist():
        found[row] = any(map(passes, _starts(texts[row].as_py(), finder)))
    return pa.array(found)


def _starts(text: str, finder: re.Pattern[str]) -> Iterable[str]:
    return (match.group() for match in finder.finditer(text))
