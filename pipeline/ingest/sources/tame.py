"""Pages that are made to be slow, made harmless before a parser sees them.

HTML parsers, that of selectolax too, take time quadratic in the depth of a tree (200,000 nested `<div>`: over
a minute) and in the number of attributes of one tag (100,000: 20 s). `tame` cuts a page where too many elements are
open, and leaves out a tag with thousands of attributes. It follows the rules of html.spec.whatwg.org for what an end
tag closes, and where it simplifies them it counts more elements open than there are; so honest pages of that depth
are cut too, which browsers do at 512 elements in their own way.
"""

from __future__ import annotations

import re

MAX_DEPTH = 2_000
"""Elements open at once."""
MAX_ATTRIBUTES = 2_000
"""Of a tag longer than `_LONG_TAG`, which is left out if it has more."""

_MANY_TAGS = 5_000
_LONG_PAGE = 65_536
_LONG_TAG = 16_384
_MAX_SEARCH = 64
_TAG = re.compile(
    r"""<!--[^-]*+(?:-(?!->)[^-]*+)*+|<[!?][^>]*+|</[^a-zA-Z>][^>]*+"""  # comments, and what is read as one
    r"""|<(/?)([a-zA-Z][^\s/>]{0,40})(?:[^"'>]++|"[^"]*+"|'[^']*+')*+>?"""
)
_QUOTED = re.compile(r""""[^"]*+"|'[^']*+'""")
_FLAT = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
    | {"p", "li", "dt", "dd", "tr", "td", "th", "option", "thead", "tbody", "tfoot"}
)
"""Elements without content, and those whose end tag is often left out and implied by the next of their kind."""
_RAW = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"})
"""Elements whose content is text, whatever it looks like."""
_BARRIERS = frozenset({"table", "caption", "marquee", "object", "applet", "template"})
"""No end tag of another element closes these."""
_SPECIAL = _BARRIERS | frozenset(
    {"address", "article", "aside", "blockquote", "body", "button", "center", "details", "dialog", "dir", "div", "dl"}
    | {"fieldset", "figcaption", "figure", "footer", "form", "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "head"}
    | {"header", "hgroup", "html", "listing", "main", "menu", "nav", "noscript", "ol", "pre", "search", "section"}
    | {"select", "summary", "ul"}
)
"""Only an end tag of another special element closes these along with its own."""


def tame(html: str) -> tuple[str, bool]:
    """`html` without what makes a parser slow, and whether its end is lost.

    Pages of few tags and few characters cannot be slow and are not looked at.
    """
    many_tags = html.count("<") > _MANY_TAGS
    if not many_tags and len(html) < _LONG_PAGE:
        return html, False
    open_names: list[str] = []
    kept: list[str] = []
    at = 0
    raw: str | None = None
    for tag in _TAG.finditer(html):
        if tag[2] is None:
            continue
        name = tag[2].lower()
        if raw is not None:
            raw = None if tag[1] and name == raw else raw
            continue
        start, end = tag.span()
        if end - start > _LONG_TAG and _num_attributes(tag[0]) > MAX_ATTRIBUTES:
            kept.append(html[at:start])
            at = end
        elif not many_tags or name in _FLAT:
            continue
        elif tag[1]:
            _close(open_names, name)
        elif name in _RAW:
            raw = name
        elif len(open_names) == MAX_DEPTH:
            return "".join([*kept, html[at:start]]), True
        else:
            open_names.append(name)
    return ("".join([*kept, html[at:]]), False) if kept else (html, False)


def _close(open_names: list[str], name: str) -> None:
    """Take off what an end tag closes: nothing, where another element is in its way."""
    for i in range(len(open_names) - 1, max(-1, len(open_names) - 1 - _MAX_SEARCH), -1):
        if open_names[i] == name:
            del open_names[i:]
            return
        if open_names[i] in _BARRIERS or (open_names[i] in _SPECIAL and name not in _SPECIAL):
            return


def _num_attributes(tag: str) -> int:
    """At least as many as the tag has: its pieces between spaces, slashes and quoted values."""
    return len(_QUOTED.sub(" ", tag).replace("/", " ").split())
