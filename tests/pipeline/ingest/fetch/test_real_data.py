"""Real files over real sockets: photos with captions, and everything messy."""

import io
import warnings
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps

EXPECTED = {
    "truncated_jpeg.jpg": "decode_error", "truncated_end_chunk.png": "decode_error",
    "broken.png": "decode_error", "broken_data_stream.png": "decode_error", "chunk_no_fctl.png": "decode_error",
    "badbitcount.bmp": "decode_error", "badheadersize.bmp": "decode_error", "seek_too_large.tif": "decode_error",
    "decompression_bomb.gif": "too_many_pixels", "badwidth.bmp": "too_many_pixels",
    "decompression_bomb.ico": "wrong_type", "zero_bb_emptyline.eps": "wrong_type", "hopper.heif": "wrong_type",
    "16bit.cropped.jp2": "wrong_type", "gif_header_data.pkl": "wrong_type", "palette.dds": "wrong_type",
    "pil_sample_cmyk.jpg": "success", "tiff_strip_cmyk_jpeg.tif": "success", "tiff_tiled_cmyk_jpeg.tif": "success",
    "16bit.cropped.tif": "success", "16_bit_noise.tif": "success", "mode_16bit.png": "success", "p_16.png": "success",
    "tiff_16bit_RGB.tiff": "success", "hopper_16bit_qtables.jpg": "success", "mode_palette_alpha.png": "success",
    "dispose_op_none.png": "success", "different_durations.png": "success", "hopper.avif": "success",
    "star.avifs": "success", "hopper.webp": "success", "anim_frame1.webp": "success", "no_palette.gif": "success",
    "palette_not_needed_for_second_frame.gif": "success", "background_outside_palette.gif": "success",
    "truncated_app14.jpg": "success", "truncated_exif_dpi.jpg": "success", "invalid-exif.jpg": "success",
    "exif_typeerror.jpg": "success", "exif-dpi-zerodivision.jpg": "success",
}  # fmt: skip
"""What Pillow's own tests say of these files; of the truncated JPEGs only a metadata segment of the last two is."""


@pytest.fixture
def messy(real_data, web, fetch):
    """Every messy file, and the row that became of it."""
    paths = sorted(path for path in (real_data / "messy").rglob("*") if path.is_file())
    web.pages |= {f"/{i}": path.read_bytes() for i, path in enumerate(paths)}
    config = {"per_host": 32, "timeout_s": 60.0, "give_up_host_after": 1000}
    part = fetch([web.url(f"/{i}") for i in range(len(paths))], config=config, image={"size_px": 64})
    assert len(part.rows) == len(paths) > 360
    return dict(zip(paths, part.rows, strict=True)), dict(part.members)


def as_pillow_loads(path):
    """The first frame, upright; None where Pillow cannot load it to its end."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception:  # decoders raise whatever the damage leads to
        return None


@pytest.mark.filterwarnings(r"ignore:::PIL\..*")  # as pipeline.ingest.media.raster has it; pytest undoes that
def test_every_messy_file_gets_its_status_and_none_takes_down_the_worker(messy):
    rows, members = messy
    statuses = Counter(row["outcome"] for row in rows.values())
    assert set(statuses) <= {"success", "wrong_type", "decode_error", "too_many_pixels", "empty_body"}
    assert statuses["success"] > 270
    found = {path.name: row["outcome"] for path, row in rows.items() if path.name in EXPECTED}
    assert found == EXPECTED
    for path, row in rows.items():
        if row["outcome"] in ("success", "decode_error"):
            assert (as_pillow_loads(path) is not None) == (row["outcome"] == "success"), path.name
    turned = {path.name: row for path, row in rows.items() if path.parent.name == "exif-orientation"}
    upright_rows = [turned[f"Landscape_{i}.jpg"] for i in range(9)]
    assert [row["orientation"] for row in upright_rows] == [1, 1, 2, 3, 4, 5, 6, 7, 8]
    assert {(row["width"], row["height"]) for row in upright_rows} == {(96, 64)}
    for path, row in rows.items():
        if path.name in turned and row["outcome"] == "success":
            upright = np.asarray(as_pillow_loads(path).resize((row["width"], row["height"]), Image.LANCZOS), float)
            stored = np.asarray(Image.open(io.BytesIO(members[row["member"]])).convert("RGB"), float)
            assert np.abs(stored - upright).mean() < 6.0, path.name


def test_photos(real_data, web, fetch):
    photos = sorted((real_data / "image_text" / "coco").rglob("*.jpg"))[:30]
    web.pages |= {f"/{i}": path.read_bytes() for i, path in enumerate(photos)}
    part = fetch([web.url(f"/{i}") for i in range(30)], config={"per_host": 8, "timeout_s": 10.0})
    assert part.statuses == ["success"] * 30
    for row in part.rows:
        assert min(row["width"], row["height"]) == min(256, row["original_width"], row["original_height"])
