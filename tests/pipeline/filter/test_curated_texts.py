"""The scorers of texts and the steps on them, from a list to a verdict, with every reason planted."""

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.curate import DatasetRecipe, check_recipe, curate
from pipeline.engine import EngineConfig
from pipeline.errors import RecipeError
from pipeline.recipe import load

CAPTIONS = {
    "kept": "A brown dog runs over the green lawn of a house",
    "again": "a brown dog runs over the green lawn of a house!",
    "german": "Ein brauner Hund läuft über die grüne Wiese vor dem Haus",
    "no_determiner": "Two men and children playing soccer in parks near rivers",
    "with_url": "A photo of the old harbour, see www.example.com for more of them",
    "stock": "A young woman in front of the office building - Stock Photo",
    "listed": "The turnip on the kitchen table is the pride of the cook",
    "no_concept": "Some people gather around an open fire on the beach",
}
RULES = (
    '[{name = "english", keep = "language.lang == \\"en\\""},'
    '{name = "determiner", keep = "text.has_determiner and text.has_noun"},'
    '{name = "personal", keep = "not text.has_url and not text.has_email"},'
    '{name = "boilerplate", keep = "not text.is_boilerplate"},'
    '{name = "profanity", keep = "text.profanity == 0"},'
    '{name = "concept", keep = "balance.keep"},'
    '{name = "said_before", column = "text_duplicates.rank", max = 0}]'
)


@pytest.fixture
def recipe(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["url\tcaption"]
    for name, caption in CAPTIONS.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 256, (32, 32, 3), np.uint8))
        lines.append(f"{(tmp_path / name).as_uri()}.png\t{caption}")
    (tmp_path / "list.tsv").write_text("\n".join(lines))
    (tmp_path / "words.txt").write_text("turnip\n")
    (tmp_path / "entries.txt").write_text("dog\nHund\nsoccer\nphoto\nwoman\ntable\n")
    return [
        f"dataset={tmp_path / 'ds'}", f"source.path={tmp_path / 'list.tsv'}",
        f'fetch.allow_folders=["{tmp_path}"]', f"score.text.profanity={tmp_path / 'words.txt'}",
        "score.text.parts_of_speech=english", "score.language={}", f"score.concepts.entries={tmp_path / 'entries.txt'}",
        "score.balance.t=1000", "score.text_duplicates={}", f"verdict.rules={RULES}",
    ]  # fmt: skip


def test_each_caption_falls_to_what_was_planted(recipe, tmp_path):
    made = load(DatasetRecipe, "table", recipe, package="pipeline")
    curate(made, EngineConfig(place="process", workers=2), until="judge")
    (path,) = (tmp_path / "ds/verdicts").glob("*/*.parquet")
    raw = pq.read_table(tmp_path / "ds/raw/00000.parquet").to_pylist()
    reasons = {
        row["caption"]: found["dropped_by"] for row, found in zip(raw, pq.read_table(path).to_pylist(), strict=True)
    }
    found = {name: reasons[caption] for name, caption in CAPTIONS.items()}
    same = {found.pop("kept"), found.pop("again")}
    assert same == {None, "said_before"}
    assert found == {
        "german": "english", "no_determiner": "determiner", "with_url": "personal", "stock": "boilerplate",
        "listed": "profanity", "no_concept": "concept",
    }  # fmt: skip


def test_a_column_that_is_off_names_its_setting(recipe):
    made = load(DatasetRecipe, "table", [*recipe, "score.text.parts_of_speech=off"], package="pipeline")
    with pytest.raises(RecipeError, match=r"text\.has_determiner.*score\.text\.parts_of_speech"):
        check_recipe(made)
