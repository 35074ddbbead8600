"""The quickstart's world: drawn scenes, a list of links to them as Conceptual Captions publishes one, and the faults
that real lists have, in known numbers, so that the funnel can be checked against what was planted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from cluster.quickstart.scenes import draw_scene
from cluster.quickstart.web import Fault, Page

SHARES: Mapping[Fault, float] = {
    "missing": 0.06,
    "gone": 0.01,
    "server_error": 0.01,
    "hang": 0.004,
    "html": 0.03,
    "truncated": 0.02,
    "opted_out": 0.03,
    "redirect_loop": 0.005,
}
"""Share of a list's rows that lead to each fault. About one in six, as in a list a few years old."""

OUTCOME_OF: Mapping[Fault, str] = {
    "missing": "http_404",
    "gone": "http_410",
    "server_error": "http_5xx",
    "hang": "timeout",
    "html": "wrong_type",
    "truncated": "decode_error",
    "opted_out": "opted_out",
    "redirect_loop": "too_many_redirects",
    "endless": "too_large",
}
"""The outcome that the fetcher must give each fault."""


@dataclass(frozen=True)
class World:
    """Rows of a list as (caption, path), the pages behind them, and what was planted."""

    rows: Sequence[tuple[str, str]]
    pages: Mapping[str, Page]
    planted: Mapping[str, int] = field(default_factory=dict)
    """Reason -> rows that must leave the funnel for it."""

    def write_list(self, path: Path, base_url: str) -> None:
        """Write the list as a Conceptual Captions TSV: caption, tab, url; no header."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (f"{caption}\t{base_url}/{name}\n" for caption, name in self.rows)
        path.write_text("".join(lines), encoding="utf-8")


def draw_world(scenes: int, seed: int) -> World:
    """Draw `scenes` scenes and plant faults, duplicates, mismatched and too short captions among their rows."""
    rng = random.Random(f"world {seed}")
    pages: dict[str, Page] = {}
    rows: list[tuple[str, str]] = []
    for number in range(scenes):
        scene = draw_scene(seed * 1_000_003 + number)
        pages[f"scene/{number:06d}.jpg"] = Page(scene.jpeg)
        rows.append((scene.caption, f"scene/{number:06d}.jpg"))
    planted = Counter[str]()
    _mismatch(rng, rows, share=0.02)
    planted.update(_plant_duplicates(rng, rows))
    planted.update(_plant_short(rng, rows, pages))
    planted.update(plant_faults(rng, rows, pages))
    rng.shuffle(rows)
    return World(rows, pages, dict(planted))


def plant_faults(
    rng: random.Random, rows: list[tuple[str, str]], pages: dict[str, Page], folder: str = ""
) -> Counter[str]:
    """Append rows that lead to faults, `SHARES` of the rows there are, under `folder`; returns outcome -> rows."""
    planted = Counter[str]()
    sound = len(rows)
    for fault, share in SHARES.items():
        for number in range(max(1, round(sound * share))):
            caption, path = rows[rng.randrange(sound)]
            name = f"{folder}{fault}/{number:05d}.jpg"
            pages[name] = Page(pages[path].body, fault)
            rows.append((caption, name))
            planted[f"fetch:{OUTCOME_OF[fault]}"] += 1
    return planted


def _plant_duplicates(rng: random.Random, rows: list[tuple[str, str]]) -> Counter[str]:
    """Repeat 3 % of the rows as they are: the same pair twice."""
    again = rng.sample(rows, max(1, len(rows) * 3 // 100))
    rows.extend(again)
    return Counter({"duplicate_pair": len(again)})


def _plant_short(rng: random.Random, rows: list[tuple[str, str]], pages: dict[str, Page]) -> Counter[str]:
    """Add rows with a caption of one word, under pictures of their own."""
    number = max(1, len(rows) // 50)
    for i in range(number):
        path = f"short/{i:05d}.jpg"
        pages[path] = Page(draw_scene(-1 - i).jpeg)
        rows.append((rng.choice(("image", "photo", "IMG_0001")), path))
    return Counter({"too_few_words": number})


def _mismatch(rng: random.Random, rows: list[tuple[str, str]], share: float) -> None:
    """Give some rows the caption of another; nothing but a model can tell, so they stay in."""
    chosen = rng.sample(range(len(rows)), round(len(rows) * share))
    for here, there in pairwise(chosen):
        rows[here] = (rows[there][0], rows[here][1])
