"""Byte ranges against slices of the files' bytes."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shard.ranges import RangeOptions, RangeReader, Span, SpanMissing, coalesce
from pipeline.store import Store

FILES = {f"{number}.bin": np.random.default_rng(number).bytes(1000) for number in range(4)}
spans = st.lists(
    st.builds(
        lambda name, a, b: Span(name, min(a, b), abs(a - b)),
        st.sampled_from(sorted(FILES)),
        st.integers(0, 1000),
        st.integers(0, 1000),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The same files in a local folder and in fsspec's memory file system, which takes the remote path."""
    local, remote = Store(str(tmp_path_factory.mktemp("files"))), Store("memory://ranges")
    for store in (local, remote):
        for name, data in FILES.items():
            store.put_bytes(name, data)
    return local, remote


options = st.builds(
    RangeOptions,
    gap_bytes=st.integers(0, 300),
    request_bytes=st.integers(1, 1200),
    whole_files=st.integers(0, 3),
    max_open=st.integers(1, 4),
    connections=st.just(3),
)


@given(spans=spans, options=options)
def test_gives_the_bytes_asked_for(stores, spans, options):
    for store in stores:
        reader = RangeReader(store, options)
        assert reader.read(spans) == [FILES[span.name][span.offset : span.end] for span in spans]


@given(spans=spans, gap=st.integers(0, 300), most=st.integers(1, 1200))
def test_requests_cover_each_span_once_and_stay_small(spans, gap, most):
    groups = coalesce(spans, RangeOptions(gap_bytes=gap, request_bytes=most))
    assert sorted(index for group in groups for index in group) == list(range(len(spans)))
    for group in groups:
        assert len({spans[index].name for index in group}) == 1
        if len(group) > 1:
            assert max(spans[i].end for i in group) - spans[group[0]].offset <= most


def test_neighbours_share_a_request():
    near = [Span("a", 100, 50), Span("a", 0, 50), Span("a", 1000, 5), Span("b", 150, 5)]
    assert coalesce(near, RangeOptions(gap_bytes=60)) == [[1, 0], [2], [3]]


@pytest.mark.parametrize("whole", [0, 2])
def test_a_short_file_is_named(stores, whole):
    for store in stores:
        reader = RangeReader(store, RangeOptions(whole_files=whole))
        with pytest.raises(SpanMissing, match=r"1\.bin: wanted bytes 990\.\.1010, the file ends at 1000") as caught:
            reader.read([Span("0.bin", 0, 5), Span("1.bin", 990, 20)])
        assert caught.value.span == Span("1.bin", 990, 20)


def test_a_missing_file_is_named(stores):
    for store in stores:
        for whole in (0, 2):
            with pytest.raises(SpanMissing, match=r"gone\.bin: wanted bytes 0\.\.5, there is no such file"):
                RangeReader(store, RangeOptions(whole_files=whole)).read([Span("gone.bin", 0, 5)])


def test_threads_share_descriptors(stores):
    reader = RangeReader(stores[0], RangeOptions(max_open=1))
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(300):
            name, offset = f"{rng.integers(4)}.bin", int(rng.integers(990))
            if reader.read([Span(name, offset, 10)]) != [FILES[name][offset : offset + 10]]:
                wrong.append((name, offset))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
