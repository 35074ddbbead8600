"""The charset of a page, found as browsers find it, and its text.

Labels mean what the web takes them to mean (`iso-8859-1` is windows-1252), and only charsets of the web are known:
Python's others unpack, execute or grind. Source: encoding.spec.whatwg.org.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"<meta[^>]{0,500}?charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([a-zA-Z0-9_:.-]{1,40})", re.IGNORECASE)
_META_WITHIN_BYTES = 4_096
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf-16": "utf-16-le",
}
"""Python's name of a charset -> of the one that browsers read it as, which has all its characters and more."""
_KNOWN = re.compile(
    r"utf-8|utf-16-[lb]e|iso8859-\d+|cp125\d|cp8(66|74)|koi8-[ru]|mac-(roman|cyrillic)|big5|gb18030|euc_jp"
    r"|iso2022_jp|cp932|cp949"
)


def decode(body: bytes, header_charset: str | None) -> tuple[str, str]:
    """The text of a page and the name of its charset: by byte order mark, header, meta element, UTF-8, windows-1252.

    Bytes that the charset does not know become U+FFFD.
    """
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace"), name
    name = None if header_charset is None else charset(header_charset)
    if name is None and (found := _META.search(body, 0, _META_WITHIN_BYTES)) is not None:
        name = charset(found[1].decode("ascii"))
        name = "utf-8" if name is not None and name.startswith("utf-16") else name  # it was readable as ASCII
    if name is None:
        try:
            return body.decode("utf-8"), "utf-8"
        except UnicodeDecodeError as error:
            # a page cut in the middle of a character is UTF-8 still
            is_cut = error.reason == "unexpected end of data" and not body[: error.start].isascii()
            name = "utf-8" if is_cut else "cp1252"
    return body.decode(name, "replace"), name


@lru_cache(maxsize=1024)
def charset(label: str) -> str | None:
    """Python's name of the charset that browsers take for this label; None for what is none of the web's."""
    try:
        name = codecs.lookup(label.strip().strip("\"'")[:40]).name
    except (LookupError, ValueError):
        return None
    name = _WIDER.get(name, name)
    return name if _KNOWN.fullmatch(name) else None
