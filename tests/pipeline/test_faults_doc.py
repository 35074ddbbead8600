"""docs/faults.md names tests that exist, and statuses that do."""

import re
from pathlib import Path

from pipeline.record import Status

HERE = Path(__file__).parent
TEXT = (HERE.parents[1] / "docs" / "faults.md").read_text()


def test_every_test_of_the_table_exists():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)
    assert len(named) > 50
    missing = [(file, name) for file, name in named if f"def {name}(" not in (HERE / file).read_text()]
    assert missing == []


def test_every_row_has_a_test():
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "---" not in line]
    assert [row for row in rows if "::" not in row] == ["| fault | what becomes of it | test |"] * 4


def test_every_status_is_one():
    words = {word for word in re.findall(r"`([a-z_0-9]+)`", TEXT) if "_" in word}
    columns = {"max_bytes", "max_redirects"}
    assert words - columns <= {status.value for status in Status}
