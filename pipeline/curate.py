"""The composition: one recipe in, one dataset folder out. The only place that knows all stages and their order.

    ingest -> fetch -> score (text, image, duplicates) -> judge -> shard

Each stage is brought up to date in turn; what is already there, made by the same settings from the same input, is
left alone. Running again after a kill does what is missing; running again after a change of the recipe does what
depends on the change.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import Field, ValidationError

from pipeline.commit import Commit, read_commits
from pipeline.engine import Engine, EngineConfig, Progress, ray_session
from pipeline.errors import AskedWrongly, RecipeError, nearest
from pipeline.filter.score import ScoreStage
from pipeline.filter.scorers import check_scorers, scorers_of
from pipeline.filter.scorers.centroids import CentroidsScoreConfig
from pipeline.filter.scorers.clip import ClipScoreConfig
from pipeline.filter.scorers.concepts import ConceptsScoreConfig
from pipeline.filter.scorers.image import ImageScoreConfig
from pipeline.filter.scorers.language import LanguageScoreConfig
from pipeline.filter.scorers.phash import PhashScoreConfig
from pipeline.filter.scorers.pixels import PixelsScoreConfig
from pipeline.filter.scorers.probe import ProbeScoreConfig
from pipeline.filter.scorers.synsets import SynsetsScoreConfig
from pipeline.filter.scorers.text import TextScoreConfig
from pipeline.filter.scorers.text_in_image import TextInImageConfig
from pipeline.filter.steps import check_steps, needed_by, run_steps, steps_of
from pipeline.filter.steps.balance import BalanceConfig
from pipeline.filter.steps.decontaminate import DecontaminateConfig
from pipeline.filter.steps.duplicates import COLUMNS as DUPLICATES_COLUMNS
from pipeline.filter.steps.duplicates import DuplicatesConfig, find_duplicates
from pipeline.filter.steps.near_duplicates import NearDuplicatesConfig
from pipeline.filter.steps.semantic import SemanticConfig
from pipeline.filter.steps.text_duplicates import TextDuplicatesConfig
from pipeline.filter.verdicts.expression.check import LIST_TABLE
from pipeline.filter.verdicts.quantiles import whole_numbers
from pipeline.filter.verdicts.rules import VerdictConfig
from pipeline.filter.verdicts.verdict import JudgeStage, Verdict, compile_verdict, tables_of
from pipeline.forget.carry_out import finish_forgets
from pipeline.funnel import STAGES, Funnel, StageName, read_funnel
from pipeline.ingest.adopt import Adopt
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.peer import PeerFetch
from pipeline.ingest.fetch.peer_options import check_peer
from pipeline.ingest.fetch.retry import Retry, count_retryable, finish_retries
from pipeline.ingest.fetch.stage import Fetch
from pipeline.ingest.media.image import ImageConfig
from pipeline.ingest.media.probe import MediaConfig, load_av
from pipeline.ingest.read import Ingest, IngestConfig
from pipeline.ingest.sources import AnySource, open_source
from pipeline.ingest.sources.source import Source
from pipeline.provenance import told
from pipeline.recipe import RecipeTable, check
from pipeline.shard.config import ShardConfig
from pipeline.shard.write import write_shards
from pipeline.stage import Part
from pipeline.store import Store

LOOKED_AT_ROWS = 1_000
"""Rows of a list in which the columns that rules name have to appear."""
FORMAT = 1
"""Version of the dataset folder's layout."""


class ScoreConfig(RecipeTable):
    """The `[score]` table: which facts are computed. Exact duplicates always are: shards hold no key twice."""

    text: TextScoreConfig | None = TextScoreConfig()
    """Length, repetition, casing, patterns and boilerplate of the text."""
    language: LanguageScoreConfig | None = None
    """The language of the text."""
    concepts: ConceptsScoreConfig | None = None
    """The entries of a list of concepts that the texts hold."""
    synsets: SynsetsScoreConfig | None = None
    """Words whose first sense in WordNet is on a list, for DataComp's text-based rule."""
    image: ImageScoreConfig | None = ImageScoreConfig()
    """Size and shape of the original."""
    pixels: PixelsScoreConfig | None = None
    """Sharpness, entropy, solid colours, frames: from the stored pixels."""
    phash: PhashScoreConfig | None = None
    """A 64-bit perceptual hash of each image, for near-duplicates and decontamination."""
    clip: ClipScoreConfig | None = None
    """Image-text similarity and embeddings by a local CLIP or SigLIP."""
    models: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ClipScoreConfig] = Field(default={})
    """More of them, each under its own name: `[score.models.clip_l14]` writes `clip_l14.similarity`."""
    probe: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ProbeScoreConfig] = Field(default={})
    """Probes on their embeddings, such as aesthetic or NSFW: `[score.probe.aesthetic]` writes `probe.aesthetic`."""
    centroids: CentroidsScoreConfig | None = None
    """The nearest of given centroids, for DataComp's image-based rules."""
    text_in_image: TextInImageConfig | None = None
    """Text that can be read in the image, and similarity without it."""
    duplicates: DuplicatesConfig = DuplicatesConfig()
    """Exact duplicates by key, medium, pair and URL."""
    near_duplicates: NearDuplicatesConfig | None = None
    """Images that look alike, by perceptual hash."""
    semantic: SemanticConfig | None = None
    """Images that mean the same, by embedding (SemDeDup)."""
    decontaminate: DecontaminateConfig | None = None
    """How near each image is to evaluation sets."""
    text_duplicates: TextDuplicatesConfig | None = None
    """Texts that say nearly the same."""
    balance: BalanceConfig | None = None
    """How surely a row stays when rows of frequent concepts are thinned."""


class DatasetRecipe(RecipeTable):
    """A dataset recipe: everything that decides the bytes of a dataset, and where it goes."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the dataset, as it appears on its card."""
    dataset: str
    """The dataset folder: a local path or a store URL (s3://bucket/folder)."""
    source: AnySource
    """Which list to read, and how."""
    ingest: IngestConfig = IngestConfig()
    """How rows are cut into parts."""
    fetch: FetchConfig = FetchConfig()
    """How media are fetched."""
    image: ImageConfig = ImageConfig()
    """How images are stored."""
    media: MediaConfig = MediaConfig()
    """Which video and audio is kept."""
    score: ScoreConfig = ScoreConfig()
    """Which facts are computed."""
    verdict: VerdictConfig = VerdictConfig()
    """Which rows are kept."""
    shard: ShardConfig = ShardConfig()
    """How shards are cut."""


@dataclass(frozen=True)
class Curated:
    """What a run gave: how far it went, and the funnel up to there."""

    dataset: str
    until: str
    funnel: Funnel


@dataclass(frozen=True)
class Retried:
    """What a retry gave: the rows that were tried again by their old status, and the funnel after it."""

    dataset: str
    tried: dict[str, int]
    funnel: Funnel


def check_recipe(recipe: DatasetRecipe, *, later: Collection[str] = ()) -> None:
    """Refuse what cannot work, before anything starts: unknown columns, missing lists, wrong list columns.

    Args:
        later: scorers whose files are yet to be made: their columns count, their files are not looked at.
    """
    recipe = with_needed_scorers(recipe)
    check_scorers({name: scorer for name, scorer in scorers_of(recipe.score).items() if name not in later})
    check_steps(recipe.score, scorers_of(recipe.score))
    verdict = _check_verdict(recipe)
    source = open_source(recipe.source)
    source.check()
    _check_list_columns(source, verdict)
    if source.medium != "image":
        load_av()
    _check_fetcher(recipe)
    _check_folder(recipe)


def _check_verdict(recipe: DatasetRecipe) -> Verdict:
    """The verdict on the columns that the recipe's scorers write. Raises: RecipeError: a rule does not fit them."""
    scores = {name: scorer.writes for name, scorer in scorers_of(recipe.score).items()}
    off = {name: f"Add a table [score.{name}] to the recipe (docs/filter.md)." for name in _scorers_off(recipe)}
    scores |= {name: step.columns(config) for name, (step, config) in steps_of(recipe.score).items()}
    return compile_verdict(recipe.verdict, {**scores, "duplicates": DUPLICATES_COLUMNS}, off | OFFERS)


_GRAMMAR = ("has_noun", "has_determiner", "has_preposition", "noun_share")
OFFERS = {
    "probe": "Add a table [score.probe.NAME] with its weights to the recipe (docs/filter.md).",
    **{f"text.{name}": 'Set score.text.parts_of_speech = "english".' for name in _GRAMMAR},
    "text.profanity": "Set score.text.profanity to a file of words.",
    "text_in_image.masked_similarity": "Set score.text_in_image.embeddings to a model of the recipe.",
}
"""Scorer, or column that a scorer writes if asked -> how to ask for it."""


def with_needed_scorers(recipe: DatasetRecipe) -> DatasetRecipe:
    """The recipe with the scorers on that its rules read and that need no settings; a rule set may then stand alone."""
    needed: dict[str, Any] = {}
    wanted = tables_of(recipe.verdict) | set(steps_of(recipe.score))
    wanted |= needed_by(wanted)
    for name in _scorers_off(recipe):
        if name in wanted:
            with contextlib.suppress(ValidationError, RecipeError):  # it needs a setting: the verdict's check says so
                needed[name] = _table_of(name)()
    return recipe.model_copy(update={"score": recipe.score.model_copy(update=needed)}) if needed else recipe


def _scorers_off(recipe: DatasetRecipe) -> list[str]:
    return [name for name in ScoreConfig.model_fields if getattr(recipe.score, name) is None]


def _table_of(name: str) -> type[RecipeTable]:
    """The class of the table `[score.<name>]`, out of `Class | None`."""
    choices = get_args(ScoreConfig.model_fields[name].annotation)
    return next(choice for choice in choices if isinstance(choice, type) and issubclass(choice, RecipeTable))


def _check_list_columns(source: Source, verdict: Verdict) -> None:
    """Refuse a rule on `list.<column>` where the list has no such column: none of its first rows does."""
    wanted = [name.removeprefix(f"{LIST_TABLE}.") for name in verdict.columns if name.startswith(f"{LIST_TABLE}.")]
    if not wanted:
        return
    file = source.files()[0]
    there: set[str] = set()
    for row in itertools.islice(source.rows(file), LOOKED_AT_ROWS):
        there.update(row.meta)
    for column in wanted:
        if column not in there:
            raise RecipeError(
                f"verdict: list.{column}: no column of the list {file.path}, by its first {LOOKED_AT_ROWS:,} rows. "
                f"{nearest(column, there) or 'That list has no further columns.'}"
            )


def _check_fetcher(recipe: DatasetRecipe) -> None:
    recipe.fetch.block.check()
    if recipe.fetch.engine == "img2dataset":
        has_companions = bool(getattr(recipe.source, "companions", ()))
        check_peer(recipe.fetch, recipe.image, open_source(recipe.source).medium, has_companions=has_companions)


def curate(
    recipe: DatasetRecipe,
    engine_config: EngineConfig,
    *,
    until: StageName = "shard",
    progress: Progress | None = None,
) -> Curated:
    """Bring a dataset up to date, up to and including the stage `until`.

    Raises: AskedWrongly: the recipe, its lists or the folder do not fit; nothing was started.
        RunFailed: a stage failed; what was finished stays, and running again goes on from there.
    """
    recipe = with_needed_scorers(recipe)
    check_recipe(recipe)
    dataset = Store(recipe.dataset)
    _claim(dataset, recipe)
    engine = Engine(dataset, engine_config, progress)
    with ray_session(engine_config):
        _tidy(engine)
        listed = _ingest(engine, recipe)
        if until == "ingest":
            return Curated(recipe.dataset, until, read_funnel(dataset, until))
        fetched = _fetch(engine, recipe, listed)
        steps: dict[str, Callable[[], Any]] = {
            "score": lambda: _score(engine, recipe, fetched),
            "judge": lambda: _judge(engine, recipe, fetched),
            "shard": lambda: _shard(engine, recipe, fetched),
        }
        for name, step in steps.items():
            if STAGES.index(name) <= STAGES.index(until):
                step()
    return Curated(recipe.dataset, until, read_funnel(dataset, until))


def retry(dataset_url: str, engine_config: EngineConfig, *, progress: Progress | None = None) -> Retried:
    """Fetch again the rows that another try may change, and patch their parts.

    Takes the recipe that the folder holds. Every other row keeps its medium; later stages are left as they are, and
    `curate` redoes those that the patched parts make stale.

    Raises: AskedWrongly: the folder holds nothing that was fetched by its recipe.
        RunFailed: a part failed; what was patched stays, and running again goes on from there.
    """
    dataset = Store(dataset_url)
    recipe = _recipe_of(dataset)
    _check_fetcher(recipe)
    engine = Engine(dataset, engine_config, progress)
    _tidy(engine)
    before = read_commits(dataset, "fetch")
    _check_fetched(engine, recipe, before)
    stage = Retry(_fetcher(recipe))
    try:
        with ray_session(engine_config):
            engine.run(stage, stage.parts(before))
    finally:
        finish_retries(dataset)
    return Retried(dataset_url, count_retryable(before), read_funnel(dataset, until="fetch"))


def _tidy(engine: Engine) -> None:
    """Finish what earlier runs began and were stopped in."""
    engine.clean()
    finish_retries(engine.dataset)
    finish_forgets(engine)


def _recipe_of(dataset: Store) -> DatasetRecipe:
    """The recipe of the last run on this folder."""
    if not dataset.exists("dataset.json"):
        raise AskedWrongly(f"{dataset.url}: holds no dataset (no dataset.json). Name a dataset folder.")
    where = f"{dataset.url}/dataset.json"
    try:
        card = json.loads(dataset.read_bytes("dataset.json"))
        settings = {**card["recipe"], "dataset": dataset.url}
    except (ValueError, TypeError, KeyError):
        raise AskedWrongly(f"{where}: not the card of a dataset. Run `pairmill curate` again.") from None
    return check(DatasetRecipe, settings, where=where)


def _check_fetched(engine: Engine, recipe: DatasetRecipe, fetched: dict[str, Commit]) -> None:
    """Refuse parts that are not what the recipe would fetch: patched, they would be half of each."""
    where = engine.dataset.url
    if not fetched:
        raise AskedWrongly(f"{where}: nothing has been fetched yet. Run `pairmill curate` with its recipe first.")
    stage = _fetch_stage(recipe)
    if not isinstance(stage, Adopt):
        _, pending = engine.plan(stage, _fetch_parts(stage, read_commits(engine.dataset, "ingest")))
        if pending:
            raise AskedWrongly(
                f"{where}: {len(pending)} parts, the first {pending[0][0].id}, are missing or were fetched by other "
                "settings than those of dataset.json. Run `pairmill fetch` with its recipe first."
            )


def _ingest(engine: Engine, recipe: DatasetRecipe) -> dict[str, Commit]:
    stage = Ingest(recipe.source, recipe.ingest)
    listed = engine.run(stage, stage.parts())
    engine.prune("ingest", listed)
    return listed


def _fetch(engine: Engine, recipe: DatasetRecipe, listed: dict[str, Commit]) -> dict[str, Commit]:
    """Fetch every candidates file; a part depends on its own file alone, so a list may grow at its end."""
    stage = _fetch_stage(recipe)
    fetched = engine.run(stage, _fetch_parts(stage, listed))
    engine.prune("fetch", fetched)
    return fetched


def _fetch_parts(stage: Fetch | PeerFetch | Adopt, listed: dict[str, Commit]) -> list[Part]:
    sha256 = {stamp.name: stamp.sha256 for commit in listed.values() for stamp in commit.as_made().files}
    return [
        Part(part.id, (), {**part.facts, "sha256": sha256[part.facts["candidates"]]}) for part in stage.parts(listed)
    ]


def _fetch_stage(recipe: DatasetRecipe) -> Fetch | PeerFetch | Adopt:
    """What turns candidates into raw parts: the fetcher, or the adoption of what another tool has fetched."""
    if open_source(recipe.source).adopted != "no":
        return Adopt(recipe.source)
    return _fetcher(recipe)


def _fetcher(recipe: DatasetRecipe) -> Fetch | PeerFetch:
    """What asks the web: our own fetcher, or img2dataset."""
    if recipe.fetch.engine == "img2dataset":
        return PeerFetch(recipe.fetch, recipe.image)
    return Fetch(recipe.fetch, recipe.image, recipe.media)


def _score(engine: Engine, recipe: DatasetRecipe, fetched: dict[str, Commit]) -> None:
    fetched = {part: commit.as_made() for part, commit in fetched.items()}  # sizes of steps are parts of their settings
    for scorer in scorers_of(recipe.score).values():
        stage = ScoreStage(scorer, has_gpu=engine.has_gpu())
        engine.prune(stage.name, engine.run(stage, [stage.part(part) for part in fetched]))
    stage, parts = find_duplicates(engine, recipe.score.duplicates, fetched)
    engine.prune(stage.name, engine.run(stage, parts))
    run_steps(engine, recipe.score, scorers_of(recipe.score), fetched)


def _judge(engine: Engine, recipe: DatasetRecipe, fetched: dict[str, Commit]) -> None:
    verdict = _check_verdict(recipe)
    stage = JudgeStage(verdict, whole_numbers(engine, verdict.wholes, verdict.columns, list(fetched)))
    engine.prune("judge", engine.run(stage, [Part(part, stage.inputs(part)) for part in fetched]))


def _shard(engine: Engine, recipe: DatasetRecipe, fetched: dict[str, Commit]) -> None:
    write_shards(engine, recipe.shard, list(fetched), recipe.name, told=told(recipe, engine.dataset))


def _check_folder(recipe: DatasetRecipe) -> None:
    """Refuse a folder that belongs to a dataset of another name or layout."""
    dataset = Store(recipe.dataset)
    if dataset.exists("dataset.json"):
        there = json.loads(dataset.read_bytes("dataset.json"))
        if there.get("name") != recipe.name:
            raise AskedWrongly(
                f"{dataset.url}: holds the dataset {there.get('name')!r}, and the recipe makes {recipe.name!r}. "
                "Name another folder (--set dataset=...), or delete this one."
            )
        if "merged" in there:
            raise AskedWrongly(
                f"{dataset.url}: was merged from other datasets, and is not curated. Name another folder."
            )
        if there.get("format") != FORMAT:
            raise AskedWrongly(
                f"{dataset.url}: has layout version {there.get('format')}; this pairmill writes {FORMAT}. "
                "Name another folder, or use the pairmill that wrote it."
            )


def _claim(dataset: Store, recipe: DatasetRecipe) -> None:
    """Write dataset.json."""
    settings = recipe.model_dump(mode="json")
    card = {"format": FORMAT, "name": recipe.name, "recipe": settings}
    dataset.put_bytes("dataset.json", json.dumps(card, indent=1, sort_keys=True).encode())
