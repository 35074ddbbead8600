import io
import urllib.error
import urllib.request
from collections import Counter

import pytest
from PIL import Image

from cluster.quickstart.scenes import COLOURS, SHAPES, draw_scene
from cluster.quickstart.web import LocalWeb, Page
from cluster.quickstart.world import OUTCOME_OF, SHARES, draw_world
from pipeline.record import Status


def test_a_scene_is_a_function_of_its_seed():
    assert draw_scene(3) == draw_scene(3)
    assert len({draw_scene(seed).jpeg for seed in range(50)}) == 50


def test_every_word_of_a_caption_can_be_seen():
    """The named colours are really in the picture, near the shade they were drawn in."""
    for seed in range(40):
        scene = draw_scene(seed)
        words = scene.caption.replace(",", "").split()
        named = [COLOURS[word] for word in words if word in COLOURS]
        assert any(word in SHAPES for word in words)
        image = Image.open(io.BytesIO(scene.jpeg)).convert("RGB")
        pixels = Counter(image.get_flattened_data())
        for colour in named:
            near = sum(
                n for pixel, n in pixels.items() if max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) < 32
            )
            assert near > 60, (seed, scene.caption)


def test_the_world_is_a_function_of_its_seed_and_plants_what_it_says():
    world, again = draw_world(60, 3), draw_world(60, 3)
    assert world == again
    by_fault = Counter(world.pages[path].fault for _, path in world.rows)
    for fault in SHARES:
        assert by_fault[fault] == world.planted[f"fetch:{OUTCOME_OF[fault]}"] > 0
    pairs = Counter((caption, path) for caption, path in world.rows)
    assert sum(n - 1 for n in pairs.values()) == world.planted["duplicate_pair"]
    short = [caption for caption, path in world.rows if len(caption.split()) < 3 and path.startswith("short/")]
    assert len(short) == world.planted["too_few_words"]


def test_every_fault_has_a_status_of_the_record():
    assert {Status(status) for status in OUTCOME_OF.values()}
    assert set(SHARES) <= set(OUTCOME_OF)


def test_the_list_is_a_conceptual_captions_tsv(tmp_path):
    world = draw_world(5, 0)
    world.write_list(tmp_path / "list.tsv", "http://127.0.0.1:1")
    lines = (tmp_path / "list.tsv").read_text().splitlines()
    assert len(lines) == len(world.rows)
    assert all(len(line.split("\t")) == 2 and line.split("\t")[1].startswith("http://127.0.0.1:1/") for line in lines)


@pytest.fixture
def web():
    scene = draw_scene(0).jpeg
    pages = {fault: Page(scene, fault) for fault in ("none", "gone", "server_error", "html", "truncated", "opted_out")}
    with LocalWeb(pages) as served:
        yield served


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, b"", error.headers


def test_the_web_answers_and_misbehaves(web):
    body = draw_scene(0).jpeg
    assert ask(f"{web.url}/none")[:2] == (200, body)
    assert ask(f"{web.url}/nowhere")[0] == 404
    assert ask(f"{web.url}/gone")[0] == 410
    assert ask(f"{web.url}/server_error")[0] == 500
    assert ask(f"{web.url}/html")[1].startswith(b"<!doctype html>")
    assert ask(f"{web.url}/truncated")[1] == body[: len(body) // 2]
    assert ask(f"{web.url}/opted_out")[2]["X-Robots-Tag"] == "noai"
    assert web.requests == 7
    assert web.url.startswith("http://127.0.0.1:")
