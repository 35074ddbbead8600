"""The funnel: what went into each hop, what came out, and under which reason every other row left.

It is computed from commit records alone, and it is checked: rows in = rows out + rows per reason, at every hop, and
what one hop gives is what the next one takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from pipeline.commit import Commit, read_commits
from pipeline.errors import DatasetError
from pipeline.record import Status
from pipeline.store import Store

StageName = Literal["ingest", "fetch", "score", "judge", "shard"]
STAGES: tuple[str, ...] = get_args(StageName)
"""The stages of a curation, in the order in which a row passes them."""


@dataclass(frozen=True)
class Hop:
    """One hop of the funnel. `left` maps the reason to the rows that went no further."""

    name: str
    rows_in: int
    rows_out: int
    left: Mapping[str, int]

    @property
    def adds_up(self) -> bool:
        """Whether every row is accounted for."""
        return self.rows_in == self.rows_out + sum(self.left.values())


@dataclass(frozen=True)
class Funnel:
    """All hops in order, and the samples of each split at the end."""

    hops: tuple[Hop, ...]
    splits: Mapping[str, int]

    def to_dict(self) -> dict[str, object]:
        """JSON-like form."""
        return {"hops": [asdict(hop) for hop in self.hops], "splits": dict(self.splits)}

    def lines(self) -> list[str]:
        """A table for people, one line per hop and per reason."""
        found = []
        for hop in self.hops:
            share = f"{hop.rows_out / hop.rows_in:7.1%}" if hop.rows_in else "       "
            found.append(f"{hop.name:<22}{hop.rows_in:>12,} -> {hop.rows_out:>12,} {share}")
            for reason, rows in sorted(hop.left.items(), key=lambda item: (-item[1], item[0])):
                found.append(f"    {reason:<30}{-rows:>12,}")
        for split, rows in self.splits.items():
            found.append(f"{'split ' + split:<22}{'':>12}    {rows:>12,}")
        return found


def read_funnel(dataset: Store, until: StageName = "shard") -> Funnel:
    """The funnel of what is committed so far.

    Args:
        until: the last stage to look at. What stands after it may still be that of an
            earlier recipe.
    Raises: DatasetError: a hop does not add up, or two hops disagree.
    """
    reached = STAGES[: STAGES.index(until) + 1]

    def commits_of(stage: str, commits: str) -> list[Commit]:
        return list(read_commits(dataset, commits).values()) if stage in reached else []

    hops = []
    listed = commits_of("ingest", "ingest")
    if listed:
        rows = sum(commit.rows_out for commit in listed)
        hops.append(Hop("listed", rows, rows, {}))
    fetched = commits_of("fetch", "fetch")
    if fetched:
        statuses = _sum(fetched)
        successes = statuses.pop(Status.SUCCESS.value, 0)
        hops.append(Hop("fetched", sum(commit.rows_in for commit in fetched), successes, statuses))
    judged = commits_of("judge", "judge")
    if judged:
        reasons = _sum(judged)
        kept = sum(commit.rows_out for commit in judged)
        of_rules = {reason: rows for reason, rows in reasons.items() if not reason.startswith("fetch:")}
        hops.append(Hop("judged", sum(of_rules.values()) + kept, kept, of_rules))
    cut = commits_of("shard", "cut")
    splits: Counter[str] = Counter()
    for commit in cut:
        splits[commit.facts["split"]] += commit.rows_out
    if cut and commits_of("shard", "order"):  # merged shards were ordered elsewhere
        ordered, placed = _sum(commits_of("shard", "order")), _sum(commits_of("shard", "sort"))
        taken = sum(commit.rows_in for commit in commits_of("shard", "order")) - ordered.pop("not_kept", 0)
        earlier = placed.pop("in_earlier_shards", 0)
        # where data is appended, shards keep what today's verdict drops: then `splits` count more than went on here
        held = sum(commit.rows_out for commit in commits_of("shard", "sort")) + earlier if earlier else splits.total()
        hops.append(Hop("sharded", taken, held, dict(Counter(ordered) + Counter(placed))))
    funnel = Funnel(tuple(hops), dict(sorted(splits.items())))
    _check(funnel, dataset.url)
    return funnel


def _sum(commits: Iterable[Commit]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for commit in commits:
        total.update(commit.counts)
    return dict(total)


def _check(funnel: Funnel, where: str) -> None:
    for hop in funnel.hops:
        if not hop.adds_up:
            raise DatasetError(
                f"{where}: {hop.name}: {hop.rows_in} rows came in, {hop.rows_out} went on and "
                f"{sum(hop.left.values())} left with a reason; these do not add up. Run `pairmill verify`."
            )
    for before, after in zip(funnel.hops, funnel.hops[1:], strict=False):
        if before.rows_out != after.rows_in:
            raise DatasetError(
                f"{where}: {before.name} gave {before.rows_out} rows but {after.name} took {after.rows_in}. "
                "A stage is behind the one before it: run `pairmill curate` again."
            )
