"""What an image costs to decode, shrink and encode, and how good it comes out: our own decoder beside the libraries'.

    .venv/bin/python benchmarks/codec.py [--quick]

Takes the photos of benchmarks/ingest.py. Gives ms of CPU per image, one thread, best of three turns: the whole codec,
and the bits alone (libjpeg-turbo at 1/8, which makes hardly a pixel; our check that a body is whole). And PSNR of the
stored image against Pillow's Lanczos and OpenCV's area average of the whole one, less that of img2dataset's calls:
means over photos, in dB. Prints one JSON line.
"""

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from about import about
from ingest_photos import SIZES, write_photos
from PIL import Image

from pipeline.ingest.media import geometry, jpeg
from pipeline.ingest.media.image import ImageConfig, treat_image
from pipeline.jpeg import native

SIZE_PX, QUALITY = 256, 95
DECODERS = ("native", "library")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few photos; ends within a minute")
    num_photos = 8 if parser.parse_args().quick else 32
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="pairmill-codec-") as folder:
        photos = write_photos(Path(folder), num_photos)
        bodies = {size: [file.read_bytes() for file in sorted(Path(folder, size).glob("*.jpg"))] for size in SIZES}
    result = {
        "ms_per_image": {size: costs(bodies[size]) for size in SIZES},
        "gain_db": {size: gains(bodies[size][:8]) for size in SIZES},
    }
    result["ratio"] = {size: round(ms["library"] / ms["own"], 2) for size, ms in result["ms_per_image"].items()}
    packages = ("pairmill", "simplejpeg", "opencv-python-headless", "pillow", "numpy")
    print(json.dumps({**result, "photos": photos, **about(*packages)}))


def costs(bodies):
    """ms of CPU per image of each codec, and of its bits alone."""
    plans = []
    for body in bodies:
        header = jpeg.read_header(body)
        plans.append((body, header, geometry.plan_geometry(header.width, header.height, "keep_ratio", SIZE_PX, True)))

    def own(body, header, to):
        assert jpeg.shrink(body, header, to, QUALITY) is not None

    def own_bits(body, header, to):
        assert native.is_whole(body)

    def library(body, header, to):
        decoded = jpeg.decode(body, header, jpeg.least_scale(header, to.width, to.height), fast_color=True)
        jpeg.encode(geometry.shape(decoded, to, 1, "lanczos"), QUALITY)

    def library_bits(body, header, to):
        simplejpeg.decode_jpeg(body, "RGB", fastupsample=True, min_width=1, min_height=1)

    return {once.__name__: ms_of(once, plans) for once in (own, own_bits, library, library_bits)}


def ms_of(once, plans):
    taken = []
    for _ in range(3):
        began = time.process_time()
        for plan in plans:
            once(*plan)
        taken.append(time.process_time() - began)
    return round(min(taken) / len(plans) * 1e3, 2)


def gains(bodies):
    """Decibels by which each decoder's image is closer to a filter of the whole image than img2dataset's."""
    found = {decoder: {"lanczos": [], "area": []} for decoder in DECODERS}
    for body in bodies:
        whole = pixels_of(body)
        for decoder in DECODERS:
            media = treat_image(body, ImageConfig(size_px=SIZE_PX, quality=QUALITY, decoder=decoder))
            size = (media.width, media.height)
            area = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
            wanted = {"lanczos": np.asarray(Image.fromarray(whole).resize(size, Image.LANCZOS)), "area": area}
            theirs = cv2.resize(cv2.imdecode(np.frombuffer(body, np.uint8), 1), size, interpolation=cv2.INTER_AREA)
            theirs = pixels_of(cv2.imencode(".jpg", theirs, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())
            for name, pixels in wanted.items():
                found[decoder][name].append(psnr_db(pixels_of(media.data), pixels) - psnr_db(theirs, pixels))
    return {who: {name: round(float(np.mean(gain)), 2) for name, gain in of.items()} for who, of in found.items()}


def pixels_of(body):
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))


def psnr_db(left, right):
    return 10 * np.log10(255**2 / np.mean((left.astype(float) - right.astype(float)) ** 2))


if __name__ == "__main__":
    main()
