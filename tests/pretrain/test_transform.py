import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from pretrain.encoders.vision import PIXEL_MEAN, PIXEL_STD
from pretrain.export import image_processor
from pretrain.transform import AugmentConfig, augmented, centred, decode_rgb, sample_random


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


@settings(deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    area=st.floats(0.01, 1.0),
    aspect=st.floats(1.0, 4.0),
    epoch=st.integers(0, 5),
)
def test_a_random_crop_is_a_square_of_the_image_and_repeats_itself(width, height, area, aspect, epoch):
    config = AugmentConfig(min_area_ratio=area, max_aspect=aspect, flip_prob=0.5)
    image = picture(width, height)
    crops = [augmented(image, config, 12, sample_random(1, "key", epoch)) for _ in range(2)]
    assert crops[0].shape == (12, 12, 3)
    assert crops[0].dtype == np.uint8
    np.testing.assert_array_equal(*crops)


def test_without_augmentation_the_whole_image_is_squashed():
    config = AugmentConfig(min_area_ratio=1.0, max_aspect=1.0, flip_prob=0.0)
    image = picture(24, 24)
    np.testing.assert_array_equal(augmented(image, config, 24, sample_random(1, "key", 0)), image)
    mirrored = augmented(image, config.model_copy(update={"flip_prob": 1.0}), 24, sample_random(1, "key", 0))
    np.testing.assert_array_equal(mirrored, image[:, ::-1])


def test_seed_key_and_epoch_each_matter():
    draws = {sample_random(*what).random() for what in ((1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1))}
    assert len(draws) == 4


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
