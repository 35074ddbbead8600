"""The command line: `pairmill VERB [RECIPE] [--on SITE] [--set a.b=v] [--dry-run] [--json]`.

Exit 0 done, 1 the run failed, 2 you asked wrongly. Data on stdout, words on stderr. Nothing heavy is imported here;
each verb imports what it needs when it is called.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PairmillError

RECIPE, SITE, DATASET, RUN, FORMS = "recipe", "site", "dataset", "run", "forms"


@dataclass(frozen=True)
class Verb:
    """A verb: the function that does it, what it is for, and which of the common arguments it takes."""

    call: str
    help: str
    takes: tuple[str, ...] = ()


_CURATE = "cluster.verbs.curate:curate"
_RETRY = "cluster.verbs.curate:retry"
VERBS = {
    "quickstart": Verb("cluster.quickstart.run:quickstart", "the whole mill on a small drawn world", (FORMS,)),
    "curate": Verb(_CURATE, "list of links -> shards: all stages of a dataset recipe", (RECIPE, SITE)),
    "ingest": Verb(_CURATE, "curate up to: read the lists", (RECIPE, SITE)),
    "fetch": Verb(_CURATE, "curate up to: fetch the media", (RECIPE, SITE)),
    "score": Verb(_CURATE, "curate up to: compute facts", (RECIPE, SITE)),
    "judge": Verb(_CURATE, "curate up to: decide what is kept", (RECIPE, SITE)),
    "shard": Verb(_CURATE, "curate up to: cut shards (the same as curate)", (RECIPE, SITE)),
    "retry": Verb(_RETRY, "fetch again the rows whose failure may pass, and patch the parts", (FORMS,)),
    "pretrain": Verb("cluster.verbs.train:pretrain", "shards -> checkpoint: a training recipe", (RECIPE, SITE, FORMS)),
    "bootstrap": Verb("cluster.verbs.bootstrap:bootstrap", "seed -> filter -> pool -> checkpoint", (RECIPE, SITE)),
    "eval": Verb("cluster.verbs.train:evaluate", "evaluate a run or an exported folder on a dataset", (FORMS,)),
    "export": Verb("cluster.verbs.train:export", "write a run's model as a transformers folder", (FORMS,)),
    "show": Verb("cluster.verbs.look:show", "what ships, what a recipe resolves to, what a dataset holds", (FORMS,)),
    "subset": Verb("cluster.verbs.look:subset", "write the uids of the kept rows as a DataComp subset file", (FORMS,)),
    "probe": Verb("cluster.verbs.probe:probe", "fit a linear probe on stored embeddings from labelled rows", (FORMS,)),
    "merge": Verb("cluster.verbs.shards:merge", "several finished datasets -> one, by copying their shards", (FORMS,)),
    "unpack": Verb("cluster.verbs.shards:unpack", "write shards as files, as parquet or as MDS", (FORMS,)),
    "report": Verb("cluster.verbs.look:report", "one HTML page: funnel, gallery, curves", (FORMS,)),
    "verify": Verb("cluster.verbs.look:verify", "re-read a dataset and prove it against its records", (FORMS,)),
    "trace": Verb("cluster.verbs.care:trace", "a sample's life, from the list to the steps that used it", (FORMS,)),
    "forget": Verb("cluster.verbs.care:forget", "take samples out of a dataset for good", (FORMS,)),
    "doctor": Verb("cluster.verbs.doctor:doctor", "what is wrong with this installation, and how to mend it", (FORMS,)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(message)s")
    try:
        result = _call(VERBS[options.verb].call)(options)
    except PairmillError as error:
        if options.debug:
            raise
        sys.stderr.write(f"pairmill {options.verb}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"\npairmill {options.verb}: interrupted; run it again to go on from what is committed.\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if options.json and result is not None:
        sys.stdout.write(json.dumps(result, indent=1, default=str) + "\n")
    return 1 if isinstance(result, dict) and result.get("failed") else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pairmill",
        description="From lists of links to curated shards, from shards to foundation checkpoints.",
        epilog="Start with: pairmill quickstart",
    )
    parser.add_argument("--version", action="version", version=f"pairmill {_version()}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        sub = verbs.add_parser(name, help=verb.help, description=verb.help)
        if RECIPE in verb.takes:
            sub.add_argument("recipe", metavar="RECIPE", help="a recipe file, or the name of one that ships")
        if FORMS in verb.takes:
            _own_arguments(name, sub)
        if SITE in verb.takes:
            sub.add_argument("--on", metavar="SITE", default="local", help="where to run: a site's name or file")
            sub.add_argument("--set", metavar="A.B=V", action="append", default=[], help="override a recipe's setting")
            sub.add_argument("--dry-run", action="store_true", help="print the resolved plan and start nothing")
        sub.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
        sub.add_argument("--verbose", action="store_true", help="log every fact on stderr")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _own_arguments(name: str, sub: argparse.ArgumentParser) -> None:
    add = sub.add_argument
    match name:
        case "quickstart":
            add("--out", default="pairmill-quickstart", help="folder for everything that is made (pairmill-quickstart)")
            add("--scenes", type=int, default=1500, help="pictures in the world (1500)")
            add("--steps", type=int, help="training steps, where not the recipe's")
            add("--on", metavar="SITE", default="local", help="where to run (local)")
        case "retry":
            add("dataset", metavar="DATASET", help="dataset folder; its own recipe is taken")
            add("--on", metavar="SITE", default="local", help="where to run (local)")
        case "pretrain":
            add("--run", help="run folder; one that holds a checkpoint is gone on with (runs/NAME)")
        case "eval":
            add("model", metavar="MODEL", help="a run folder, or an exported transformers folder")
            add("--data", required=True, help="dataset folder")
            add("--split", default="validation", help="split to evaluate on (validation)")
        case "export":
            add("run", metavar="RUN", help="run folder; the model goes to RUN/export")
        case "show":
            add("what", metavar="WHAT", nargs="?", help="a recipe, rules/SET, site or dataset; default: all that ships")
            add("--dropped", metavar="RULE", help="a sample of the rows of a dataset that RULE dropped")
            add("--rows", type=int, default=10, help="rows of that sample (10)")
        case "subset":
            add("dataset", metavar="DATASET", help="dataset folder")
            add("--out", required=True, help="the file, such as kept.npy")
        case "probe":
            add("action", metavar="ACTION", choices=["fit"], help="fit: labelled rows -> a safetensors file")
            add("dataset", metavar="DATASET", help="dataset folder whose embeddings to take")
            add("labels", metavar="LABELS", help="CSV or parquet file with the columns key, label")
            add("--out", default="probe.safetensors", help="the file to write (probe.safetensors)")
            add("--kind", choices=["logistic", "ridge"], default="logistic", help="logistic takes 0 and 1 (logistic)")
            add("--embeddings", default="clip", help="the scorer that made the embeddings (clip)")
            add("--of", choices=["image", "text"], default="image", help="which side's embedding (image)")
            add("--penalty", type=float, help="weight of |w|^2; none lets held-out rows choose it")
        case "report":
            add("dataset", metavar="DATASET", help="dataset folder")
            add("--run", help="run folder whose curves to draw")
            add("--out", default="report.html", help="the page (report.html)")
        case "merge":
            add("out", metavar="OUT", help="folder of the merged dataset; one that is there goes on")
            add("datasets", metavar="DATASET", nargs="+", help="finished datasets, in the order they are to have")
            add("--name", help="what it is called (the last part of OUT)")
            add("--duplicates", choices=["refuse", "first"], default="refuse", help="of a key in two of them (refuse)")
            add("--by", choices=["copy", "link"], default="copy", help="link: the same files, on one disk (copy)")
            add("--on", metavar="SITE", default="process", help="where to run: a site's name or file (process)")
        case "unpack":
            add("dataset", metavar="DATASET", help="dataset folder")
            add("--as", dest="layout", choices=["files", "parquet", "mds"], required=True, help="the layout")
            add("--out", required=True, help="the folder to write")
            add("--on", metavar="SITE", default="process", help="where to run: a site's name or file (process)")
        case "verify":
            add("dataset", metavar="DATASET", help="dataset folder, or a copy of its shards")
            add("--on", metavar="SITE", default="process", help="where to read: a site's name or file (process)")
        case "trace" | "forget":
            _care_arguments(name, sub)
        case "doctor":
            add("--store", help="also try to write, read and delete in this store (s3://bucket/folder)")


def _care_arguments(name: str, sub: argparse.ArgumentParser) -> None:
    add = sub.add_argument
    many: dict[str, Any] = {"action": "append", "default": []}
    if name == "trace":
        add("key", metavar="KEY", nargs="?", help="the sample's key")
        add("--data", default=".", help="dataset folder (the one we are in)")
    else:
        add("dataset", metavar="DATASET", help="dataset folder")
        add("--key", metavar="KEY", help="a sample by its key", **many)
        add("--domain", metavar="DOMAIN", help="all samples of a domain and of those below it", **many)
        add("--where", metavar="EXPR", help="all rows that meet a condition, as verdicts write it")
        add("--from", metavar="FILE", dest="list", help="a list of keys, URLs and sha256, one a line")
        add("--on", metavar="SITE", default="local", help="where to run (local)")
        add("--dry-run", action="store_true", help="say what would change, and change nothing")
    add("--url", metavar="URL", help="samples by their URL", **many)
    add("--sha256", metavar="HEX", help="samples by the sha256 of the body received, or stored in a shard", **many)
    add("--run", metavar="RUN", help="a training run, beside those that the dataset knows of", **many)


def _call(name: str) -> Any:
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pairmill")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
