"""The photos that benchmarks/ingest.py downloads: JPEG, quality 90, 4:2:0, in three sizes of 4:3.

Where PAIRMILL_DATA names a folder with COCO photos, they are scaled to each size; a scaled-up photo has less detail
than one that a camera took, so grain is added. Otherwise they are drawn: clouds of all scales, edges, grain.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

SIZES = {"500": (500, 375), "1024": (1024, 768), "2048": (2048, 1536)}
GRAIN = 3.0
"""Standard deviation of the grain, of 255: that of a camera in daylight."""


def write_photos(folder, num_photos):
    """Write folder/500/0.jpg and so on, and one of 16 x 16 pixels under folder/tiny. Returns where they come from."""
    found = sorted(Path(os.environ.get("PAIRMILL_DATA", "/none"), "image_text/coco/train2017").glob("*.jpg"))
    for k in range(num_photos):
        random = np.random.default_rng(k)
        photo = cv2.cvtColor(cv2.imread(str(found[k % len(found)])), cv2.COLOR_BGR2RGB) if found else drawn(random)
        for name, size in SIZES.items():
            write(folder / name / f"{k}.jpg", scaled(photo, size, random))
    write(folder / "tiny/0.jpg", np.full((16, 16, 3), 127, np.uint8))
    return "COCO photos, scaled" if found else "drawn"


def write(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 90, "RGB", "420"))


def scaled(photo, size, random):
    """The middle of the photo in 4:3, scaled; with grain where it had to grow."""
    height, width = photo.shape[:2]
    cut_width, cut_height = min(width, height * 4 // 3), min(height, width * 3 // 4)
    top, left = (height - cut_height) // 2, (width - cut_width) // 2
    cut = photo[top : top + cut_height, left : left + cut_width]
    if size[0] <= cut_width:
        return cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    large = cv2.resize(cut, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    large += random.normal(0, GRAIN, (size[1], size[0], 1))
    return large.clip(0, 255).astype(np.uint8)


def drawn(random):
    """640 x 480: noise of seven octaves whose amplitude falls with their frequency, and twelve things with edges."""
    pixels = np.zeros((480, 640, 3), np.float32)
    for octave in range(1, 8):
        grid = random.normal(0, 1, (3 << octave, 4 << octave, 3)).astype(np.float32)
        pixels += cv2.resize(grid, (640, 480), interpolation=cv2.INTER_CUBIC) * 90 / 1.7**octave
    pixels += 128
    for _ in range(12):
        corners = random.integers((0, 0), (640, 480), (int(random.integers(3, 7)), 2)).astype(np.int32)
        color = [float(value) for value in random.integers(0, 255, 3)]
        layer = cv2.fillPoly(pixels.copy(), [corners], color, lineType=cv2.LINE_AA)
        pixels = pixels * 0.35 + layer * 0.65
    return (pixels + random.normal(0, GRAIN, (480, 640, 1))).clip(0, 255).astype(np.uint8)
