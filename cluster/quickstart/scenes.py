"""Drawn scenes: one or two coloured shapes on a plain ground, and a caption that says what is there.

A scene is a function of its seed alone. The captions vary in wording, so that a text encoder has something to learn,
and every word of a caption can be seen in the picture, so that a model can be checked by what it retrieves.
"""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

COLOURS = {
    "red": (214, 40, 40),
    "orange": (247, 127, 0),
    "yellow": (250, 210, 40),
    "green": (46, 139, 60),
    "blue": (38, 84, 200),
    "purple": (122, 40, 150),
    "pink": (245, 130, 180),
    "white": (250, 250, 250),
}
GROUNDS = {"a grey": (128, 128, 128), "a black": (20, 20, 20), "a brown": (110, 75, 45), "a pale": (225, 215, 195)}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
SIZES = {"small": 0.16, "large": 0.30}
PLACES = {"above": (0, -1), "below": (0, 1), "left of": (-1, 0), "right of": (1, 0)}
SIDE_PX = (160, 200, 240)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture as JPEG bytes, and a caption that is true of it."""

    caption: str
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class _Thing:
    size: str
    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.size} {self.colour} {self.shape}"


def draw_scene(seed: int) -> Scene:
    """Draw the scene of `seed`: same seed, same bytes."""
    rng = random.Random(f"scene {seed}")
    ground = rng.choice(sorted(GROUNDS))
    first, second = _thing(rng), _thing(rng)
    width, height = rng.choice(SIDE_PX), rng.choice(SIDE_PX)
    image = Image.new("RGB", (width, height), _shade(rng, GROUNDS[ground]))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.35:
        _draw_thing(draw, rng, first, (width * rng.uniform(0.35, 0.65), height * rng.uniform(0.35, 0.65)), image.size)
        caption = rng.choice((f"a {first} on {ground} ground", f"one {first}, {ground} background"))
    else:
        place = rng.choice(sorted(PLACES))
        across, down = PLACES[place]
        for thing, side in ((first, 1), (second, -1)):
            centre = (width * (0.5 + side * across * 0.24), height * (0.5 + side * down * 0.24))
            _draw_thing(draw, rng, thing, centre, image.size)
        caption = rng.choice((f"a {first} {place} a {second}", f"a {first} {place} a {second} on {ground} ground"))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return Scene(caption, buffer.getvalue())


def _thing(rng: random.Random) -> _Thing:
    return _Thing(rng.choice(sorted(SIZES)), rng.choice(sorted(COLOURS)), rng.choice(SHAPES))


def _shade(rng: random.Random, colour: tuple[int, int, int]) -> tuple[int, ...]:
    return tuple(min(255, max(0, channel + rng.randint(-12, 12))) for channel in colour)


def _draw_thing(
    draw: ImageDraw.ImageDraw, rng: random.Random, thing: _Thing, centre: tuple[float, float], size: tuple[int, int]
) -> None:
    radius = SIZES[thing.size] * min(size) * rng.uniform(0.9, 1.0)
    x, y = centre
    fill = _shade(rng, COLOURS[thing.colour])
    box = (x - radius, y - radius, x + radius, y + radius)
    if thing.shape == "circle":
        draw.ellipse(box, fill=fill)
    elif thing.shape == "ring":
        draw.ellipse(box, outline=fill, width=max(3, round(radius * 0.35)))
    elif thing.shape == "square":
        draw.rectangle(box, fill=fill)
    elif thing.shape == "cross":
        arm = radius * 0.34
        draw.rectangle((x - radius, y - arm, x + radius, y + arm), fill=fill)
        draw.rectangle((x - arm, y - radius, x + arm, y + radius), fill=fill)
    else:
        draw.polygon(_corners(thing.shape, x, y, radius), fill=fill)


def _corners(shape: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    points = 3 if shape == "triangle" else 10
    radii = [radius] if shape == "triangle" else [radius, radius * 0.42]
    return [
        (
            x + radii[i % len(radii)] * math.sin(2 * math.pi * i / points),
            y - radii[i % len(radii)] * math.cos(2 * math.pi * i / points),
        )
        for i in range(points)
    ]
