"""From the HTML of a page to its images with texts: which picture, at which address, and what the page says of it.

Takes decoded HTML (any text at all) and the page's own address; gives `Page`: images in document order with absolute
http(s) links, the page's language, and every robots statement in it. The largest picture wins: by the `w` or `x` of
`srcset` and `<picture>`, else the lazy-loading attribute, else `src`. Work is bounded: see `tame`.
Sources: html.spec.whatwg.org, ogp.me (structured image properties).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from pipeline.ingest.sources.links import MAX_CANDIDATES, best_url, join

MAX_DEPTH = 2_000
MAX_TAG_CHARS = 16_384

_MANY_TAGS = 5_000
_LONG_PAGE = 65_536
_MAX_ANCESTORS = 100
_MAX_TEXT_CHARS = 100_000
_LAZY = ("data-src", "data-lazy-src", "data-original")
_SRCSETS = ("srcset", "data-srcset", "data-lazy-srcset")
_TAG = re.compile(r"""<(/?)([a-zA-Z][^\s/>]{0,40})(?:[^"'>]++|"[^"]*+"|'[^']*+')*+>?""")
_FLAT = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
    | {"p", "li", "dt", "dd", "tr", "td", "th", "option", "thead", "tbody", "tfoot"}
)
"""Elements without content, and those whose end tag is often left out and implied by the next of their kind."""
_INLINE = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "cite", "code", "em", "font", "i", "kbd", "mark", "q", "s", "small", "span"}
    | {"strong", "sub", "sup", "time", "tt", "u", "var"}
)
_SILENT = frozenset({"script", "style", "noscript", "template"})
_LANG = re.compile(r"([a-zA-Z]{2,3})(?:[-_][a-zA-Z0-9_-]*)?\Z")


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of a page: its absolute link and its texts as (text, kind), kind in alt, title, figcaption, og."""

    url: str
    texts: tuple[tuple[str, str], ...] = ()
    lang: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What a page holds for us. `robots` are (name, content) of its meta elements that speak to robots, in order."""

    images: list[Image] = field(default_factory=list)
    num_images: int = 0
    """Pictures on the page, with those over the limit."""
    robots: list[tuple[str, str]] = field(default_factory=list)
    cut: bool = False
    """The page was too deep to read to its end."""


def read_page(html: str, page_url: str, max_images: int) -> Page:
    """The images of a page, at most `max_images`; never raises on any text."""
    html, cut = tame(html)
    tree = LexborHTMLParser(html)
    root_lang = None
    base_url, metas = page_url, []
    for node in tree.css("html, base, meta"):
        attributes = node.attributes
        if node.tag == "html":
            root_lang = language(attributes.get("lang") or attributes.get("xml:lang"))
        elif node.tag == "base" and base_url == page_url and attributes.get("href"):
            base_url = join(page_url, attributes["href"]) or page_url
        elif node.tag == "meta":
            metas.append((attributes.get("property") or attributes.get("name"), attributes.get("content")))
    images = og_images(metas, base_url, root_lang)
    captions: dict[int, str] = {}
    nodes = tree.css("img")
    for node in nodes[: 4 * max_images]:  # some have no link, and are not counted
        url = _best_url(node, base_url)
        if url is not None:
            images.append(_image(node, url, root_lang, captions))
    num_images = len(images) + max(0, len(nodes) - 4 * max_images)
    return Page(images[:max_images], num_images, robots_of(metas), cut)


def tame(html: str) -> tuple[str, bool]:
    """`html` without what makes a parser slow, and whether its end is lost.

    Parsers take time quadratic in the depth of the tree (200,000 nested `<div>`: over a minute) and in the number of
    attributes of one tag (100,000: 20 s). So a page is cut where `MAX_DEPTH` elements are open, by a count that knows
    implied ends but not every rule, and a tag of more than `MAX_TAG_CHARS`, of which over a tenth is space, is left
    out. Pages of few tags and few characters cannot be slow and are not looked at.
    """
    many_tags = html.count("<") > _MANY_TAGS
    if not many_tags and len(html) < _LONG_PAGE:
        return html, False
    depth = 0
    kept: list[str] = []
    at = 0
    for tag in _TAG.finditer(html):
        start, end = tag.span()
        if end - start > MAX_TAG_CHARS and _num_gaps(tag[0]) > (end - start) // 10:
            kept.append(html[at:start])
            at = end
        elif many_tags and tag[2].lower() not in _FLAT:
            depth = max(0, depth - 1) if tag[1] else depth + 1
            if depth > MAX_DEPTH:
                return "".join([*kept, html[at:start]]), True
    return ("".join([*kept, html[at:]]), False) if kept else (html, False)


def language(tag: str | None) -> str | None:
    """The language code of a language tag such as `en-US`; None where it is no tag."""
    found = None if tag is None else _LANG.match(tag.strip())
    return None if found is None else found[1].lower()


def plain(text: str | None) -> str:
    """`text` with each run of white space as one space, none at its ends."""
    return "" if text is None else " ".join(text.split())


def og_images(metas: Iterable[tuple[Any, Any]], base_url: str, lang: str | None) -> list[Image]:
    """The Open Graph images of a page: each with its own alt, and the title and description of the page."""
    shared: dict[str, str] = {}
    found: list[tuple[str, list[str]]] = []
    for name, content in metas:
        name = name.strip().lower() if isinstance(name, str) else ""
        if not name.startswith("og:") or not isinstance(content, str):
            continue
        if name in ("og:image", "og:image:url"):
            url = join(base_url, content)
            if url is not None and url not in [known for known, _ in found[-1:]]:
                found.append((url, []))
        elif name == "og:image:alt" and found:
            found[-1][1].append(plain(content))
        elif name in ("og:title", "og:description"):
            shared.setdefault(name, plain(content))
    page_texts = [shared.get("og:title", ""), shared.get("og:description", "")]
    return [
        Image(url, tuple((text, "og") for text in dict.fromkeys([*alts, *page_texts]) if text), lang)
        for url, alts in found
    ]


def robots_of(metas: Iterable[tuple[Any, Any]]) -> list[tuple[str, str]]:
    """The (name, content) pairs of `metas` that may speak to robots: all but those with a colon in their name."""
    return [
        (name.strip().lower(), content)
        for name, content in metas
        if isinstance(name, str) and isinstance(content, str) and ":" not in name
    ]


def _best_url(node: Any, base_url: str) -> str | None:
    attributes = node.attributes
    srcsets = [attributes[name] for name in _SRCSETS if attributes.get(name)]
    parent = node.parent
    if parent is not None and parent.tag == "picture":
        for source in parent.css("source")[:MAX_CANDIDATES]:
            others = source.attributes
            srcsets += [others[name] for name in _SRCSETS if others.get(name)]
    lazy = [attributes[name] for name in _LAZY if attributes.get(name)]
    return best_url(srcsets, lazy, attributes.get("src"), base_url)


def _image(node: Any, url: str, root_lang: str | None, captions: dict[int, str]) -> Image:
    attributes = node.attributes
    lang = language(attributes.get("lang"))
    caption = None
    above = node.parent
    for _ in range(_MAX_ANCESTORS):
        if above is None or above.tag in ("body", "html"):
            break
        if caption is None and above.tag == "figure":
            caption = captions.get(above.mem_id)
            if caption is None:
                caption = captions[above.mem_id] = _caption(above)
        if lang is None:
            lang = language(above.attributes.get("lang"))
        above = above.parent
    texts = [(plain(attributes.get("alt")), "alt"), (plain(attributes.get("title")), "title")]
    texts.append((caption or "", "figcaption"))
    return Image(url, tuple(item for item in texts if item[0]), lang or root_lang)


def _caption(figure: Any) -> str:
    """The text of a figure's caption as it would be read: blocks apart, inline elements not."""
    caption = figure.css_first("figcaption")
    if caption is None:
        return ""
    parts: list[str] = []
    size, before = 0, None
    for node in caption.traverse(include_text=True):
        if node.tag != "-text":
            if node.tag not in _INLINE:
                parts.append(" ")
            continue
        block = node.parent
        while block is not None and block.tag in _INLINE:
            block = block.parent
        if block is None or block.tag in _SILENT:
            continue
        if before is not None and block.mem_id != before:
            parts.append(" ")
        before = block.mem_id
        text = node.text_content or ""
        parts.append(text)
        size += len(text)
        if size > _MAX_TEXT_CHARS:
            break
    return plain("".join(parts))


def _num_gaps(tag: str) -> int:
    return sum(tag.count(gap) for gap in " \n\t\r\f/")
