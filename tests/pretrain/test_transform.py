import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from pipeline.shard.reader import Example
from pretrain.data.picks import Draws, Picks
from pretrain.data.squares import SquareMaker
from pretrain.encoders.vision import PIXEL_MEAN, PIXEL_STD
from pretrain.export import image_processor
from pretrain.transform import AugmentConfig, centred, cropped, decode_rgb, mirrored, random_windows


def picture(width, height, seed=0):
    low = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("width", "height"), [(64, 64), (100, 61), (61, 100), (33, 400), (20, 17), (224, 224), (97, 65)]
)
def test_evaluation_sees_what_the_exported_processor_sees(width, height):
    image = picture(width, height)
    settings_of_export = {name: value for name, value in image_processor(32).items() if name != "image_processor_type"}
    wanted = CLIPImageProcessorPil(**settings_of_export)(images=Image.fromarray(image), return_tensors="np")
    ours = (centred(image, 32) / 255 - np.array(PIXEL_MEAN)) / np.array(PIXEL_STD)
    np.testing.assert_allclose(ours.transpose(2, 0, 1), wanted["pixel_values"][0], atol=1e-5)


def draws(seed, count):
    return Draws(seed, Picks(*(np.arange(count) if k == 2 else np.zeros(count, np.int64) for k in range(4))))


def by_torchvisions_law(size, config, uniform):
    """RandomResizedCrop.get_params of one image, step by step, its random numbers taken from `uniform`."""
    width, height = size
    for attempt in range(10):
        area_draw, aspect_draw, across, down = (uniform(8 + 4 * attempt + k) for k in range(4))
        area = width * height * (config.min_area_ratio + (1 - config.min_area_ratio) * area_draw)
        bound = math.log(config.max_aspect)
        aspect = math.exp(-bound + 2 * bound * aspect_draw)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(across * (width - w + 1)), int(down * (height - h + 1)), w, h
    w, h = width, height
    if width / height < 1 / config.max_aspect:
        h = round(width * config.max_aspect)
    elif width / height > config.max_aspect:
        w = round(height * config.max_aspect)
    return (width - w) // 2, (height - h) // 2, w, h


sizes = st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), min_size=1, max_size=20)


@given(sizes=sizes, area=st.floats(0.01, 1.0), aspect=st.floats(1.0, 4.0), seed=st.integers(0, 2**40))
def test_crops_follow_torchvisions_law(sizes, area, aspect, seed):
    config = AugmentConfig(min_area_ratio=area, max_aspect=aspect, flip_prob=0.5)
    of_all = draws(seed, len(sizes))
    found = random_windows(np.array(sizes), config, of_all)
    for row, size in enumerate(sizes):
        wanted = by_torchvisions_law(size, config, lambda number, row=row: float(of_all.uniform(number)[row]))
        assert tuple(found[row]) == wanted
        left, top, width, height = wanted
        assert left >= 0 <= top
        assert left + width <= size[0]
        assert top + height <= size[1]


def test_random_numbers_are_even_and_belong_to_their_sample():
    picks = Picks(*(np.repeat(np.arange(4), 500) if k == 0 else np.tile(np.arange(500), 4) for k in range(4)))
    of_all = Draws(3, picks)
    numbers = np.stack([of_all.uniform(number) for number in range(6)])
    counts = np.stack([np.bincount((row * 10).astype(int), minlength=10) for row in numbers])
    assert (((counts - 200) ** 2 / 200).sum(axis=1) < 27.9).all()  # nine degrees of freedom, one in a thousand
    assert np.abs(np.corrcoef(numbers) - np.eye(6)).max() < 0.1
    assert len(np.unique(numbers)) == numbers.size
    np.testing.assert_array_equal(Draws(3, picks[7:9]).uniform(2), numbers[2][7:9])
    assert (Draws(4, picks).uniform(0) != numbers[0]).all()
    for other in (Picks(picks.dataset + 9, *(getattr(picks, name) for name in ("epoch", "position", "copy"))),):
        assert (Draws(3, other).uniform(0) != numbers[0]).all()


def test_half_of_all_are_mirrored_where_that_is_asked():
    for wanted in (0.0, 0.5, 1.0):
        config = AugmentConfig(min_area_ratio=1.0, max_aspect=1.0, flip_prob=wanted)
        assert abs(mirrored(config, draws(0, 4000)).mean() - wanted) < 0.03


def jpeg(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 95, "subsampling": 0, **options})
    return out.getvalue()


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_libraries_shrink_by_the_same_filter_at_each_scale(scale):
    image = picture(120 * scale, 100 * scale)
    window = np.array([11, 7, 90, 80]) * scale
    found = cropped(jpeg(image), "image/jpeg", window, 40)
    left, top, width, height = window.tolist()
    pixels = Image.fromarray(image)
    wanted = pixels.resize((40, 40), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    assert 10 * np.log10(255**2 / np.mean((found.astype(float) - np.asarray(wanted)) ** 2)) > 40


def example_of(body, mime="image/jpeg", size=(0, 0)):
    return Example("k" * 32, body, mime, *size, ("text",), 1.0, 0)


@pytest.mark.parametrize("decoder", ["native", "library"])
def test_whole_images_are_squashed_and_mirrored(decoder):
    config = AugmentConfig(min_area_ratio=1.0, max_aspect=1.0, flip_prob=0.0, decoder=decoder)
    image = picture(24, 24)
    png, out = io.BytesIO(), np.zeros((3, 3, 24, 24), np.uint8)
    Image.fromarray(image).save(png, "PNG")
    examples = [example_of(png.getvalue(), "image/png"), example_of(jpeg(image), size=(24, 24)), example_of(b"no")]
    faults = SquareMaker(config).fill(examples, draws(0, 3), out)
    assert faults[:2] == [None, None]
    assert faults[2].startswith("cannot decode image/jpeg of 2 bytes")
    np.testing.assert_array_equal(out[0].transpose(1, 2, 0), image)
    assert np.abs(out[1].transpose(1, 2, 0).astype(int) - image).max() < 12
    again = np.zeros((2, 3, 24, 24), np.uint8)
    SquareMaker(config.model_copy(update={"flip_prob": 1.0})).fill(examples[:2], draws(0, 2), again)
    np.testing.assert_array_equal(again, out[:2, :, :, ::-1])


def test_both_decoders_see_the_same_crops():
    config = AugmentConfig(min_area_ratio=0.3, max_aspect=1.5, flip_prob=0.5)
    images = [picture(100 + k, 90, k) for k in range(12)]
    examples = [example_of(jpeg(image), size=image.shape[1::-1]) for image in images]
    outs = []
    for decoder in ("native", "library"):
        out = np.zeros((12, 3, 32, 32), np.uint8)
        maker = SquareMaker(config.model_copy(update={"decoder": decoder}))
        assert maker.fill(examples, draws(5, 12), out) == [None] * 12
        outs.append(out.astype(float))
    assert np.abs(outs[0] - outs[1]).mean() < 1.5


def test_an_index_of_another_size_changes_nothing_but_the_decoder():
    config = AugmentConfig(min_area_ratio=0.3, max_aspect=1.5, flip_prob=0.5)
    body, outs = jpeg(picture(80, 60)), []
    for decoder, size in (("native", (81, 60)), ("native", (0, 0)), ("library", (80, 60))):
        out = np.zeros((1, 3, 32, 32), np.uint8)
        SquareMaker(config.model_copy(update={"decoder": decoder})).fill(
            [example_of(body, size=size)], draws(5, 1), out
        )
        outs.append(out)
    np.testing.assert_array_equal(outs[0], outs[1])
    np.testing.assert_array_equal(outs[0], outs[2])


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize(("kind", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")])
def test_every_common_kind_becomes_rgb(mode, kind, mime):
    if (kind, mode) in {("JPEG", "P"), ("JPEG", "RGBA"), ("PNG", "CMYK"), ("WEBP", "CMYK")}:
        pytest.skip(f"{kind} holds no {mode}")
    buffer = io.BytesIO()
    Image.fromarray(picture(20, 30)).convert(mode).save(buffer, kind)
    found = decode_rgb(buffer.getvalue(), mime)
    assert found.shape == (30, 20, 3)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("mime", ["image/jpeg", "image/png", "application/octet-stream"])
def test_what_is_no_image_is_refused(mime):
    with pytest.raises(ValueError, match="cannot decode"):
        decode_rgb(b"<html>", mime)
