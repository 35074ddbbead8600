"""Real files over real sockets: photos with captions, and everything messy."""

from collections import Counter

from pipeline.record import Status


def test_no_messy_file_takes_down_the_worker(real_data, web, fetch):
    paths = sorted(path for path in (real_data / "messy").rglob("*") if path.is_file())
    web.pages |= {f"/{i}": path.read_bytes() for i, path in enumerate(paths)}
    config = {"per_host": 32, "timeout_s": 10.0, "give_up_host_after": 1000}
    part = fetch([web.url(f"/{i}") for i in range(len(paths))], config=config, image={"size_px": 64})
    assert len(part.rows) == len(paths) > 360
    assert set(part.statuses) <= {"success", "wrong_type", "decode_error", "too_many_pixels", "empty_body"}
    found = dict(zip((path.name for path in paths), part.rows, strict=True))
    assert [found[f"Landscape_{i}.jpg"]["orientation"] for i in range(9)] == [1, 1, 2, 3, 4, 5, 6, 7, 8]
    assert {(row["width"], row["height"]) for name, row in found.items() if name.startswith("Landscape_")} == {(96, 64)}
    assert found["decompression_bomb.gif"]["outcome"] == Status.TOO_MANY_PIXELS
    assert Counter(part.statuses)["success"] > 280


def test_photos(real_data, web, fetch):
    photos = sorted((real_data / "image_text" / "coco").rglob("*.jpg"))[:30]
    web.pages |= {f"/{i}": path.read_bytes() for i, path in enumerate(photos)}
    part = fetch([web.url(f"/{i}") for i in range(30)], config={"per_host": 8, "timeout_s": 10.0})
    assert part.statuses == ["success"] * 30
    for row in part.rows:
        assert min(row["width"], row["height"]) == min(256, row["original_width"], row["original_height"])
