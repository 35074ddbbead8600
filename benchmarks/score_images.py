"""What the scorers of images cost: pixels, clip and text_in_image, through ScoreStage on parts of real photos.

    PAIRMILL_DATA=... .venv/bin/python benchmarks/score_images.py [--quick] [--rows N] [--skip ocr]

Takes COCO photos, brought to 256 px as the fetcher does (the shorter side, quality 95), repeated to N rows of one raw
part. The checkpoint of `clip` has random weights: towers of one layer of width 64 at 224 px, so that what is left is
the loader (reading, decoding, resizing, tokens), and towers of the size of ViT-B/32, on the CPU. Each runs in a
process of its own with one torch thread. Prints one JSON line: rows per CPU-second (user and system, all threads) and
peak memory.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from about import about

from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers.clip import ClipScore, ClipScoreConfig
from pipeline.filter.scorers.pixels import PixelsScore, PixelsScoreConfig
from pipeline.filter.scorers.text_in_image import TextInImageConfig, TextInImageScore
from pipeline.ingest.media.image import ImageConfig, treat_image
from pipeline.record import FETCHED
from pipeline.stage import Part, Workspace, scratch_folder
from pipeline.store import Store
from pipeline.tar import TarWriter

PACKAGES = ("numpy", "pillow", "simplejpeg", "opencv-python-headless", "torch", "transformers")
ROWS = {"pixels": 1.0, "clip_loader": 1.0, "clip_b32": 0.02, "ocr": 0.05}
"""Share of the rows that each takes, since they differ a thousandfold in speed."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="few rows, no OCR; ends within a minute")
    parser.add_argument("--skip", action="append", default=[], choices=list(ROWS))
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "FOLDER"))
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    found = {}
    total, skipped = (800, {"ocr", *options.skip}) if options.quick else (options.rows, set(options.skip))
    for name, share in ROWS.items():
        if name in skipped:
            continue
        for rows in {max(64, int(total * share / 4)), max(64, int(total * share))}:
            with tempfile.TemporaryDirectory() as folder:
                plant(Path(folder), rows)
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                command = [sys.executable, __file__, "--one", name, folder]
                done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
                found[f"{name}_{rows}"] = json.loads(done.stdout.splitlines()[-1])
                print(name, found[f"{name}_{rows}"], file=sys.stderr)
    print(json.dumps({"runs": found, **about(*PACKAGES)}))


def plant(folder, rows):
    """One raw part of photos at 256 px, the shorter side."""
    photos = sorted((Path(os.environ["PAIRMILL_DATA"]) / "image_text" / "coco").glob("*2017/*.jpg"))
    media = [treat_image(path.read_bytes(), ImageConfig()) for path in photos]
    (folder / "raw").mkdir()
    table = []
    with TarWriter(folder / "raw" / "00000.tar") as tar:
        for row in range(rows):
            medium = media[row % len(media)]
            member = tar.add(f"{row:09d}.jpg", medium.data)
            table.append(
                {
                    "key": f"{row:032x}", "source": "coco", "source_id": str(row), "medium": "image",
                    "status": "success", "outcome": "success", "width": medium.width, "height": medium.height,
                    "tar_offset": member.data_offset, "tar_bytes": member.data_size,
                    "texts": [{"text": f"a photo of a dog and {row} cats on the grass", "kind": "caption"}],
                }
            )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(table, FETCHED), folder / "raw" / "00000.parquet")


def measure(what, folder):
    stage = ScoreStage(scorer_of(what, Path(folder)))
    stage.setup()
    dataset, before, started = Store(folder), cpu_s(), time.monotonic()
    with scratch_folder(dataset) as scratch:
        made = stage.make(Part("00000"), Workspace(dataset, scratch))
    used, wall = cpu_s() - before, time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": made.rows_in, "rows_per_cpu_s": round(made.rows_in / used, 1),
        "rows_per_s": round(made.rows_in / wall, 1), "peak_mb": round(peak),
    }  # fmt: skip


def scorer_of(what, folder):
    if what == "pixels":
        return PixelsScore(PixelsScoreConfig())
    if what == "ocr":
        return TextInImageScore(TextInImageConfig())
    size = {"clip_loader": (64, 1, 1), "clip_b32": (768, 12, 12)}[what]
    save_random(folder / "model", *size)
    return ClipScore(ClipScoreConfig(checkpoint=str(folder / "model"), device="cpu"))


def save_random(folder, width, layers, heads):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    text_width, text_heads = max(64, width * 2 // 3), max(1, heads * 2 // 3)
    text = {"hidden_size": text_width, "intermediate_size": 4 * text_width, "num_attention_heads": text_heads}
    text |= {"num_hidden_layers": layers, "vocab_size": 49408, "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": heads, "patch_size": 32}
    config = CLIPConfig(text_config=text, vision_config={**vision, "num_hidden_layers": layers}, projection_dim=512)
    CLIPModel(config).save_pretrained(str(folder))
    names = ["<pad>", "<unk>", "<start>", "<end>", "a", "photo", "of", "dog", "and", "cats", "on", "the", "grass"]
    made = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<start>", "eos_token": "<end>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(str(folder))
    CLIPImageProcessorPil().save_pretrained(str(folder))


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
