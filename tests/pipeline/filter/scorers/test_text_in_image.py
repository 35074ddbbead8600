"""Text drawn into images is found, read, measured and masked; similarity without it against transformers."""

import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from pipeline.curate import ScoreConfig
from pipeline.errors import MissingExtra, RecipeError
from pipeline.filter.embeddings import read_embeddings
from pipeline.filter.models import ocr
from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers import check_scorers, scorers_of
from pipeline.filter.scorers.text_in_image import TextBox, mask_of, overlap, without, words_of
from pipeline.recipe import check

from .conftest import caption, drawn, encoded, save_tiny

SKY = (90, 140, 200)


@pytest.fixture
def reader():
    pytest.importorskip("rapidocr_onnxruntime", reason=f"RapidOCR is not installed: {ocr.INSTALL}")


def sign(text, at=(30, 40), size=30, canvas=(320, 240), ground=SKY):
    """An image with text drawn into it, and the rectangle that the ink fills."""
    image = Image.new("RGB", canvas, ground)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    draw.text(at, text, font=font, fill=(255, 255, 255))
    return image, draw.textbbox(at, text, font=font)


def scores(raw_parts, rows, folder="ds", **tables):
    scorers = scorers_of(check(ScoreConfig, tables, where="toy.toml"))
    check_scorers(scorers)
    engine, _ = raw_parts([rows], folder)
    for name in [*tables.get("models", {}), "text_in_image"]:
        stage = ScoreStage(scorers[name])
        engine.run(stage, [stage.part("00000")])
    return engine.dataset, pq.read_table(engine.dataset.path("scores/text_in_image/00000.parquet")).to_pylist()


def row(id, image, text, **more):
    width, height = image.size
    sizes = {"width": width, "height": height, "stored_width": width, "stored_height": height}
    return {"id": id, "media": encoded(image, quality=92), "texts": [text], **sizes, **more}


@pytest.mark.usefixtures("reader")
def test_drawn_text_is_found_and_read(raw_parts):
    image, box = sign("Happy Birthday")
    rows = [
        row("parrot", image, "happy birthday!"),
        row("half", image, "a happy dog"),
        row("other", image, "a dog in the grass"),
        row("plain", Image.new("RGB", (320, 240), SKY), "happy birthday"),
        row("silent", image, ""),
        row("gone", image, "x", outcome="http_404"),
        row("torn", image, "x") | {"media": b"\xff\xd8 nothing"},
    ]
    _, found = scores(raw_parts, rows, text_in_image={})
    facts = dict(zip([row["id"] for row in rows], found, strict=True))
    assert facts["parrot"]["caption_overlap"] == 1
    assert facts["half"]["caption_overlap"] == pytest.approx(1 / 3)
    assert facts["other"]["caption_overlap"] == 0
    assert facts["plain"]["caption_overlap"] == facts["plain"]["area"] == facts["plain"]["num_words"] == 0
    assert facts["silent"]["caption_overlap"] is None
    assert facts["parrot"]["num_words"] == 2
    drawn_share = (box[2] - box[0]) * (box[3] - box[1]) / (320 * 240)
    assert drawn_share < facts["parrot"]["area"] < 2.5 * drawn_share
    for name in ("gone", "torn"):
        assert (facts[name]["num_words"], facts[name]["area"], facts[name]["caption_overlap"]) == (None, None, None)


@pytest.mark.usefixtures("reader")
def test_masked_text_cannot_be_read_any_more():
    image = np.asarray(sign("Grand Opening", ground=(20, 90, 40))[0])
    reader = ocr.TextReader(320, 0.5)
    boxes = reader(image)
    assert words_of(" ".join(box.text for box in boxes)) == ["grand", "opening"]
    assert reader(without(image, boxes, mask_of(boxes, 240, 320))) == []


@pytest.mark.usefixtures("reader")
def test_real_photos_with_text_drawn_in(real_data):
    files = sorted((real_data / "image_text" / "flickr8k" / "images").glob("*.jpg"))[:12]
    reader, read = ocr.TextReader(320, 0.5), 0
    for path in files:
        with Image.open(path) as opened:
            photo = opened.convert("RGB").resize((320, 240))
        ImageDraw.Draw(photo).text((20, 90), "WINTER SALE", font=ImageFont.load_default(36), fill=(255, 255, 0))
        words = [word for box in reader(np.asarray(photo)) for word in words_of(box.text)]
        read += overlap(["winter", "sale"], words) == 1
    assert read >= 10


def test_masked_similarity_equals_transformers(raw_parts, tmp_path):
    """Boxes from the list's regions, filled by hand with the flat ground around them, scored by transformers."""
    model, processor = save_tiny(tmp_path / "m", "clip", seed=3)
    rows, wanted = [], []
    for seed in range(5):
        ground = tuple(np.random.default_rng(seed).integers(0, 256, 3).tolist())
        clean = Image.new("RGB", (120, 80), ground)
        clean.paste((255 - ground[0], 10, 200), (0, 60, 120, 80))
        inked = clean.copy()
        inked.paste(drawn(seed, 40, 20), (30, 20))
        # a region in pixels of the original, which is twice as large as what is stored
        region = {"box": [60, 40, 80, 40], "mask": None, "text": "two words"}
        text = caption(seed)
        rows.append(row(str(seed), inked, text, regions=[region] if seed else [], width=240, height=160))
        rows[-1]["media"] = encoded(inked, "PNG")
        with torch.no_grad():
            both = processor(text=[text], images=[clean if seed else inked], return_tensors="pt")
            both.pop("token_type_ids", None)
            output = model(**both)
            wanted.append(float(output.image_embeds[0] @ output.text_embeds[0]))
    tables = {"models": {"small": {"checkpoint": str(tmp_path / "m")}}}
    dataset, found = scores(raw_parts, rows, **tables, text_in_image={"boxes": "regions", "embeddings": "small"})
    assert [row["masked_similarity"] for row in found] == pytest.approx(wanted, abs=2e-3)
    plain = pq.read_table(dataset.path("scores/small/00000.parquet"))["similarity"].to_pylist()
    assert found[0]["masked_similarity"] == pytest.approx(plain[0], abs=2e-3)
    assert max(abs(a["masked_similarity"] - b) for a, b in zip(found[1:], plain[1:], strict=True)) > 0.02
    assert [row["num_words"] for row in found] == [0, 2, 2, 2, 2]
    assert [row["area"] for row in found[1:]] == pytest.approx([41 * 21 / (120 * 80)] * 4)
    assert read_embeddings(dataset, "small", "00000", "image").shape[0] == 5


def test_regions_of_an_image_that_was_cut_say_nothing(raw_parts):
    region = {"box": [0, 0, 10, 10], "mask": None, "text": "x"}
    cut = row("cut", drawn(1, 100, 100), "a dog", regions=[region], width=300, height=100)
    _, found = scores(raw_parts, [cut], text_in_image={"boxes": "regions"})
    assert found[0]["area"] is None


@pytest.mark.parametrize(
    ("text", "written", "wanted"),
    [
        ("A dog, a DOG!", "dog", 0.5),
        ("été à Paris", "Été Paris", 2 / 3),
        ("...", "dog", None),
        ("日本 dog", "日本", 0.5),
        ("winter sale in town", "WINTERSALE", 0.5),
    ],
)
def test_overlap(text, written, wanted):
    assert overlap(words_of(text), words_of(written)) == (None if wanted is None else pytest.approx(wanted))


def test_filling_takes_no_colour_from_other_text():
    image = np.full((60, 100, 3), (10, 20, 30), np.uint8)
    image[10:30, 10:40] = 255
    image[10:30, 41:80] = 250
    boxes = [
        TextBox(np.array([[x0, 10], [x1, 10], [x1, 29], [x0, 29]], np.float32), "") for x0, x1 in ((10, 39), (41, 79))
    ]
    # the column between the two boxes is ground too
    image[10:30, 40] = (10, 20, 30)
    found = without(image, boxes, mask_of(boxes, 60, 100))
    assert (found == (10, 20, 30)).all()


def test_text_that_fills_the_image():
    image = np.full((20, 20, 3), 77, np.uint8)
    box = TextBox(np.array([[0, 0], [19, 0], [19, 19], [0, 19]], np.float32), "x")
    assert (without(image, [box], mask_of([box], 20, 20)) == 77).all()


def test_without_the_reader_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ocr.importlib.util, "find_spec", lambda name: None if name == "rapidocr_onnxruntime" else sys)
    tables = check(ScoreConfig, {"text_in_image": {}}, where="toy.toml")
    with pytest.raises(MissingExtra, match=r"rapidocr_onnxruntime cannot be found.*pip install 'pairmill\[ocr\]'"):
        check_scorers(scorers_of(tables))


def test_a_model_that_is_not_there():
    tables = check(ScoreConfig, {"text_in_image": {"boxes": "regions", "embeddings": "clip"}}, where="toy.toml")
    with pytest.raises(RecipeError, match=r"score\.text_in_image\.embeddings is 'clip': no model of this recipe"):
        check_scorers(scorers_of(tables))
