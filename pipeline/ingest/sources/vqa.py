"""VQA v2: `v2_OpenEnded_mscoco_train2014_questions.json`, with `v2_mscoco_train2014_annotations.json` beside it.

One row per question, for that is the example; the fetcher asks for each image once a part. Its texts are the question
(kind `question`) and its different answers (kind `answer`), the most frequent first. `meta.scores` holds the soft
score of each answer, in the same order: 0.3, 0.6, 0.9 or 1 for one, two, three or at least four of the ten people who
answered. Answers are as people typed them. Questions are read one by one, but all answers are held: about 0.4 GB of
memory for train2014. The test questions have no answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipeline.errors import SourceError
from pipeline.ingest.sources.files import ListFile, beside, exists
from pipeline.ingest.sources.json_items import first_item, json_items
from pipeline.ingest.sources.media import MediaConfig, media_url
from pipeline.ingest.sources.rows import Row, RowText
from pipeline.ingest.sources.source import Source

_COCO = "http://images.cocodataset.org"
_NAME = re.compile(r"OpenEnded_mscoco_((train|val|test)(?:-dev)?(\d{4}))_questions\.json")
_SCORES = {1: 0.3, 2: 0.6, 3: 0.9}


class Vqa(Source):
    """VQA v2 (and v1, whose files have no `v2_`). A row's identifier is its question_id."""

    Config = MediaConfig
    suffixes = ("_questions.json",)
    licence = "CC-BY 4.0 for questions and answers; images as COCO"
    citation = "Goyal et al. 2017, Making the V in VQA Matter, CVPR 2017, arXiv:1612.00837"
    config: MediaConfig

    def check_file(self, file: ListFile) -> None:
        """The name must tell the images' split; answers must lie beside it, but for the test questions."""
        _, subset = _images_of(file)
        first_item(file.path, "questions", ("image_id", "question", "question_id"))
        answers = _answers_of(file.path)
        if exists(answers):
            first_item(answers, "annotations", ("question_id", "answers"))
        elif subset != "test":
            raise SourceError(
                f"{file.path}: no {answers.rsplit('/', 1)[-1]} beside it, and only test questions have no answers."
            )

    def further(self, path: str) -> list[str]:
        """The file of answers, where there is one."""
        answers = _answers_of(path)
        return [answers] if answers != path and exists(answers) else []

    def rows(self, file: ListFile) -> Iterator[Row]:
        """One row per question."""
        folder, _ = _images_of(file)
        answers = _answers(self.further(file.path))
        for number, item in enumerate(json_items(file.path, "questions")):
            if not isinstance(item, dict) or not isinstance(item.get("question_id"), (int, str)):
                yield Row(number, fault="question: wanted an object with a question_id")
                continue
            image = item.get("image_id")
            is_image = isinstance(image, int) and not isinstance(image, bool)
            name = f"{folder}/COCO_{folder}_{image:012d}.jpg" if is_image else None
            found = None if answers is None else answers.get(item["question_id"])
            texts, meta = found or ((), {})
            yield Row(
                number,
                media_url(_COCO if self.config.media is None else self.config.media, name),
                [RowText(item.get("question"), "question", "en"), *(RowText(text, "answer", "en") for text in texts)],
                item["question_id"],
                meta={"image_id": image, **meta},
                fault="answers: none to this question" if found is None and answers is not None else None,
            )


def _images_of(file: ListFile) -> tuple[str, str]:
    """The folder of COCO images that a file of questions is about (test2015), and its kind (test)."""
    match = _NAME.search(file.name)
    if match is None:
        raise SourceError(
            f"{file.path}: its name does not tell the images of its questions; wanted it as published, such as "
            "v2_OpenEnded_mscoco_train2014_questions.json."
        )
    return match[2] + match[3], match[2]


def _answers_of(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    return beside(path, name.replace("OpenEnded_", "").replace("_questions.json", "_annotations.json"))


def _answers(paths: list[str]) -> dict[Any, tuple[list[str], dict[str, Any]]] | None:
    """By question: its different answers, and what else is known; None where there is no file of answers."""
    if not paths:
        return None
    found = {}
    for item in json_items(paths[0], "annotations"):
        if not isinstance(item, dict) or not isinstance(item.get("question_id"), (int, str)):
            continue
        given = item.get("answers") if isinstance(item.get("answers"), list) else []
        said = Counter(answer.get("answer") for answer in given if isinstance(answer, dict) and _is_text(answer))
        texts = [text for text, _ in said.most_common()]
        meta = {name: item.get(name) for name in ("question_type", "answer_type", "multiple_choice_answer")}
        found[item["question_id"]] = (texts, {"scores": [_SCORES.get(said[text], 1.0) for text in texts], **meta})
    return found


def _is_text(answer: dict[str, Any]) -> bool:
    return isinstance(answer.get("answer"), str) and answer["answer"] != ""
