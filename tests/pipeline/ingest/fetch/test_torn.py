"""The standard library as a second reader of our answers; and answers that nobody can read."""

import http.client
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.trouble import Unanswered
from pipeline.record import Status

names = st.text("abcXYZ-09", min_size=1, max_size=12).map(lambda text: f"X-{text}")
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
bodies = st.one_of(st.binary(max_size=600), st.integers(0, 5000).map(lambda size: bytes(range(256)) * (size // 16)))
REASONS = ("200 OK", "203 Other", "404 Not Found", "500", "302 Found", "206 Partial")


@st.composite
def answers(draw):
    """A valid answer as raw bytes; and whether the end of the connection is that of the body."""
    body, framing = draw(bodies), draw(st.sampled_from(["length", "chunks", "end"]))
    lines = [f"HTTP/1.{draw(st.sampled_from('01' if framing != 'chunks' else '1'))} {draw(st.sampled_from(REASONS))}"]
    lines += [f"{name}:{draw(st.sampled_from(['', ' ', '  ']))}{value}" for name, value in draw(
        st.lists(st.tuples(names, values), max_size=8))]  # fmt: skip
    if framing == "length":
        lines.append(f"Content-Length: {len(body)}")
        tail = body
    elif framing == "chunks":
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
        parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a < b]
        extension, trailer = draw(st.sampled_from([b"", b";a=b"])), draw(st.sampled_from([b"", b"X-Trailer: z\r\n"]))
        chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
        lines.append("Transfer-Encoding: chunked")
        tail = chunks + b"0\r\n" + trailer + b"\r\n"
    else:
        tail = body
    interim = "HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    return (interim + "\r\n".join(lines) + "\r\n\r\n").encode() + tail


class FakeSocket:
    """Stands for a socket to http.client."""

    def __init__(self, raw):
        self.raw = raw

    def makefile(self, mode):
        return io.BytesIO(self.raw)


def by_the_book(raw):
    """Status, headers and body as http.client reads them."""
    response = http.client.HTTPResponse(FakeSocket(raw))
    response.begin()
    headers = sorted((name.lower().encode(), value.strip().encode()) for name, value in response.getheaders())
    return response.status, headers, response.read()


@settings(max_examples=200, deadline=None)
@given(answers(), st.lists(st.integers(0, 1 << 16), max_size=12))
def test_an_answer_is_the_same_however_it_is_torn(lab, raw, cuts):
    cuts = sorted(cut % (len(raw) + 1) for cut in cuts)
    reply = lab.feed([raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)])
    headers = sorted((name, value.strip()) for name, values in reply.head.headers.items() for value in values)
    assert (reply.head.status, headers, reply.data) == by_the_book(raw)


INSERTS = [
    b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"\t", b"\r\n\r\n", b"ffffffffffffffffff", b"-1",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: \x0bchunked\r\n",
    b"Connection: close\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
]  # fmt: skip


@st.composite
def mutants(draw):
    """Answers that were once valid."""
    raw = bytearray(draw(answers()))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(raw)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if kind == "flip" and at < len(raw):
            raw[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del raw[at : at + draw(st.integers(1, 20))]
        elif kind == "insert":
            raw[at:at] = draw(st.sampled_from(INSERTS))
        else:
            raw[at:at] = raw[at : at + draw(st.integers(1, 50))]
    return bytes(raw)


@settings(max_examples=300, deadline=None)
@given(mutants(), st.lists(st.integers(0, 1 << 16), max_size=6))
def test_no_answer_is_too_strange(lab, raw, cuts):
    cuts = sorted(cut % (len(raw) + 1) for cut in cuts)
    torn = lab.feed([raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)])
    whole = lab.feed([raw])
    assert type(torn) is type(whole)
    if isinstance(torn, Unanswered):
        assert torn.status in (Status.PROTOCOL_ERROR, Status.TOO_LARGE)
    else:
        assert torn.data == whole.data


@settings(max_examples=50, deadline=None)
@given(st.lists(mutants(), min_size=1, max_size=4))
def test_no_answer_over_a_socket_is_too_strange(lab, raws):
    async def handle(server, reader, writer):
        for raw in raws:
            await server.request(reader)
            writer.write(raw)
            await writer.drain()

    found, _ = lab.ask(handle, times=len(raws), timeout_s=0.2, max_redirects=1)
    assert all(isinstance(answer, Answer) for answer in found)
    assert all(answer.body if answer.status == Status.SUCCESS else not answer.body for answer in found)
