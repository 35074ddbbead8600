"""Datasets with raw parts made by hand: rows of (key, outcome, sha256, texts, sizes), with a raw tar of their media."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commit import publish
from pipeline.engine import Engine, EngineConfig
from pipeline.record import FETCHED, sample_key
from pipeline.stage import Made
from pipeline.store import Store
from pipeline.tar import TarWriter


@pytest.fixture(scope="session")
def write_wordnet():
    """Call with a folder, {part of speech: {lemma: offsets}} and {part of speech: {form: lemmas}}: WordNet's files."""

    def write(folder, lemmas, exceptions):
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("noun", "verb", "adj", "adv"):
            lines = ["  1 This software and database is being provided to you, the LICENSEE, by  "]
            for lemma, offsets in sorted(lemmas.get(part, {}).items()):
                numbers = " ".join(f"{offset:08d}" for offset in offsets)
                lines.append(f"{lemma} {part[0]} {len(offsets)} 2 @ ~ {len(offsets)} 1 {numbers}  ")
            (folder / f"index.{part}").write_text("".join(f"{line}\n" for line in lines))
            words = (f"{form} {' '.join(found)}\n" for form, found in sorted(exceptions.get(part, {}).items()))
            (folder / f"{part}.exc").write_text("".join(words))
        return str(folder)

    return write


ENDINGS = {
    "noun": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}


@pytest.fixture(scope="session")
def first_synset():
    """Call with a word, lemmas and exceptions as above: its first synset by the rule as NLTK 3.8.1 has it."""

    def rounds(form, part, exceptions):
        if form in exceptions.get(part, {}):
            return [[form, *exceptions[part][form]]]
        pairs, left, found = [pair.split(":") for pair in ENDINGS[part].split()], [form], [[form]]
        while left:
            left = [some[: len(some) - len(old)] + new for some in left for old, new in pairs if some.endswith(old)]
            found.append(left)
        return found

    def find(word, lemmas, exceptions):
        for part in ENDINGS:
            for forms in rounds(word.lower(), part, exceptions):
                for form in forms:
                    if form in lemmas.get(part, {}):
                        return lemmas[part][form][0]
        return None

    return find


@pytest.fixture
def raw_parts(tmp_path):
    """Call with lists of row dicts, one list per part; gives an engine over the dataset and the fetch commits."""

    def write(parts, folder="ds", place="process", workers=2, url=None):
        dataset = Store(url or str(tmp_path / folder))
        commits = {}
        for number, rows in enumerate(parts):
            part = f"{number:05d}"
            local, tar = tmp_path / f"{part}.parquet", tmp_path / f"{part}.tar"
            pq.write_table(pa.Table.from_pylist(with_media(rows, tar), FETCHED), local)
            counts = {}
            for row in rows:
                counts[row.get("outcome", "success")] = counts.get(row.get("outcome", "success"), 0) + 1
            files = {f"raw/{part}.parquet": local, f"raw/{part}.tar": tar}
            made = Made(files, len(rows), counts.get("success", 0), counts)
            commits[part] = publish(dataset, "fetch", part, "by hand", made)
        return Engine(dataset, EngineConfig(place=place, workers=workers)), commits

    return write


def with_media(rows, path):
    """Full rows, and a tar at `path` that holds the `media` of those that have some."""
    full = []
    with TarWriter(path) as tar:
        for row in rows:
            full.append(full_row(row))
            if "media" in row and full[-1]["outcome"] == "success":
                member = tar.add(f"{len(full):09d}.bin", row["media"])
                full[-1] |= {"tar_offset": member.data_offset, "tar_bytes": member.data_size, "member": member.name}
                full[-1] |= {"mime": row.get("mime", "image/jpeg")}
                tar.add(f"{len(full):09d}.txt", b"what lies between two media")
    return full


def full_row(row):
    fetched = row.get("outcome", "success") == "success"
    texts = row.get("texts", ["a caption of words"])
    return {
        "source": "test",
        "source_id": row["id"],
        "medium": "image",
        "url": row.get("url"),
        "key": row.get("key", sample_key("test", row["id"])),
        "status": "success" if fetched else "failed_to_download",
        "outcome": row.get("outcome", "success"),
        "texts": [{"text": text, "kind": "caption", "lang": None} for text in texts],
        "sha256": row.get("sha256", row["id"]) if fetched else None,
        "original_width": row.get("width", 300) if fetched else None,
        "original_height": row.get("height", 200) if fetched else None,
        "width": row.get("stored_width") if fetched else None,
        "height": row.get("stored_height") if fetched else None,
        "regions": row.get("regions"),
        "bytes": 1000 if fetched else None,
        "meta": row.get("meta"),
        "uid": row.get("uid"),
    }
