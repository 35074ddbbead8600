"""VQA: questions joined with their answers."""

import json

import pytest

from pipeline.errors import SourceError
from pipeline.ingest.sources import open_source, source_config

QUESTIONS = [
    {"image_id": 458752, "question": "What is this photo taken looking through?", "question_id": 458752000},
    {"image_id": 458752, "question": "What position?", "question_id": 458752001},
    {"image_id": "x", "question": "?", "question_id": 3},
    {"image_id": 5, "question": "No answers?", "question_id": 4},
    {"image_id": 5, "question": "No id?"},
]


def note(question_id, said):
    answers = [{"answer": text, "answer_confidence": "yes", "answer_id": i + 1} for i, text in enumerate(said)]
    return {"question_id": question_id, "image_id": 1, "question_type": "what", "answer_type": "other",
            "multiple_choice_answer": said[0] if said else "", "answers": answers}


NOTES = [note(458752000, ["net"] * 5 + ["mesh"] * 2 + ["fence"] * 3), note(458752001, ["pitcher", "", None, "catcher"]),
         note(3, ["a"])]


def write(tmp_path, subset="train2014", questions=QUESTIONS, notes=NOTES):
    path = tmp_path / f"v2_OpenEnded_mscoco_{subset}_questions.json"
    path.write_text(json.dumps({"info": {}, "data_subtype": subset, "questions": questions}))
    if notes is not None:
        (tmp_path / f"v2_mscoco_{subset}_annotations.json").write_text(json.dumps({"info": {}, "annotations": notes}))
    return str(path)


def test_rows(tmp_path, read):
    rows = read(kind="vqa", path=write(tmp_path))
    assert rows[0]["url"] == "http://images.cocodataset.org/train2014/COCO_train2014_000000458752.jpg"
    assert rows[0]["source_id"] == "458752000"
    assert [(text["kind"], text["text"]) for text in rows[0]["texts"]] == [
        ("question", "What is this photo taken looking through?"), ("answer", "net"), ("answer", "fence"),
        ("answer", "mesh"),
    ]
    meta = json.loads(rows[0]["meta"])
    assert meta["scores"] == [1.0, 0.9, 0.6]
    assert (meta["question_type"], meta["multiple_choice_answer"], meta["image_id"]) == ("what", "net", 458752)
    assert json.loads(rows[1]["meta"])["scores"] == [0.3, 0.3]
    assert [row["fault"] for row in rows] == [None, None, "url: none", "answers: none to this question",
                                              "question: wanted an object with a question_id"]


@pytest.mark.parametrize("subset", ["test2015", "test-dev2015"])
def test_test_questions_have_no_answers(tmp_path, read, subset):
    rows = read(kind="vqa", path=write(tmp_path, subset, QUESTIONS[:1], None), media="/coco")
    assert rows[0]["url"] == "file:///coco/test2015/COCO_test2015_000000458752.jpg"
    assert [text["kind"] for text in rows[0]["texts"]] == ["question"]
    assert rows[0]["fault"] is None


def test_other_answers_are_another_list(tmp_path):
    config = source_config({"kind": "vqa", "path": write(tmp_path)})
    before = open_source(config).files()[0].stamp
    write(tmp_path, notes=NOTES[:1])
    assert open_source(config).files()[0].stamp != before


def test_a_wrong_layout_is_refused(tmp_path, read):
    with pytest.raises(SourceError, match=r"no v2_mscoco_val2014_annotations.json beside it"):
        read(kind="vqa", path=write(tmp_path, "val2014", notes=None))
    with pytest.raises(SourceError, match="has no 'question'; found: image_id, q"):
        read(kind="vqa", path=write(tmp_path, questions=[{"image_id": 1, "q": "x", "question_id": 2}]))
    with pytest.raises(SourceError, match=r"its first object has no 'answers'; .* Did you mean 'answer'"):
        read(kind="vqa", path=write(tmp_path, notes=[{"question_id": 1, "answer": 2}]))
    (tmp_path / "my_questions.json").write_text("{}")
    with pytest.raises(SourceError, match="its name does not tell the images"):
        read(kind="vqa", path=str(tmp_path / "my_questions.json"))
