import io
import json
import time

from cluster.launch.follow import following
from cluster.progress import StageProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_at_start_and_end_where_there_is_no_terminal():
    stream = io.StringIO()
    progress = StageProgress(stream)
    for done in range(101):
        progress("fetch", done, 100)
    progress("judge", 3, 3)
    assert stream.getvalue().splitlines() == ["fetch 0/100", "fetch 100/100", "judge 3/3"]


def test_a_bar_on_a_terminal():
    stream = Terminal()
    progress = StageProgress(stream)
    for done in range(4):
        progress("fetch", done, 3, "note")
    progress.close()
    assert "\r" in stream.getvalue()
    assert "3/3" in stream.getvalue()
    assert "note" in stream.getvalue()


def test_metrics_are_followed_line_by_line(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 0}\n')  # of an earlier run
    seen = []
    with following(metrics, seen.append), metrics.open("a") as stream:
        for step in range(1, 4):
            stream.write(json.dumps({"step": step}) + "\n")
            stream.flush()
            time.sleep(0.01)
        stream.write('{"step": 4')  # torn: not handed over
        stream.flush()
    assert [record["step"] for record in seen] == [1, 2, 3]
