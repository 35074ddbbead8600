"""Captions that speak of the page, not of the picture: buttons, file names, camera names, measures.

Takes a column of texts, gives booleans. CC3M (ACL 2018, section 3) removes texts that hold "click to enlarge picture"
or "stock photo", or that begin or end with patterns such as "embedded image permalink" and "profile photo"; its list
is not published, and this one was written from what alt texts of web pages commonly say. RE2 runs it in linear time.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

ANYWHERE = (
    r"click (?:here|to|on|for|the|image|photo|picture|thumbnail)",
    r"(?:tap|hover|press|scroll) (?:here|to|over|down) ",
    r"(?:enlarge|zoom|view|see|download|open|show) (?:the |this )?(?:full[- ]?siz(?:e|ed)?|larger|bigger|hi-?res\w*)",
    r"(?:enlarge|zoom|resize) (?:the |this )?(?:image|photo|picture|pic|map|graphic)",
    r"(?:image|photo|picture|pic) to (?:enlarge|zoom)",
    r"stock (?:photo|image|picture|illustration|vector|footage|photography)s?",
    r"royalty[- ]free",
    r"(?:free|vector) (?:download|clip ?art)",
    r"embedded image permalink",
    r"image (?:may contain|not (?:available|found)|unavailable|placeholder|coming soon|loading|result for|of the day)",
    r"(?:no|missing) (?:image|photo|picture)(?: (?:available|yet|found))?\b",
    r"photo (?:not available|unavailable|coming soon)",
    r"(?:loading|lazy ?load|please wait)\.\.\.",
    r"all rights reserved|copyright (?:©|\(c\)|[0-9]{4})|© ?[0-9]{4}",
    r"add to (?:cart|basket|bag|wish ?list|favou?rites)",
    r"(?:buy|shop|order|sign up|subscribe|register|book|learn|read|find out|load) (?:now|more|all|online|today)\b",
    r"(?:see|view|show) (?:more|all)\b",
    r"(?:share|pin|follow|like|find|join) (?:this|us|it|me) (?:on|at) ",
    r"(?:facebook|twitter|instagram|pinterest|linkedin|youtube|whatsapp|google ?(?:plus|\+)|rss)"
    r" (?:icon|logo|button|link|share|feed)",
    r"(?:your browser|javascript|cookies?) (?:does not|is|are|must|policy|settings)",
    r"(?:slide|slideshow|carousel|gallery|photo|image|picture|thumbnail|figure|page) ?#? ?[0-9]+ (?:of|/) ?[0-9]+",
    r"(?:web|home) ?page (?:screenshot|thumbnail)",
    r"lorem ipsum",
    r"powered by \w+",
)
"""Phrases that make a caption boilerplate wherever they stand."""

AT_EDGE = (
    r"profile (?:photo|image|picture|pic)(?: (?:of|for) .{0,60})?",
    r"(?:user|author|member|account|display)(?:'s)? (?:photo|image|picture|pic|avatar|icon)",
    r"(?:avatar|gravatar|logo|icon|thumbnail|thumb|screenshot|banner|header|placeholder|spacer|sprite|favicon)",
    r"(?:image|photo|picture|pic|img|foto|bild) ?(?:#|no\.?|num(?:ber)?)? ?[0-9]+",
    r"(?:image|photo|picture|pic|cover|featured|main|primary|product|post|article|hero|header|background|default)"
    r" (?:image|photo|picture|thumbnail|view|gallery)",
    r"(?:photo|image|picture|video|screenshot|map|chart) (?:credit|courtesy|source|via|by|copyright)\b.{0,80}",
    r"(?:related|similar|recommended) (?:image|photo|picture|post|article|product|video)s?",
    r"(?:previous|next|back|close|menu|search|home|print|share|download|play|pause|more)",
    r"(?:untitled|no title|null|none|undefined|n/a)",
    r"(?:photo|picture|image)s? gallery(?: of .{0,60})?",
    r"(?:wallpaper|wallpapers|hd wallpaper|desktop background|clip ?art|vector|printable|coloring page)s?",
)
"""Phrases that make a caption boilerplate where they are all of it, or its beginning or end set off by a mark."""

_EXTENSION = r"(?:jpe?g|png|gif|webp|bmp|tiff?|svg|avif|heic|psd|pdf|mp4|mov)"
FILE_NAME = rf"(?i)(?:^|[\s(\[/\\])[^\s/\\()]*[^\s/\\().]\.{_EXTENSION}(?:$|[\s)\],.;:?])"
CAMERA_NAME = (
    r"(?:^|[^A-Za-z0-9])(?:"
    r"(?:IMG|Img|img|DSC[NF]?|dsc[nf]?|PICT|Pict|pict|CIMG|MVC|SAM|HPIM|VID|MOV|PXL|SDC|GOPR|DJI|KODAK|SCAN|PANO|BURST"
    r"|UNADJUSTEDNONRAW_thumb|Screenshot|Screen ?[Ss]hot)[ _-]?[0-9]{3,}"
    r"|_?MG_[0-9]{3,}|P[01][0-9]{6}|[Ii]mage[_-]?[0-9]{3,}|[Pp]hoto[_-]?[0-9]{3,}|WhatsApp Image [0-9]{4}"
    r"|FB_IMG_[0-9]+|[0-9]{8}_[0-9]{6}|[0-9a-f]{16,}|[0-9]{7,}_[0-9]+_[0-9]+)"
)
_SIDE = "[0-9]{2,5}(?:px)?"
DIMENSIONS = rf"(?i)(?:^|[^a-z0-9.])(?:{_SIDE}[x×*]{_SIDE}|{_SIDE} [x×*] {_SIDE})(?: ?pixels)?(?:$|[^a-z0-9.])"

_EDGE = "|".join(AT_EDGE)
_BOILERPLATE = (
    rf"(?i)(?:^|[^a-z])(?:{'|'.join(ANYWHERE)})"
    rf"|(?i:^\W*(?:{_EDGE})\W*$)"
    rf"|(?i:^\W*(?:{_EDGE})\s*[-–—|:•»,.]\s)"
    rf"|(?i:\s[-–—|:•«,.]\s*(?:{_EDGE})\W*$)"
)

COLUMNS = ("is_boilerplate", "has_file_name", "has_dimensions")


def boilerplate_facts(texts: pa.Array) -> dict[str, pa.Array]:
    """is_boilerplate: a phrase of the lists, or nothing but a file's name. has_file_name: the name of a media file, or
    one that a camera gives. has_dimensions: two numbers with an x between them, such as 1024x768.
    """
    named = pc.or_(pc.match_substring_regex(texts, FILE_NAME), pc.match_substring_regex(texts, CAMERA_NAME))
    alone = pc.match_substring_regex(texts, r"^\s*\S+\s*$")
    phrase = pc.match_substring_regex(texts, _BOILERPLATE)
    return {
        "is_boilerplate": pc.or_(phrase, pc.and_(named, alone)),
        "has_file_name": named,
        "has_dimensions": pc.match_substring_regex(texts, DIMENSIONS),
    }
