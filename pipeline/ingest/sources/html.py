"""From the HTML of a page to its images with texts: which picture, at which address, and what the page says of it.

Takes decoded HTML (any text at all) and the page's own address; gives `Page`: images in document order with absolute
http(s) links, the page's language, and every robots statement in it. The largest picture wins: by the `w` or `x` of
`srcset` and `<picture>`, else the lazy-loading attribute, else `src`. Work is bounded: see `tame.py`.
Sources: html.spec.whatwg.org, ogp.me (structured image properties).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from pipeline.ingest.sources.links import MAX_CANDIDATES, best_url, join
from pipeline.ingest.sources.tame import tame

_MAX_ANCESTORS = 100
_MAX_TEXT_CHARS = 100_000
_LAZY = ("data-src", "data-lazy-src", "data-original")
_SRCSETS = ("srcset", "data-srcset", "data-lazy-srcset")
_INLINE = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "cite", "code", "em", "font", "i", "kbd", "mark", "q", "s", "small", "span"}
    | {"strong", "sub", "sup", "time", "tt", "u", "var"}
)
_SILENT = frozenset({"script", "style", "noscript", "template"})
_LANG = re.compile(r"([a-zA-Z]{2,3})(?:[-_][a-zA-Z0-9_-]*)?\Z")


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of a page: its absolute link and its texts as (text, kind), kind in alt, title, figcaption, og.

    `index` counts all pictures of the page, also those without a link or a text: Open Graph images, then `<img>`.
    """

    index: int
    url: str
    texts: tuple[tuple[str, str], ...]
    lang: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What a page holds for us. `robots` are (name, content) of its meta elements that speak to robots, in order."""

    images: list[Image] = field(default_factory=list)
    """Those with a link and a text."""
    num_images: int = 0
    """Pictures on the page, with those over the limit, and those without a link or a text."""
    robots: list[tuple[str, str]] = field(default_factory=list)
    cut: bool = False
    """The page was too deep to read to its end."""


def read_page(html: str, page_url: str, max_images: int) -> Page:
    """The images of a page among its first `max_images`; never raises on any text."""
    html, cut = tame(html)
    tree = LexborHTMLParser(html)
    root_lang = None
    base_url, metas = None, []
    for node in tree.css("html, base, meta"):
        attributes = node.attributes
        if node.tag == "html":
            root_lang = language(attributes.get("lang") or attributes.get("xml:lang"))
        elif node.tag == "base" and base_url is None and attributes.get("href"):
            base_url = join(page_url, attributes["href"]) or page_url
        elif node.tag == "meta":
            metas.append((attributes.get("property") or attributes.get("name"), attributes.get("content")))
    base_url = base_url or page_url
    images = og_images(metas, base_url, root_lang)
    num_og = len(images)
    nodes = tree.css("img")
    captions: dict[int, str] = {}
    for index, node in enumerate(nodes[: max(0, max_images - num_og)], num_og):
        image = _image(node, index, base_url, root_lang, captions)
        if image is not None:
            images.append(image)
    with_texts = [image for image in images[:max_images] if image.texts]
    return Page(with_texts, num_og + len(nodes), robots_of(metas), cut)


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
    images = []
    for index, (url, alts) in enumerate(found):
        texts = tuple((text, "og") for text in dict.fromkeys([*alts, *page_texts]) if text)
        images.append(Image(index, url, texts, lang))
    return images  # those without a text too, so that their number is known


def robots_of(metas: Iterable[tuple[Any, Any]]) -> list[tuple[str, str]]:
    """The (name, content) pairs of `metas` that may speak to robots: all but those with a colon in their name."""
    return [
        (name.strip().lower(), content)
        for name, content in metas
        if isinstance(name, str) and isinstance(content, str) and ":" not in name
    ]


def _image(node: Any, index: int, base_url: str, root_lang: str | None, captions: dict[int, str]) -> Image | None:
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
    texts = [item for item in [*texts, (caption or "", "figcaption")] if item[0]]
    url = _address(node, attributes, base_url) if texts else None
    return None if url is None else Image(index, url, tuple(texts), lang or root_lang)


def _address(node: Any, attributes: dict[str, str | None], base_url: str) -> str | None:
    srcsets = [value for name in _SRCSETS if (value := attributes.get(name))]
    parent = node.parent
    if parent is not None and parent.tag == "picture":
        for others in _sources(node):
            srcsets += [value for name in _SRCSETS if (value := others.get(name))]
    lazy = [value for name in _LAZY if (value := attributes.get(name))]
    return best_url(srcsets, lazy, attributes.get("src"), base_url)


def _sources(node: Any) -> list[dict[str, str | None]]:
    """The attributes of the `<source>` elements before a picture's `<img>`, in order."""
    found = []
    before = node.prev
    for _ in range(2 * MAX_CANDIDATES):  # text lies between them
        if before is None:
            break
        if before.tag == "source":
            found.append(before.attributes)
        before = before.prev
    return found[::-1]


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
