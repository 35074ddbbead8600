"""Images: kept, resized, turned and refused; Pillow and numpy are the second opinion."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.ingest.media.geometry import plan_geometry, turn_upright
from pipeline.ingest.media.image import ImageConfig, Media, Refusal, treat_image
from pipeline.record import Status

KEEP = ImageConfig(resize="no")


def pixels_of(media):
    assert isinstance(media, Media), media
    with Image.open(io.BytesIO(media.data)) as image:
        assert image.format in ("JPEG", "MPO")
        assert image.size == (media.width, media.height)
        return np.asarray(image.convert("RGB")).astype(int)


def close(left, right, mean=3.0):
    assert left.shape == right.shape
    assert np.abs(left.astype(int) - right.astype(int)).mean() < mean


def test_a_fitting_jpeg_keeps_its_bytes(draw):
    body = draw.encoded(draw.photo(), quality=70, progressive=True)
    for config in (KEEP, ImageConfig(size_px=240), ImageConfig(size_px=1000)):
        media = treat_image(body, config)
        assert media.data is body
        assert (media.width, media.height, media.orientation) == (320, 240, 1)


@pytest.mark.parametrize("size", [64, 100, 239])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_scaling_down_agrees_with_pillow(draw, size, kind):
    pixels = draw.photo(3, 640, 480)
    media = treat_image(draw.encoded(pixels, kind), ImageConfig(size_px=size))
    wanted = Image.fromarray(pixels).resize((round(640 * size / 480), size), Image.Resampling.BOX)
    close(pixels_of(media), np.asarray(wanted))
    assert (media.original_width, media.original_height) == (640, 480)


@pytest.mark.parametrize(
    ("mode", "size", "bigger", "shape"),
    [
        ("keep_ratio", 60, True, (60, 80)),
        ("keep_ratio", 480, True, (240, 320)),
        ("keep_ratio", 480, False, (480, 640)),
        ("center_crop", 60, True, (60, 60)),
        ("center_crop", 300, True, (240, 300)),
        ("center_crop", 300, False, (300, 300)),
        ("border", 80, True, (80, 80)),
        ("border", 400, True, (400, 400)),
        ("border", 640, False, (640, 640)),
        ("no", 10, True, (240, 320)),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_every_way_to_resize(draw, mode, size, bigger, shape, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = draw.photo() if orientation == 1 else np.rot90(draw.photo())
    body = draw.encoded(np.ascontiguousarray(pixels), exif=exif)
    media = treat_image(body, ImageConfig(resize=mode, size_px=size, only_if_bigger=bigger))
    found = pixels_of(media)
    assert found.shape[:2] == shape
    assert (media.original_width, media.original_height) == (320, 240)
    if mode == "border":
        assert (found[0].min(), found[-1].min()) >= (235, 235)
        assert found[shape[0] // 2, shape[1] // 2].min() < 200
    if mode in ("keep_ratio", "no"):
        assert found[4, 4, 0] > 200 > found[4, -4, 0]  # red stays at the upper left


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_told(draw, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = draw.photo()
    stored = next(  # the array whose upright form, by Pillow's own judgement, is `upright`
        item for item in all_turns(upright) if same_after_exif(item, orientation, upright)
    )
    body = draw.encoded(stored, kind, exif=exif, **({} if kind in ("PNG", "TIFF") else {"quality": 95}))
    media = treat_image(body, KEEP)
    close(pixels_of(media), upright)
    assert media.orientation == orientation
    assert (media.original_width, media.original_height) == (320, 240)


def all_turns(pixels):
    for base in (pixels, pixels[:, ::-1]):
        for turns in range(4):
            yield np.ascontiguousarray(np.rot90(base, turns))


def same_after_exif(stored, orientation, upright):
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    turned = np.asarray(ImageOps.exif_transpose(image))
    return turned.shape == upright.shape and (turned == upright).all()


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 6))
def test_turning_agrees_with_pillow(orientation, height, width):
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    assert same_after_exif(pixels, orientation, turn_upright(pixels, orientation))


@given(
    st.integers(1, 30_000), st.integers(1, 30_000), st.sampled_from(["keep_ratio", "center_crop", "border", "no"]),
    st.integers(1, 2000), st.booleans(),
)
def test_geometry_never_leaves_its_bounds(width, height, mode, size, bigger):
    found = plan_geometry(width, height, mode, size, bigger)
    turned = plan_geometry(height, width, mode, size, bigger)
    assert (found.width, found.out_width) == (turned.height, turned.out_height)
    assert min(found.width, found.height, found.out_width, found.out_height) >= 1
    if bigger:
        assert found.width <= width
        assert found.height <= height
    if mode == "border":
        assert found.out_width == found.out_height == size
    if mode == "keep_ratio" and not bigger:
        assert min(found.out_width, found.out_height) == size
    if mode == "center_crop":
        assert max(found.out_width, found.out_height) <= size


def gradient(mode):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    return Image.fromarray(np.tile(ramp, (64, 1))).convert(mode)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "JPEG"), ("L", "PNG"), ("RGB", "BMP"), ("RGB", "GIF"), ("P", "PNG"), ("RGB", "WEBP"), ("RGB", "AVIF"),
     ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("LAB", "TIFF"), ("RGB", "TIFF"), ("RGBA", "PNG"),
     ("LA", "PNG"), ("PA", "PNG")],
)
def test_every_kind_of_pixels_is_decoded_rightly(mode, kind):
    if mode == "PA":
        image = gradient("RGBA").quantize(64).convert("PA")
        body = saved(image.convert("RGBA").quantize(64), kind)
    else:
        image = gradient(mode)
        body = saved(image, kind)
    media = treat_image(body, KEEP)
    found = pixels_of(media)
    wanted = np.linspace(0, 255, 64).astype(int)
    assert np.abs(found.mean(axis=(0, 2)) - wanted).max() < 12


def test_16_bit_grey_is_scaled_not_clipped():
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    for kind in ("PNG", "TIFF"):
        found = pixels_of(treat_image(saved(Image.fromarray(ramp), kind), KEEP))
        assert np.abs(found.mean(axis=(0, 2)) - np.linspace(0, 255, 64)).max() < 4


def test_transparency_lies_on_white():
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 32, 64))
    for kind in ("PNG", "WEBP", "GIF"):
        found = pixels_of(treat_image(saved(image, kind), KEEP))
        assert found[32, 50].min() > 240
        assert found[32, 10, 0] > 240 > 60 > found[32, 10, 1]


def test_the_first_frame_is_taken():
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        body = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        assert pixels_of(treat_image(body, KEEP))[16, 16, 0] > 240


def moving(kind, colors=("red", "lime", "blue")):
    frames = [Image.new("RGB", (32, 24), color) for color in colors]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_what_moves_keeps_all_frames_where_the_recipe_wants_them(kind):
    config = ImageConfig(size_px=16, animated="all_frames")
    body, still = moving(kind), saved(Image.new("RGB", (32, 24), "red"), kind)
    media = treat_image(body, config)
    assert media.data is body
    assert (media.mime, media.extension) == (f"image/{kind.lower()}", kind.lower())
    assert (media.width, media.height, media.original_width, media.detail) == (32, 24, 32, "3 frames")
    assert (treat_image(still, config).mime, treat_image(still, config).detail) == ("image/jpeg", None)
    face = treat_image(body, config, ((0, 0, 9, 9),))
    assert (face.mime, face.detail) == ("image/jpeg", None)
    assert refusal(body, animated="refuse") == Status.WRONG_TYPE
    assert isinstance(treat_image(still, ImageConfig(animated="refuse")), Media)
    assert refusal(body[: len(body) * 9 // 10], animated="all_frames") == Status.DECODE_ERROR
    assert refusal(body, animated="all_frames", max_pixels=32 * 24 * 2) == Status.TOO_MANY_PIXELS


def test_pages_do_not_move():
    assert treat_image(moving("TIFF"), ImageConfig(animated="refuse")).mime == "image/jpeg"


def test_files_kept_as_received_cannot_be_stripped():
    with pytest.raises(ValueError, match="animated: 'all_frames' keeps files as received"):
        ImageConfig(animated="all_frames", metadata="strip")


def refusal(body, **config):
    media = treat_image(body, ImageConfig(**config))
    assert isinstance(media, Refusal), media
    assert media.detail
    return media.status


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("size_px", [32, 10_000])
def test_a_truncated_image_is_refused(draw, kind, size_px):
    body = draw.encoded(draw.photo(), kind)
    for share in (0.3, 0.6, 0.9):
        assert refusal(body[: int(len(body) * share)], size_px=size_px) == Status.DECODE_ERROR
    for end in range(4, 30, 3):
        treat_image(body[:end], KEEP)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lost_its_middle_is_refused(progressive):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    body = saved(Image.fromarray(noise), "JPEG", progressive=progressive)
    assert refusal(body[: len(body) // 2] + body[-2:], resize="no") == Status.DECODE_ERROR


@pytest.mark.parametrize("damage", ["a byte of the pixels", "the last chunk"])
def test_a_damaged_png_is_refused(damage):
    """Pillow says so once: whoever decodes again gets what there is, and no error."""
    body = bytearray(saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)), "PNG"))
    if damage == "the last chunk":
        body[-12:] = b"\0\0\0vNIDAT"
    else:
        body[body.index(b"IDAT") + 200] ^= 0xFF
    for size_px in (32, 10_000):
        assert refusal(bytes(body), size_px=size_px) == Status.DECODE_ERROR


def test_harmless_surplus_is_no_damage(draw):
    body = draw.encoded(draw.photo())
    assert isinstance(treat_image(body + b"\0" * 100, KEEP), Media)
    assert isinstance(treat_image(body[:-2] + b"\0\0\0" + body[-2:], ImageConfig(size_px=64)), Media)


def png_header(width, height):
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 12_000, 30_000, 2**31 - 1])
def test_bombs_are_refused_by_their_header(side):
    assert refusal(png_header(side, side)) == Status.TOO_MANY_PIXELS


def test_a_jpeg_bomb_is_refused_by_its_header(draw):
    body = bytearray(draw.encoded(draw.photo()))
    at = body.index(b"\xff\xc0") + 5
    body[at : at + 4] = struct.pack(">HH", 65000, 65000)
    assert refusal(bytes(body)) == Status.TOO_MANY_PIXELS


def test_a_jpeg_of_endless_scans_is_refused(draw):
    body = draw.encoded(draw.photo(), progressive=True)
    at = body.rindex(b"\xff\xda")
    assert refusal(body[:at] + body[at:-2] * 600 + body[-2:]) == Status.DECODE_ERROR


def test_small_sides(draw):
    assert refusal(draw.encoded(draw.photo()), min_side_px=241) == Status.TOO_SMALL
    assert refusal(draw.encoded(draw.photo(), "PNG"), min_side_px=241) == Status.TOO_SMALL
    assert isinstance(treat_image(draw.encoded(draw.photo()), ImageConfig(min_side_px=240)), Media)


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html></html>",
        b"\xef\xbb\xbf  <html>",
        b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
        b"<svg/>",
        b"just words",
        b'{"error": "no"}',
        b"%PDF-1.4",
        b"PK\3\4",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"\0" * 100,
        bytes(range(256)),
    ],
)
def test_what_is_no_image(body):
    assert refusal(body) == Status.WRONG_TYPE


def test_nothing_at_all():
    assert refusal(b"") == Status.EMPTY_BODY


def test_the_same_body_gives_the_same_bytes(draw):
    for kind in ("JPEG", "PNG", "WEBP"):
        body = draw.encoded(draw.photo(), kind)
        first, second = (treat_image(body, ImageConfig(size_px=77)) for _ in range(2))
        assert first == second


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_is_too_strange(data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]))
    body = bytearray(saved(gradient("RGB"), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    media = treat_image(bytes(body), ImageConfig(size_px=16))
    assert isinstance(media, (Media, Refusal))


class TestRealFiles:
    """The messy files of the real data, each with a status."""

    @pytest.mark.parametrize("number", range(9))
    def test_photos_come_out_upright(self, real_data, number):
        folder = real_data / "messy" / "exif-orientation"
        upright = pixels_of(treat_image((folder / "Landscape_1.jpg").read_bytes(), ImageConfig(size_px=128)))
        media = treat_image((folder / f"Landscape_{number}.jpg").read_bytes(), ImageConfig(size_px=128))
        close(pixels_of(media), upright, mean=4.0)
        assert media.orientation == max(number, 1)

    def test_every_messy_file_has_a_status(self, real_data):
        found = {}
        for path in sorted((real_data / "messy" / "pillow-tests").rglob("*")):
            if path.is_file():
                media = treat_image(path.read_bytes(), ImageConfig(size_px=64))
                found[path.name] = media.status if isinstance(media, Refusal) else pixels_of(media).shape
        assert len(found) > 300
        assert found["decompression_bomb.gif"] == Status.TOO_MANY_PIXELS
        assert found["truncated_jpeg.jpg"] == Status.DECODE_ERROR
        assert found["zero_bb_emptyline.eps"] == Status.WRONG_TYPE
        assert found["rgba.psd"] == Status.WRONG_TYPE
        assert all(status != Status.WRONG_TYPE for name, status in found.items() if name.endswith((".png", ".webp")))
        assert sum(not isinstance(item, Status) for item in found.values()) > 265
