"""A recipe that drops what looks alike and what an evaluation set holds: over real sockets, to the verdict."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cluster.quickstart.web import LocalWeb, Page
from pipeline.curate import DatasetRecipe, check_recipe, curate
from pipeline.engine import EngineConfig
from pipeline.errors import RecipeError
from pipeline.recipe import load
from pipeline.store import Store

PROCESS = EngineConfig(place="process", workers=2)
RULES = """verdict.rules=[
  {name = "looks_alike", column = "near_duplicates.rank", max = 0},
  {name = "in_evals", column = "decontaminate.phash_distance", min = 5},
]""".replace("\n", "")


def picture(seed, size=(320, 240), quality=90):
    noise = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    image = Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC).resize(size, Image.Resampling.LANCZOS)
    body = io.BytesIO()
    image.save(body, "JPEG", quality=quality)
    return body.getvalue()


@pytest.fixture
def recipe(tmp_path):
    """30 pictures, smaller copies of the first 8, and copies of 4 that are in the evaluation set."""
    bodies = {f"own{i}.jpg": picture(i) for i in range(30)}
    bodies |= {f"copy{i}.jpg": picture(i, (200, 150), 40) for i in range(8)}
    bodies |= {f"leak{i}.jpg": picture(100 + i, (200, 150), 60) for i in range(4)}
    (tmp_path / "evals").mkdir()
    for i in range(6):
        (tmp_path / "evals" / f"{i}.jpg").write_bytes(picture(100 + i))
    with LocalWeb({name: Page(body) for name, body in bodies.items()}) as web:
        lines = [f"a caption with the words of {name}\t{web.url}/{name}\n" for name in bodies]
        (tmp_path / "list.tsv").write_text("".join(lines))

        def make(*overrides):
            port = web.url.rsplit(":", 1)[1]
            settings = [
                f"dataset={tmp_path / 'dataset'}", f"source.path={tmp_path / 'list.tsv'}", "ingest.partition_rows=15",
                f"fetch.ports=[{port}]", 'fetch.allow_private=["127.0.0.1/32"]', "fetch.per_host=16", RULES,
                f'score.decontaminate.sets=[{{name = "mine", folder = "{tmp_path / "evals"}"}}]',
            ]  # fmt: skip
            return load(DatasetRecipe, "quickstart", settings + list(overrides), package="pipeline")

        yield make


def verdicts(recipe):
    """URL -> what dropped it."""
    store, found = Store(recipe.dataset), {}
    [folder] = store.folders("verdicts")
    for part in store.list("raw", ".parquet"):
        raw, verdict = (pq.read_table(store.path(f"{place}/{part}")) for place in ("raw", f"verdicts/{folder}"))
        found |= dict(zip(raw["url"].to_pylist(), verdict["dropped_by"].to_pylist(), strict=True))
    return {url.rsplit("/", 1)[1]: reason for url, reason in found.items()}


def test_copies_and_evaluation_images_are_dropped_by_rules_alone(recipe):
    made = recipe()
    curate(made, PROCESS, until="judge")
    for name, reason in verdicts(made).items():
        wanted = {"own": None, "copy": "looks_alike", "leak": "in_evals"}[name.rstrip("0123456789.jpg")]
        assert (name, reason) == (name, wanted)


def test_another_image_in_the_evaluation_set_redoes_what_depends_on_it(recipe, tmp_path):
    made = recipe()
    curate(made, PROCESS, until="judge")
    (tmp_path / "evals" / "more.jpg").write_bytes(picture(20))
    curate(made, PROCESS, until="judge")
    assert verdicts(made)["own20.jpg"] == "in_evals"


def test_a_step_that_cannot_work_is_refused_before_anything_starts(recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"\[score.clip\]"):
        check_recipe(recipe('verdict.rules=[{name = "same", column = "semantic.distance", min = 0.05}]'))
    with pytest.raises(RecipeError, match="radius"):
        recipe("score.near_duplicates.radius=40")
    with pytest.raises(RecipeError, match="holds no images"):
        check_recipe(recipe(f'score.decontaminate.sets=[{{name = "none", folder = "{tmp_path / "none"}"}}]'))
    assert not (tmp_path / "dataset").exists()
