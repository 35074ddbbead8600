"""Where a dataset comes from, as its card tells it: recipe, lists, rules and policy, without secrets or dates.

Takes a resolved recipe and the commits of the dataset; gives the JSON-like `told` of `pipeline/shard/card.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.commit import Commit, read_commits
from pipeline.filter.verdicts.expression.render import render
from pipeline.filter.verdicts.rules import Rule
from pipeline.funnel import read_funnel
from pipeline.ingest.fetch.stage import raw_parts
from pipeline.ingest.sources import open_source
from pipeline.recipe import digest_of
from pipeline.store import Store
from pipeline.words import without_secrets

if TYPE_CHECKING:
    from pipeline.curate import DatasetRecipe

_POLICY = ("policy", "robots", "tdmrep", "engine")


def told(recipe: DatasetRecipe, dataset: Store) -> dict[str, Any]:
    """What the card says of the stages before the shards."""
    source = open_source(recipe.source)
    settings = recipe.model_dump(mode="json", exclude={"dataset"})
    policy = {f"fetch.{name}": settings["fetch"][name] for name in _POLICY} if source.adopted == "no" else {}
    return {
        "recipe": {"name": recipe.name, "sha256": digest_of(settings)},
        "source": {"kind": recipe.source.kind, "licence": source.licence, "citation": source.citation},
        "rules": [[rule.name, _condition(rule)] for rule in recipe.verdict.all_rules()],
        "policy": without_secrets(policy),
        **counted(dataset),
    }


def counted(dataset: Store) -> dict[str, Any]:
    """What became of the lists so far, file by file and hop by hop."""
    funnel = read_funnel(dataset, until="judge")
    return {
        "lists": _lists(read_commits(dataset, "ingest"), dataset),
        "funnel": [[hop.name, hop.rows_in, hop.rows_out, dict(hop.left)] for hop in funnel.hops],
    }


def _condition(rule: Rule) -> str:
    return rule.keep if rule.keep is not None else render(rule.condition())


def _lists(listed: Mapping[str, Commit], dataset: Store) -> list[list[Any]]:
    """Of each file of the lists its name and its rows: listed, fetched, kept. Folders would say where it was made."""
    fetched, judged = read_commits(dataset, "fetch"), read_commits(dataset, "judge")
    of_file: dict[str, list[str]] = {file: [] for file in listed}
    for part in raw_parts(listed):
        of_file[part.inputs[0][1]].append(part.id)
    return [
        [
            str(commit.facts.get("list", file)).rsplit("/", 1)[-1],
            commit.rows_out,
            sum(fetched[part].rows_out for part in of_file[file]),
            sum(judged[part].rows_out for part in of_file[file]),
        ]
        for file, commit in listed.items()
    ]
