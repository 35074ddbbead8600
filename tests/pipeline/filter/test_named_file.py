import hashlib
import os

import pytest

from pipeline.errors import RecipeError
from pipeline.filter.named_file import content_sha256, named_file


def test_a_missing_file_is_refused_by_its_setting(tmp_path):
    with pytest.raises(RecipeError, match=r"score\.x\.list is '.*no\.txt': no such file\. Name a list\."):
        named_file(str(tmp_path / "no.txt"), "score.x.list", "a list")


def test_a_hash_follows_the_content(tmp_path):
    path = tmp_path / "list"
    for data in (b"one", b"another"):
        path.write_bytes(data)
        assert content_sha256(named_file(str(path), "x", "y")) == hashlib.sha256(data).hexdigest()
    path.write_bytes(b"ANOTHER")
    os.utime(path, ns=(1, 1))
    assert content_sha256(path) == hashlib.sha256(b"ANOTHER").hexdigest()
