"""What a block list names is not fetched, or not kept, and never decoded."""

import gzip
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from pipeline.errors import RecipeError
from pipeline.ingest.fetch import outcome
from pipeline.ingest.fetch.blocklist import BlockConfig, SortedDigests, load_block_list
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.stage import Fetch
from pipeline.ingest.media.image import ImageConfig


@pytest.fixture
def listed(tmp_path):
    """Write a list: `listed(name, lines)` gives its path."""

    def write(name, *lines):
        path = tmp_path / name
        data = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return write


@pytest.mark.parametrize("size", [16, 32])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_table_of_digests_is_a_set(size, data):
    few = st.sampled_from([b"\0", b"\x01", b"\xff", b"\x80"]).map(lambda byte: byte * size)
    digests = data.draw(st.lists(few | st.binary(min_size=size, max_size=size)))
    table = SortedDigests(size, b"".join(digests))
    for item in [*digests, *data.draw(st.lists(few)), b"short"]:
        assert (item in table) == (item in digests)


def test_urls_and_domains_are_not_asked_for(web, fetch, draw, listed):
    web.pages |= {f"/{name}.jpg": draw.encoded(draw.photo(i)) for i, name in enumerate("ab")}
    web.redirect("/go", "/a.jpg")
    block = {
        "urls": listed("urls.txt", "# found last year", "", f"https://127.0.0.1:{web.port}/a.jpg#x"),
        "domains": listed("domains.txt.gz", "bad.example  # all of it", "*.Worse.example", "bücher.example"),
    }
    urls = [web.url("/a.jpg"), web.url("/b.jpg"), web.url("/go"), "http://bad.example/1", "http://cdn.BAD.example./2",
            "http://worse.example/3", "http://img.bücher.example/4"]  # fmt: skip
    part = fetch(urls, config={"block": block})
    blocked = "blocklisted"
    assert part.statuses == [blocked, "success", blocked, blocked, blocked, blocked, blocked]
    assert part.rows[0]["detail"] == "its URL is on the block list"
    assert part.rows[3]["detail"] == "its domain is on the block list"
    assert sorted(request.path for request in web.seen) == ["/b.jpg", "/go"]
    assert len(part.members) == 3


def test_other_names_that_end_alike_are_not_blocked(listed):
    block = load_block_list(BlockConfig(domains=listed("domains.txt", "bad.example")), None)
    assert block.of_url(URL("http://notbad.example/")) is None
    assert block.of_url(URL("http://example/")) is None
    assert block.of_url(URL("http://a.b.bad.example/")) is not None


def test_promised_and_received_hashes_block_without_a_look_inside(web, fetch, draw, listed, monkeypatch):
    bodies = [draw.encoded(draw.photo(i)) for i in range(5)]
    web.pages |= {f"/{i}": body for i, body in enumerate(bodies)}
    md5 = [hashlib.md5(body).hexdigest() for body in bodies]
    sha256 = [hashlib.sha256(body).hexdigest() for body in bodies]
    hashes = listed("hashes.txt", md5[0].upper(), sha256[1], f"{md5[2]}  # known", sha256[3])
    opened = []
    treat = outcome.treat_image
    monkeypatch.setattr(outcome, "treat_image", lambda body, *how: opened.append(body) or treat(body, *how))
    promised = [f"md5:{md5[0]}", f"sha256:{sha256[1]}", None, None, None]
    part = fetch([web.url(f"/{i}") for i in range(5)], config={"block": {"hashes": hashes}}, hash=promised)
    assert part.statuses == ["blocklisted"] * 4 + ["success"]
    assert [row["detail"] for row in part.rows[:4]] == [
        f"its {kind} is on the block list" for kind in ("md5", "sha256", "md5", "sha256")
    ]
    assert sorted(request.path for request in web.seen) == ["/2", "/3", "/4"]
    assert opened == bodies[4:]
    assert len(part.members) == 3


def test_a_list_that_grew_is_read_again(web, fetch, draw, listed):
    web.pages |= {"/a": draw.encoded(draw.photo(1)), "/b": draw.encoded(draw.photo(2))}
    urls = [web.url("/a"), web.url("/b")]
    config = {"block": {"urls": listed("urls.txt", urls[0])}}
    assert fetch(urls, config=config).statuses == ["blocklisted", "success"]
    listed("urls.txt", *urls)
    assert fetch(urls, config=config, folder="b").statuses == ["blocklisted"] * 2


def test_a_promise_that_is_no_hash_blocks_nothing(web, fetch, draw, listed):
    web.pages["/a"] = draw.encoded(draw.photo())
    hashes = listed("hashes.txt", "0" * 32, "f" * 64)
    config = {"block": {"hashes": hashes}}
    part = fetch([web.url("/a")] * 2, config=config, hash=["md5:" + "z" * 32, "sha256:12"])
    assert part.statuses == ["hash_mismatch"] * 2


def test_wrong_files_are_told_before_anything_starts(listed, tmp_path):
    with pytest.raises(RecipeError, match=r"fetch\.block\.urls: .*nothing\.txt: cannot be read"):
        BlockConfig(urls=str(tmp_path / "nothing.txt")).check()
    with pytest.raises(RecipeError, match=r"hashes\.txt: a line of 5 characters is no hash"):
        BlockConfig(hashes=listed("hashes.txt", "0" * 32, "12345")).check()
    with pytest.raises(RecipeError, match="a line of 32 characters is no hash"):
        BlockConfig(hashes=listed("more.txt", "g" * 32)).check()


def test_a_longer_list_makes_parts_stale(listed):
    def settings(*lines):
        config = FetchConfig(block=BlockConfig(domains=listed("domains.txt", *lines)))
        return Fetch(config, ImageConfig()).settings()

    assert settings("a.example") == settings("a.example", "# a comment") != settings("a.example", "b.example")
    assert Fetch(FetchConfig(), ImageConfig()).settings()[1] is None
