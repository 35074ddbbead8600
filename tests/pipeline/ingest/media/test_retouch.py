"""Colours, faces and metadata: what of them is in the stored image, told by Pillow and not by us."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipeline.ingest.media import color, metadata
from pipeline.ingest.media.image import ImageConfig, Media, treat_image
from pipeline.ingest.media.retouch import face_boxes

RED_IS_BLUE = (0.15, 0.06), (0.30, 0.60), (0.64, 0.33)
"""xy of the primaries of a space whose first channel is blue, so that a missed conversion cannot be overlooked."""


def profile_of(primaries, gamma=2.2, description=b"test"):
    """A matrix profile, written by hand from the ICC specification (v2.4: 7.2, 10.5, 10.13, 10.31)."""
    def s15(value):
        return round(value * 65536).to_bytes(4, "big", signed=True)

    white_xyz = np.array([0.9642, 1.0, 0.8249])
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    matrix = columns * np.linalg.solve(columns, white_xyz)
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big") + bytes(2)
    desc = b"desc" + bytes(4) + (len(description) + 1).to_bytes(4, "big") + description + bytes(1 + 4 + 4 + 2 + 1 + 67)
    tags = {b"desc": desc, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": _xyz(white_xyz, s15)}
    for i, name in enumerate((b"r", b"g", b"b")):
        tags[name + b"XYZ"] = _xyz(matrix[:, i], s15)
        tags[name + b"TRC"] = curve
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + (at + len(data)).to_bytes(4, "big") + len(value).to_bytes(4, "big")
        data += value
    size = at + len(data)
    header = size.to_bytes(4, "big") + bytes(4) + b"\x02\x40\0\0" + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    header += bytes(28) + _xyz(white_xyz, s15)[8:]
    return header + bytes(128 - len(header)) + len(tags).to_bytes(4, "big") + table + data


def _xyz(values, s15):
    return b"XYZ " + bytes(4) + b"".join(s15(value) for value in values)


@pytest.fixture(scope="module")
def swapped():
    found = profile_of(RED_IS_BLUE)
    assert ImageCms.getOpenProfile(io.BytesIO(found)).profile.xcolor_space == "RGB "
    return found


def pixels_of(media):
    assert isinstance(media, Media), media
    return np.asarray(Image.open(io.BytesIO(media.data))).astype(int)


def plain(rgb, kind="JPEG", size=(64, 48), mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size, rgb).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("config", [{"resize": "no"}, {"size_px": 32}])
def test_colours_of_another_space_become_srgb(swapped, kind, config):
    body = plain((230, 30, 30), kind, icc_profile=swapped)
    red, _, blue = pixels_of(treat_image(body, ImageConfig(**config)))[10, 10]
    assert blue > 180 > 90 > red
    red, _, blue = pixels_of(treat_image(body, ImageConfig(icc="ignore", **config)))[10, 10]
    assert red > 180 > 90 > blue
    assert "icc_profile" not in Image.open(io.BytesIO(treat_image(body, ImageConfig(**config)).data)).info


def test_srgb_under_any_name_keeps_its_bytes():
    ours = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    by_hand = profile_of([(0.648, 0.331), (0.321, 0.598), (0.156, 0.066)])  # sRGB's primaries, adapted to D50; no curve
    body = plain((200, 100, 50), icc_profile=ours)
    assert treat_image(body, ImageConfig(resize="no")).data == body
    assert not color.needs_conversion(ours, 3)
    assert color.needs_conversion(by_hand, 3)  # a plain gamma of 2.2 parts from sRGB in the shadows


@pytest.mark.parametrize("profile", [b"", b"x", b"not a profile" * 100, bytes(200)])
def test_a_broken_profile_is_none(profile):
    body = plain((230, 30, 30), icc_profile=profile)
    assert treat_image(body, ImageConfig(resize="no")).data == body
    assert pixels_of(treat_image(body, ImageConfig(size_px=20)))[5, 5, 0] > 200


def test_a_profile_of_another_kind_of_pixels_is_none(swapped):
    grey = plain(128, mode="L", icc_profile=swapped)
    assert treat_image(grey, ImageConfig(resize="no")).data == grey
    assert abs(pixels_of(treat_image(grey, ImageConfig(size_px=20)))[5, 5] - 128) < 3
    cmyk = plain((0, 255, 255, 0), mode="CMYK", icc_profile=swapped)
    assert pixels_of(treat_image(cmyk, ImageConfig(size_px=20)))[5, 5, 0] > 200


def test_many_pieces_of_a_profile_are_joined(swapped):
    long = swapped + bytes(150_000)
    long = len(long).to_bytes(4, "big") + long[4:]
    body = plain((230, 30, 30), icc_profile=long)
    assert metadata.icc_of(body) == long
    assert metadata.icc_of(body.replace(b"ICC_PROFILE\0\x02\x03", b"ICC_PROFILE\0\x09\x03")) is None


def exif(orientation=1):
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x9286] = orientation, "camera", "secret"
    tags.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return tags


def test_exif_is_dropped_or_kept_upright():
    body = plain((200, 100, 50), exif=exif(6))
    dropped = treat_image(body, ImageConfig(size_px=24))
    assert b"Exif" not in dropped.data
    assert (dropped.width, dropped.height, dropped.orientation) == (24, 32, 6)
    kept = Image.open(io.BytesIO(treat_image(body, ImageConfig(size_px=24, exif="keep")).data))
    kept.load()
    tags = kept.getexif()
    assert (kept.size, tags[0x0112], tags[0x010F]) == ((24, 32), 1, "camera")
    assert tags.get_ifd(0x8825)[2] == (52.0, 31.0, 12.0)


@pytest.mark.parametrize("damage", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + bytes(200)])
def test_damaged_exif_costs_no_image(damage):
    body = plain((200, 100, 50), exif=damage)
    assert isinstance(treat_image(body, ImageConfig(size_px=24, exif="keep")), Media)
    assert isinstance(treat_image(body, ImageConfig(resize="no", metadata="strip")), Media)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_stripping_leaves_pixels_and_profile_and_nothing_else(options, swapped, draw):
    out = io.BytesIO()
    Image.fromarray(draw.photo()).save(
        out, "JPEG", exif=exif(), comment=b"told in confidence", xmp=b"<x:xmpmeta>me</x:xmpmeta>", icc_profile=swapped,
        **options,
    )
    body = out.getvalue() + b"trailing secret"
    media = treat_image(body, ImageConfig(resize="no", metadata="strip", icc="ignore"))
    for word in (b"Exif", b"secret", b"camera", b"confidence", b"xmpmeta"):
        assert word in body
        assert word not in media.data
    before, after = (Image.open(io.BytesIO(data)) for data in (body, media.data))
    assert np.array_equal(np.asarray(before), np.asarray(after))
    assert after.info["icc_profile"] == swapped
    assert not after.getexif()
    assert treat_image(body, ImageConfig(resize="no", icc="ignore")).data == body
    assert metadata.stripped(media.data) == media.data


@settings(deadline=None)
@given(st.data())
def test_no_damage_is_too_strange_for_the_walk(data):
    body = bytearray(plain((9, 9, 9), exif=exif(), comment=b"x"))
    for at, value in data.draw(st.dictionaries(st.integers(2, len(body) - 1), st.integers(0, 255), max_size=8)).items():
        body[at] = value
    cut = bytes(body[: data.draw(st.integers(0, len(body)))])
    metadata.stripped(cut)
    metadata.icc_of(cut)
    metadata.exif_of(cut)


def checkers(width=400, height=300):
    y, x = np.mgrid[0:height, 0:width]
    return np.repeat(((x // 4 + y // 4) % 2 * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def contrast(pixels):
    return float(pixels.std())


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("config", "inside", "outside"),
    [
        ({"resize": "no"}, (slice(110, 190), slice(210, 290)), (slice(0, 80), slice(0, 80))),
        ({"size_px": 150}, (slice(55, 95), slice(105, 145)), (slice(0, 40), slice(0, 40))),
        ({"size_px": 150, "resize": "center_crop"}, (slice(55, 95), slice(80, 120)), (slice(0, 40), slice(0, 40))),
        ({"size_px": 200, "resize": "border"}, (slice(80, 120), slice(105, 145)), (slice(30, 60), slice(0, 60))),
    ],
)
def test_boxes_are_blurred_where_they_come_to_lie(kind, config, inside, outside):
    out = io.BytesIO()
    Image.fromarray(checkers()).save(out, kind, **({"quality": 95} if kind == "JPEG" else {}))
    box = (200.0, 100.0, 100.0, 100.0)
    blurred = pixels_of(treat_image(out.getvalue(), ImageConfig(**config), (box,)))
    clear = pixels_of(treat_image(out.getvalue(), ImageConfig(**config)))
    assert contrast(blurred[inside]) < 15 < 60 < contrast(clear[inside])
    assert contrast(blurred[outside]) > 60


@pytest.mark.parametrize(
    "box",
    [(-50.0, -50.0, 20.0, 20.0), (5000.0, 0.0, 9.0, 9.0), (0.0, 0.0, -5.0, 3.0), (-1e30, -1e30, 2e30, 2e30),
     (399.0, 299.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)],
)  # fmt: skip
def test_odd_boxes(box):
    out = io.BytesIO()
    Image.fromarray(checkers()[:, :, 0]).save(out, "JPEG")
    assert isinstance(treat_image(out.getvalue(), ImageConfig(size_px=100), (box,)), Media)


def test_which_regions_are_faces():
    regions = [
        {"box": [1.0, 2.0, 3.0, 4.0], "text": "face"}, {"box": [1.0, 2.0, 3.0, 4.0], "text": "cat"},
        {"box": [1.0, 2.0, 3.0], "text": "face"}, {"box": None, "text": " Face "}, {"box": [1.0] * 5, "text": "face"},
        {"box": [float("nan")] * 4, "text": "face"}, {"box": [5.0, 6.0, 7.0, 8.0], "text": " FACE"},
        {"box": [1.0, 2.0, 3.0, None], "text": "face"}, {"box": [1.0] * 4, "text": None},
    ]  # fmt: skip
    assert face_boxes(regions) == ((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0))
    assert face_boxes(None) == ()


def test_the_stage_blurs_faces_of_the_list_and_keeps_other_bytes(web, fetch, draw):
    body = draw.encoded(checkers(), quality=95)
    web.pages |= {"/a": body, "/b": body}
    regions = [[{"box": [200.0, 100.0, 100.0, 100.0], "mask": None, "text": "face"}], None]
    urls = [web.url("/a"), web.url("/b")]
    part = fetch(urls, regions=regions, image={"resize": "no", "blur": "regions"})
    members = dict(part.members)
    stored = [members[row["member"]] for row in part.rows]
    assert stored[1] == body != stored[0]
    assert contrast(np.asarray(Image.open(io.BytesIO(stored[0])))[110:190, 210:290]) < 15
    untouched = fetch(urls, regions=regions, image={"resize": "no"}, folder="b")
    assert {data for name, data in untouched.members if name.endswith(".jpg")} == {body}
