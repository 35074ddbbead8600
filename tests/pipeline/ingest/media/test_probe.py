"""Video and audio are told by their bytes, measured, and refused with the right word; nothing is decoded."""

import io
import os
import wave
from pathlib import Path

import pytest

from pipeline.errors import MissingExtra
from pipeline.ingest.media import probe as module
from pipeline.ingest.media.image import Refusal
from pipeline.ingest.media.probe import MediaConfig, Probed, probe

av = pytest.importorskip("av")
CONFIG = MediaConfig()


def wav(seconds=1.5, rate=8000):
    out = io.BytesIO()
    with wave.open(out, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(bytes(int(seconds * rate) * 2))
    return out.getvalue()


def video(kind="mp4", codec="mpeg4", seconds=2, fps=10, size=(64, 48)):
    out = io.BytesIO()
    with av.open(out, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(seconds * fps):
            frame = av.VideoFrame(*size, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([i * 3 % 256]) * plane.buffer_size)
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def test_a_wav_by_the_standard_library():
    found = probe(wav(), "audio", CONFIG)
    assert isinstance(found, Probed)
    assert (found.mime, found.extension, found.width, found.height) == ("audio/wav", "wav", None, None)
    assert found.duration_s == pytest.approx(1.5, abs=0.01)
    assert found.data == wav()


@pytest.mark.parametrize(
    ("kind", "mime", "extension"),
    [("mp4", "video/mp4", "mp4"), ("matroska", "video/x-matroska", "mkv"), ("avi", "video/x-msvideo", "avi")],
)
def test_containers_of_video(kind, mime, extension):
    body = video(kind)
    found = probe(body, "video", CONFIG)
    assert isinstance(found, Probed), found
    assert (found.mime, found.extension, found.width, found.height) == (mime, extension, 64, 48)
    assert found.duration_s == pytest.approx(2.0, abs=0.15)
    assert found.data == body
    assert probe(body, "audio", CONFIG).status == "wrong_type"
    assert probe(body, "video", MediaConfig(max_duration_s=1.5)).status == "too_long"
    assert probe(body, "video", MediaConfig(min_duration_s=2.5)).status == "too_small"
    assert probe(body, "video", MediaConfig(max_bytes=len(body) - 1)).status == "too_large"


@pytest.mark.parametrize("kind", ["mp4", "matroska", "avi", "wav"])
def test_files_that_end_early(kind):
    body, medium = (wav(), "audio") if kind == "wav" else (video(kind, seconds=4), "video")
    for share in (0.02, 0.3, 0.5, 0.8):
        found = probe(body[: int(len(body) * share)], medium, CONFIG)
        assert isinstance(found, Refusal)
        assert found.status == "decode_error", found


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "empty_body"),
        (b"\xff", "wrong_type"),
        (b"<html>not here</html>", "wrong_type"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "wrong_type"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "wrong_type"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "wrong_type"),
        (b"\0\0\0\x18ftypmp42" + bytes(500), "decode_error"),
        (b"\x1aE\xdf\xa3" + os.urandom(2000), "decode_error"),
        (b"OggS" + bytes(2000), "decode_error"),
        (b"RIFF\xff\xff\xff\x7fWAVEfmt " + bytes(200), "decode_error"),
    ],
)
def test_what_is_no_medium(body, status):
    for medium in ("video", "audio"):
        assert probe(body, medium, CONFIG).status == status


def test_without_pyav_the_command_is_told(monkeypatch):
    monkeypatch.setattr(module, "importlib", type("none", (), {"import_module": staticmethod(_missing)}))
    with pytest.raises(MissingExtra, match=r"pip install 'pairmill\[media\]'"):
        probe(wav(), "audio", CONFIG)


def _missing(name):
    raise ModuleNotFoundError(name)


def test_the_stage_stores_what_was_received(web, fetch):
    """One part of all three mediums: bodies untouched, probe data in the row, members named by type."""
    film, sound = video(), wav()
    web.pages |= {"/film": film, "/sound": sound}
    urls = [web.url("/film"), web.url("/sound"), web.url("/film"), web.url("/sound")]
    mediums = ["video", "audio", "audio", "image"]
    part = fetch(urls, medium=mediums)
    assert part.statuses == ["success", "success", "wrong_type", "wrong_type"]
    facts = [(row["mime"], row["width"], row["height"], round(row["duration_s"], 1)) for row in part.rows[:2]]
    assert facts == [("video/mp4", 64, 48, 2.0), ("audio/wav", None, None, 1.5)]
    keys = [row["key"] for row in part.rows]
    members = dict(part.members)
    assert (members[f"{keys[0]}.mp4"], members[f"{keys[1]}.wav"]) == (film, sound)
    assert web.asked("/film") == web.asked("/sound") == 1


def test_caps_of_each_medium_are_its_own(web, fetch, draw):
    film, picture = video(), draw.encoded(draw.photo())
    web.pages |= {"/film": film, "/picture": picture}
    urls = [web.url("/film"), web.url("/picture")]
    part = fetch(urls, medium=["video", "image"], config={"max_bytes": len(picture) - 1})
    assert part.statuses == ["success", "too_large"]


@pytest.mark.skipif("PAIRMILL_DATA" not in os.environ, reason="PAIRMILL_DATA does not name a folder of real media")
def test_real_media():
    root = Path(os.environ["PAIRMILL_DATA"])
    films = [path for kind in ("mp4", "mkv", "webm") for path in sorted((root / "video").rglob(f"*.{kind}"))]
    sounds = [*sorted((root / "audio").rglob("*.ogg"))[:40], *sorted((root / "audio").rglob("*.wav"))[:40]]
    assert len(films) >= 20
    assert len(sounds) >= 60
    for path in films:
        found = probe(path.read_bytes(), "video", CONFIG)
        assert isinstance(found, Probed), (path.name, found)
        assert found.extension == path.suffix[1:]
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
        assert (found.width, found.height) == (frames[0].width, frames[0].height)
        last = max(frame.time for frame in frames)
        assert last <= found.duration_s + 0.1
    for path in sounds:
        found = probe(path.read_bytes(), "audio", CONFIG)
        assert isinstance(found, Probed), (path.name, found)
        assert (found.extension, found.width) == (path.suffix[1:], None)
        if path.suffix == ".wav":
            with wave.open(str(path)) as stream:
                assert found.duration_s == pytest.approx(stream.getnframes() / stream.getframerate(), abs=0.01)
