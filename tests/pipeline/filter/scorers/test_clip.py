"""Similarities and embeddings against transformers' own processor and model on the same images and texts."""

import io
import json
import shutil
import uuid

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.engine import Engine, EngineConfig
from pipeline.errors import RecipeError, StageError
from pipeline.filter.embeddings import read_embeddings
from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers.clip import ClipScore, ClipScoreConfig
from pipeline.store import Store

from .conftest import caption, drawn, encoded, save_tiny


def rows_of(count):
    """Rows of every format, with one, several or no texts, some not fetched, some broken."""
    formats = [("JPEG", {"quality": 90}), ("PNG", {}), ("WEBP", {"lossless": True})]
    rows = []
    for seed in range(count):
        format, options = formats[seed % 3]
        texts = [[caption(seed)], [caption(seed), caption(seed + 1000)], [], [None], ["word " * 40]][seed % 5]
        rows.append({"id": str(seed), "media": encoded(drawn(seed), format, **options), "texts": texts})
    rows[3]["outcome"] = rows[8]["outcome"] = "http_404"
    rows[5]["media"] = b"\xff\xd8 no jpeg"
    return rows


def reference(model, processor, kind, row):
    """image, text and their cosine by transformers alone; None where there is none."""
    image, text = None, None
    with torch.no_grad():
        if not row["media"].startswith(b"\xff\xd8 no"):
            with Image.open(io.BytesIO(row["media"])) as opened:
                pixels = processor.image_processor(opened, return_tensors="pt")
            image = model.get_image_features(**pixels).pooler_output[0]
            image = (image / image.norm()).numpy()
        if row["texts"] and row["texts"][0]:
            padding = "max_length" if kind == "siglip" else True
            words = processor.tokenizer(row["texts"][:1], padding=padding, truncation=True, return_tensors="pt")
            words.pop("token_type_ids", None)
            if kind == "siglip":
                words.pop("attention_mask")
            text = model.get_text_features(**words).pooler_output[0]
            text = (text / text.norm()).numpy()
    return image, text, None if image is None or text is None else float(image @ text)


def run(engine, config, name="clip", parts=("00000",)):
    scorer = ClipScore(config, name)
    scorer.check()
    stage = ScoreStage(scorer)
    return engine.run(stage, [stage.part(part) for part in parts])


@pytest.mark.parametrize("threads", [1, 3])
def test_equal_to_transformers(raw_parts, tiny, threads):
    kind, folder, model, processor = tiny
    rows = rows_of(24)
    engine, _ = raw_parts([rows])
    run(engine, ClipScoreConfig(checkpoint=str(folder), batch_rows=5, decode_threads=threads))
    found = pq.read_table(engine.dataset.path("scores/clip/00000.parquet"))["similarity"].to_pylist()
    images, texts = (read_embeddings(engine.dataset, "clip", "00000", which) for which in ("image", "text"))
    seen = []
    for row, similarity, image, text in zip(rows, found, images, texts, strict=True):
        if "outcome" in row:
            assert similarity is None
            assert np.isnan(image).all()
            assert np.isnan(text).all()
            continue
        wanted_image, wanted_text, wanted = reference(model, processor, kind, row)
        assert (similarity is None) == (wanted is None)
        if wanted is not None:
            assert similarity == pytest.approx(wanted, abs=1e-4)
            seen.append(similarity)
        for vector, want in ((image, wanted_image), (text, wanted_text)):
            if want is None:
                assert np.isnan(vector).all()
            else:
                np.testing.assert_allclose(vector.astype(np.float32), want, atol=1e-3)
    assert np.ptp(seen) > 0.05  # the tiny model tells its inputs apart, so agreement means something


def test_an_export_of_our_own_trainer(raw_parts, tmp_path, tiny_clip):
    """The preprocessor_config.json that pretrain/export.py writes, beside a CLIPModel."""
    from pretrain.export import image_processor

    run_folder = tmp_path / "run"
    shutil.copytree(tiny_clip, run_folder / "export")
    (run_folder / "export" / "preprocessor_config.json").write_text(json.dumps(image_processor(32)))
    engine, _ = raw_parts([rows_of(12)])
    run(engine, ClipScoreConfig(checkpoint=str(run_folder)), "own")
    run(engine, ClipScoreConfig(checkpoint=str(tiny_clip)), "clip")
    own, theirs = (read_embeddings(engine.dataset, name, "00000", "image") for name in ("own", "clip"))
    np.testing.assert_array_equal(own, theirs)


def test_the_best_of_several_texts(raw_parts, tiny):
    _, folder, _, _ = tiny
    texts = [[caption(10 * seed + i) for i in range(4)] for seed in range(6)]
    rows = [{"id": str(seed), "media": encoded(drawn(seed)), "texts": texts[seed]} for seed in range(6)]
    engine, _ = raw_parts([rows])
    run(engine, ClipScoreConfig(checkpoint=str(folder), text="best", batch_rows=4), "best")
    single = [{**row, "id": f"{row['id']}-{i}", "texts": [text]} for row in rows for i, text in enumerate(row["texts"])]
    other, _ = raw_parts([single], folder="single")
    run(other, ClipScoreConfig(checkpoint=str(folder)))
    best = pq.read_table(engine.dataset.path("scores/best/00000.parquet"))["similarity"].to_numpy()
    all_of = pq.read_table(other.dataset.path("scores/clip/00000.parquet"))["similarity"].to_numpy().reshape(-1, 4)
    np.testing.assert_allclose(best, all_of.max(axis=1), atol=1e-5)
    text = read_embeddings(engine.dataset, "best", "00000", "text")
    each = read_embeddings(other.dataset, "clip", "00000", "text").reshape(6, 4, -1)
    np.testing.assert_allclose(text, each[np.arange(6), all_of.argmax(axis=1)], atol=2e-3)


def test_parts_and_batches_change_nothing_but_last_bits(raw_parts, tiny_clip):
    rows = rows_of(20)
    one, _ = raw_parts([rows], folder="one")
    run(one, ClipScoreConfig(checkpoint=str(tiny_clip), batch_rows=20))
    three, _ = raw_parts([rows[:7], rows[7:8], rows[8:]], folder="three")
    names = ("00000", "00001", "00002")
    run(three, ClipScoreConfig(checkpoint=str(tiny_clip), batch_rows=2), parts=names)
    whole = read_embeddings(one.dataset, "clip", "00000", "image")
    cut = np.concatenate([read_embeddings(three.dataset, "clip", name, "image") for name in names])
    np.testing.assert_allclose(whole, cut, atol=1e-3)


def test_a_rerun_does_nothing_and_other_weights_do_it_again(raw_parts, tmp_path, tiny_clip):
    rows = rows_of(10)
    engine, _ = raw_parts([rows])
    first = run(engine, ClipScoreConfig(checkpoint=str(tiny_clip)))["00000"]
    copy = tmp_path / "moved"
    shutil.copytree(tiny_clip, copy)
    moved = ScoreStage(ClipScore(ClipScoreConfig(checkpoint=str(copy), batch_rows=3, device="cpu")))
    assert engine.plan(moved, [moved.part("00000")])[1] == []
    save_tiny(copy, "clip", seed=9)
    other = ScoreStage(ClipScore(ClipScoreConfig(checkpoint=str(copy))))
    assert len(engine.plan(other, [other.part("00000")])[1]) == 1
    stamp = ClipScore(ClipScoreConfig(checkpoint=str(tiny_clip))).checkpoint.stamp
    assert first.facts == {"checkpoint": stamp, "width": 24}


def test_dataset_and_checkpoint_in_a_bucket(raw_parts, tiny_clip, s3_bucket, tmp_path):
    bucket = Store(f"{s3_bucket}/{uuid.uuid4().hex}")
    for path in tiny_clip.iterdir():
        copy = tmp_path / path.name
        shutil.copyfile(path, copy)
        bucket.put_file(copy, f"model/{path.name}")
    rows = rows_of(10)
    remote, _ = raw_parts([rows], url=f"{bucket.url}/ds")
    local, _ = raw_parts([rows], folder="local")
    run(remote, ClipScoreConfig(checkpoint=f"{bucket.url}/model"))
    run(local, ClipScoreConfig(checkpoint=str(tiny_clip)))
    found, wanted = (read_embeddings(each.dataset, "clip", "00000", "text") for each in (remote, local))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.ray
def test_on_ray_and_where_it_finds_a_gpu(raw_parts, tiny_clip, ray_of_two_nodes):
    """The second node of this cluster only says that it has a GPU; torch finds none there and takes the CPU."""
    rows = rows_of(10)
    here, _ = raw_parts([rows, rows], folder="here")
    there, _ = raw_parts([rows, rows], folder="there")
    run(here, ClipScoreConfig(checkpoint=str(tiny_clip)), parts=("00000", "00001"))
    engine = Engine(there.dataset, EngineConfig(place="ray", address=ray_of_two_nodes))
    stage = ScoreStage(ClipScore(ClipScoreConfig(checkpoint=str(tiny_clip))), has_gpu=True)
    assert stage.resources.gpus == 1
    engine.run(stage, [stage.part("00000"), stage.part("00001")])
    for part in ("00000", "00001"):
        found, wanted = (read_embeddings(each.dataset, "clip", part, "image") for each in (there, here))
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_where_it_asks_for_a_gpu(tiny_clip):
    def gpus(has_gpu, **settings):
        scorer = ClipScore(ClipScoreConfig(checkpoint=str(tiny_clip), **settings))
        return ScoreStage(scorer, has_gpu=has_gpu).resources.gpus

    assert [gpus(False), gpus(True), gpus(True, gpus=0.25)] == [0, 1, 0.25]
    assert [gpus(True, device="cpu"), gpus(False, device="gpu"), gpus(True, device="gpu")] == [0, 1, 1]


def broken(tiny_clip, tmp_path, what):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_clip, folder)
    config = json.loads((folder / "config.json").read_text())
    match what:
        case "absent":
            shutil.rmtree(folder)
        case "empty":
            shutil.rmtree(folder)
            folder.mkdir()
        case "no config":
            (folder / "config.json").unlink()
        case "bert":
            (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
        case "siglip2":
            (folder / "config.json").write_text(json.dumps({**config, "model_type": "siglip2"}))
        case "torn":
            (folder / "config.json").write_text("{")
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "no processor":
            (folder / "preprocessor_config.json").unlink()
        case "odd processor":
            (folder / "preprocessor_config.json").write_text(json.dumps({"do_resize": False, "do_center_crop": False}))
    return folder


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("absent", "there is no such folder, or it is empty"),
        ("empty", "there is no such folder, or it is empty"),
        ("no config", r"holds no config\.json"),
        ("bert", "a model of the kind 'bert'; wanted one of 'clip', 'siglip'"),
        ("siglip2", "'siglip2'.*Did you mean 'siglip'"),
        ("torn", r"config\.json cannot be read"),
        ("no tokenizer", r"holds no tokenizer.*tokenizer\.save_pretrained\(folder\)"),
        ("no weights", r"holds no model\.safetensors"),
        ("no processor", "does not say how its images are prepared"),
        ("odd processor", "neither crops nor resizes to one size"),
    ],
)
def test_a_wrong_checkpoint_is_told_before_any_work(tiny_clip, tmp_path, what, words):
    folder = broken(tiny_clip, tmp_path, what)
    with pytest.raises(RecipeError, match=f"score.models.big.checkpoint is .*broken.*{words}"):
        ClipScore(ClipScoreConfig(checkpoint=str(folder)), "big").check()


def test_weights_that_lack_a_tensor(raw_parts, tiny_clip, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "lacking"
    shutil.copytree(tiny_clip, folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    engine, _ = raw_parts([rows_of(10)])
    with pytest.raises(StageError, match=r"lack 1 tensors, the first 'text_projection\.weight'"):
        run(engine, ClipScoreConfig(checkpoint=str(folder)))
