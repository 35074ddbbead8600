"""What near-duplicates by perceptual hash find and what they confuse: photos, changed in known ways, at each radius.

    .venv/bin/python benchmarks/dedup_recall.py [--quick] [--photos FOLDER]

Takes photos that are all different ($PAIRMILL_DATA/image_text/flickr8k/images), pairs of them within the largest radius
looked at set aside and counted (they may be near-duplicates in truth). Each photo is changed in each way, and encoded
again at quality 90 where the change is not the quality. Recall: changed photos whose hash is within the radius of the
original's. Precision: of all pairs (changed photo, photo) within the radius, the share that belongs together.
Then the same changes of the images of an evaluation set ($PAIRMILL_DATA/image_text/coco) are hidden among the photos:
recall is the share of them that is within the radius of the right image, precision the share of what is within the
radius of any that was hidden. Prints tables on standard error, one JSON line at the end. `--quick` takes 300 photos,
within a minute.
"""

import argparse
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
from about import about
from PIL import Image, ImageEnhance, ImageOps

from pipeline.filter.scorers.phash import grey_plane, hashes_of
from pipeline.filter.steps.decontaminate import nearest_hashes

RADII = (0, 2, 4, 6, 8, 10, 12)


def jpeg(image, quality=90):
    body = io.BytesIO()
    image.save(body, "JPEG", quality=quality)
    return body.getvalue()


def crop(share):
    def cut(image):
        x, y = round(image.width * share / 2), round(image.height * share / 2)
        return jpeg(image.crop((x, y, image.width - x, image.height - y)))

    return cut


def resize(factor):
    return lambda image: jpeg(image.resize((round(image.width * factor), round(image.height * factor)), Image.LANCZOS))


CHANGES = {
    "jpeg q60": lambda image: jpeg(image, 60),
    "jpeg q30": lambda image: jpeg(image, 30),
    "resize x0.5": resize(0.5),
    "resize x2": resize(2),
    "grey": lambda image: jpeg(image.convert("L")),
    "brightness x1.3": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.3)),
    "brightness x0.7": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(0.7)),
    "crop 5 %": crop(0.05),
    "crop 10 %": crop(0.10),
    "crop 20 %": crop(0.20),
    "rotate 5 deg": lambda image: jpeg(image.rotate(5, Image.BICUBIC)),
    "rotate 90 deg": lambda image: jpeg(image.transpose(Image.ROTATE_90)),
    "flip": lambda image: jpeg(ImageOps.mirror(image)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    data = os.environ.get("PAIRMILL_DATA")
    for name, folder in (("photos", "flickr8k/images"), ("evals", "coco")):
        default = Path(data) / "image_text" / folder if data else None
        parser.add_argument(f"--{name}", type=Path, default=default, required=default is None)
    options = parser.parse_args()
    files = sorted(options.photos.glob("*.jpg"))[: 300 if options.quick else 2000]
    if not files:
        parser.error(f"{options.photos}: holds no *.jpg. Name a folder of photos with --photos.")
    originals, alike = distinct_photos(files)
    hashes = hash_all(file.read_bytes() for file in originals)
    print("recall/precision at radius", *RADII, file=sys.stderr)
    table = {name: changed_photos(originals, hashes, change) for name, change in CHANGES.items()}
    for name, row in table.items():
        show(name, row)
    evals = sorted(options.evals.rglob("*.jpg"))[: 50 if options.quick else None]
    print(f"hidden among {len(originals)} photos: {len(evals)} evaluation images", file=sys.stderr)
    in_evals = hash_all(file.read_bytes() for file in evals)
    hidden = {name: hidden_evals(evals, in_evals, hashes, change) for name, change in CHANGES.items()}
    for name, row in hidden.items():
        show(name, row)
    strangers = {radius: stranger_share(hashes, radius) for radius in RADII}
    print(
        json.dumps(
            {
                "benchmark": "dedup_recall",
                "photos": len(originals),
                "set_aside": alike,
                "recall_precision": table,
                "evals": len(evals),
                "hidden_recall_precision": hidden,
                "strangers_per_million_pairs": strangers,
                **about("numpy", "pillow", "imagehash"),
            }
        )
    )


def show(name, row):
    cells = (f"{found:.3f}/{'  -  ' if right is None else f'{right:.3f}'}" for found, right in row.values())
    print(f"{name:<18}", *cells, sep="  ", file=sys.stderr)


def changed_photos(files, hashes, change):
    """Recall and precision by radius."""
    changed = hash_all(change(Image.open(file).convert("RGB")) for file in files)
    return {radius: judged(changed, hashes, radius) for radius in RADII}


def hidden_evals(files, in_evals, photos, change):
    """Recall and precision by radius of finding changed evaluation images among photos, as `decontaminate` does."""
    changed = hash_all(change(Image.open(file).convert("RGB")) for file in files)
    distance, place = nearest_hashes(changed, in_evals)
    of_photos, _ = nearest_hashes(photos, in_evals)
    is_right = in_evals[place] == in_evals  # the right one, or one with the same hash
    found = {}
    for radius in RADII:
        near, others = distance <= radius, int((of_photos <= radius).sum())
        total = int(near.sum()) + others
        found[radius] = round(float((near & is_right).mean()), 4), round(int(near.sum()) / total, 4) if total else None
    return found


def hash_all(bodies):
    return hashes_of(np.stack([grey_plane(body) for body in bodies]))[0]


def distances(left, right):
    return np.bitwise_count(left[:, None] ^ right[None, :])


def distinct_photos(files):
    """The photos that are near no earlier one, and how many were set aside."""
    hashes = hash_all(file.read_bytes() for file in files)
    near = np.tril(distances(hashes, hashes) <= 4, -1).any(1)
    return [file for file, is_near in zip(files, near, strict=True) if not is_near], int(near.sum())


def judged(changed, hashes, radius):
    """Recall and precision at one radius; no precision where nothing is within it."""
    within = distances(changed, hashes) <= radius
    found, all_within = int(np.trace(within)), int(within.sum())
    return round(found / len(hashes), 4), round(found / all_within, 4) if all_within else None


def stranger_share(hashes, radius):
    pairs = len(hashes) * (len(hashes) - 1)
    within = int((distances(hashes, hashes) <= radius).sum()) - len(hashes)
    return round(within / pairs * 1e6, 3)


if __name__ == "__main__":
    main()
