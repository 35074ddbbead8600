import random

import pyarrow as pa
import pytest

from pipeline.filter.text.boilerplate import boilerplate_facts

BOILERPLATE = [
    "click to enlarge picture",
    "Sunset over the sea - Stock Photo",
    "christmas decorations on the old town at night -- stock photo #",
    "embedded image permalink",
    "Profile photo of Jane",
    "image may contain: 2 people, outdoor",
    "User avatar",
    "Image 3",
    "Photo #12",
    "logo",
    "Next",
    "A red car | Wallpaper",
    "IMG_2034.JPG",
    "DSC_0012",
    "P1010023",
    "shaker-heritage-barn-wedding-day007.jpg",
    "Royalty-free vector",
    "© 2014 The Gallery",
    "Photo 3 of 12",
    "no image available",
    "Thumbnail",
]
CAPTIONS = [
    "a red dog runs over the lawn",
    "S&P 500 Monthly",
    "the logo of the company on a wall",
    "a woman looks at her profile in the mirror",
    "the stock market and photo exhibitions",
    "next to the house stands a tree",
    "people clicking their fingers",
    "Workstation Lenovo Thinkstation P500",
    "a person at home",
    "search dogs in the snow",
    "",
]


def facts_of(text):
    return {name: column[0].as_py() for name, column in boilerplate_facts(pa.array([text], pa.large_string())).items()}


@pytest.mark.parametrize("text", BOILERPLATE)
def test_words_of_the_page_are_boilerplate(text):
    assert facts_of(text)["is_boilerplate"]


@pytest.mark.parametrize("text", CAPTIONS)
def test_words_about_the_picture_are_not(text):
    assert not any(facts_of(text).values())


@pytest.mark.parametrize(
    ("text", "column", "wanted"),
    [
        ("photo Ox Cheeks 4_zps49w.jpg in wine", "has_file_name", True),
        ("holiday DSC01234 beach", "has_file_name", True),
        ("3f2a9c0b7d1e4f5a6b7c8d9e", "has_file_name", True),
        ("the end. jpg files", "has_file_name", False),
        ("award 3000x1997 wallpaper", "has_dimensions", True),
        ("27 x 40 Movie Poster", "has_dimensions", True),
        ("1920 × 1080 pixels", "has_dimensions", True),
        ("9500ix 8500 X50 Radar", "has_dimensions", False),
        ("Eco Farm 4*2", "has_dimensions", False),
    ],
)
def test_file_names_and_measures(text, column, wanted):
    assert facts_of(text)[column] is wanted


@pytest.mark.parametrize("stuff", ["a", " ", "photo ", "image 1 ", "1x", "IMG_", "a.jpg", "- ", "profile photo of "])
def test_a_caption_of_a_million_characters_is_no_trap(stuff):
    facts_of(stuff * (1_000_000 // len(stuff)))


def test_long_random_captions_end():
    facts_of("".join(random.Random(0).choices("photo image.jpg -|1x", k=1_000_000)))
