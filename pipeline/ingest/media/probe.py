"""Video and audio bodies: kept as received, with what their container says of them; nothing is decoded.

Takes a body of the medium that the list promises. Gives `Probed` or `Refusal`. The container's format is told by the
first bytes and given to FFmpeg (through PyAV, the extra `media`) by name, so that no playlist format is ever opened.
All packets are walked once, which gives the true duration and finds files that end early.
"""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from pipeline.errors import MissingExtra
from pipeline.ingest.media.image import Refusal
from pipeline.ingest.media.sniff import sniff
from pipeline.recipe import RecipeTable
from pipeline.record import Status

_MAX_PACKETS = 5_000_000
_WHOLE = 0.95
"""The part of what a container announces that has to be there; headers round and count loosely."""
_FORMATS = {
    "video/mp4": "mp4",
    "video/webm": "matroska",
    "video/x-msvideo": "avi",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
    "audio/aac": "aac",
}
"""MIME type by the first bytes -> the demuxer that may open it."""
_AS_AUDIO = {"video/mp4": "audio/mp4", "video/webm": "audio/webm", "video/x-matroska": "audio/x-matroska"}
_EXTENSIONS = {
    "video/mp4": "mp4", "video/webm": "webm", "video/x-matroska": "mkv", "video/x-msvideo": "avi",
    "video/ogg": "ogv", "audio/ogg": "ogg", "audio/wav": "wav", "audio/flac": "flac", "audio/mpeg": "mp3",
    "audio/aac": "aac", "audio/mp4": "m4a", "audio/webm": "weba", "audio/x-matroska": "mka",
}  # fmt: skip


class MediaConfig(RecipeTable):
    """The `[media]` table of a dataset recipe: which video and audio bodies are kept."""

    max_bytes: int = Field(default=100 * 1024 * 1024, ge=1)
    """A longer body is `too_large`; for images, `fetch.max_bytes` holds."""
    max_duration_s: float = Field(default=600.0, gt=0)
    """A longer medium is `too_long`."""
    min_duration_s: float = Field(default=0.0, ge=0)
    """A shorter medium is `too_small`."""


@dataclass(frozen=True, slots=True)
class Probed:
    """A video or audio medium as its container describes it. Sizes are in pixels, null for audio."""

    data: bytes
    mime: str
    extension: str
    duration_s: float
    width: int | None
    height: int | None


def load_av() -> Any:
    """PyAV, silenced. Raises: MissingExtra: it is not installed."""
    try:
        av = importlib.import_module("av")
    except ImportError:
        raise MissingExtra("fetching video or audio needs PyAV: pip install 'pairmill[media]'") from None
    av.logging.set_level(None)
    return av


def probe(body: bytes, medium: str, config: MediaConfig) -> Probed | Refusal:
    """What a body is, where it is of `medium` (video or audio) and within the caps.

    Raises: MissingExtra: PyAV is not installed. Nothing else on what the body holds.
    """
    av = load_av()
    if not body:
        return Refusal(Status.EMPTY_BODY, "0 bytes")
    if len(body) > config.max_bytes:
        return Refusal(Status.TOO_LARGE, f"{len(body)} bytes, at most {config.max_bytes} wanted")
    mime = _sniff(body)
    if mime not in _FORMATS:
        return Refusal(Status.WRONG_TYPE, f"{mime or 'unknown'}, wanted {medium}")
    try:
        with av.open(io.BytesIO(body), "r", format=_FORMATS[mime]) as container:
            return _judge(body, mime, medium, container, config)
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        words = getattr(error, "strerror", None) or str(error)
        return Refusal(Status.DECODE_ERROR, f"{type(error).__name__}: {words}"[:120])


def _judge(body: bytes, mime: str, medium: str, container: Any, config: MediaConfig) -> Probed | Refusal:
    videos = [item for item in container.streams.video if not _is_cover(item)]
    audios = list(container.streams.audio)
    mime = _exact(body, mime, bool(videos))
    if not (videos if medium == "video" else audios and not videos):
        found = f"{mime} with {len(videos)} video and {len(audios)} audio streams"
        return Refusal(Status.WRONG_TYPE, f"{found}, wanted {medium}")
    main = (videos or audios)[0]
    codec = main.codec_context  # None for a codec that FFmpeg does not know
    width, height = (codec.width, codec.height) if videos and codec is not None else (None, None)
    if videos and not (width and height):
        return Refusal(Status.DECODE_ERROR, "a video stream without a size")
    announced_s = float(container.duration or 0) / 1_000_000
    if announced_s > config.max_duration_s:
        return Refusal(Status.TOO_LONG, f"{announced_s:.1f} s, at most {config.max_duration_s:g} wanted")
    walked_s, num_packets = _walk(container, main.index)
    if num_packets == 0 or num_packets < main.frames * _WHOLE or _riff_is_cut(body):
        return Refusal(Status.DECODE_ERROR, f"ends early: {num_packets} of {main.frames or 'any'} packets")
    if walked_s < announced_s * _WHOLE - 0.3:
        return Refusal(Status.DECODE_ERROR, f"ends early: {walked_s:.1f} of {announced_s:.1f} s")
    duration_s = walked_s or announced_s
    if duration_s > config.max_duration_s:
        return Refusal(Status.TOO_LONG, f"{duration_s:.1f} s, at most {config.max_duration_s:g} wanted")
    if duration_s < config.min_duration_s:
        return Refusal(Status.TOO_SMALL, f"{duration_s:.1f} s, at least {config.min_duration_s:g} wanted")
    return Probed(body, mime, _EXTENSIONS[mime], duration_s, width, height)


def _walk(container: Any, main: int) -> tuple[float, int]:
    """Seconds from the first packet's start to the last one's end, and how many packets stream `main` has."""
    first: float | None = None
    last, count = 0.0, 0
    for number, packet in enumerate(container.demux()):
        if number > _MAX_PACKETS:
            raise ValueError(f"more than {_MAX_PACKETS} packets")
        if packet.size == 0:  # the demuxer's own end mark
            continue
        count += packet.stream.index == main
        if packet.pts is not None:
            start = float(packet.pts * packet.time_base)
            first = start if first is None else min(first, start)
            last = max(last, start + float((packet.duration or 0) * packet.time_base))
    return (0.0 if first is None else last - first), count


def _riff_is_cut(body: bytes) -> bool:
    """Whether a RIFF file (WAV, AVI) is shorter than it says; written as a stream, it says 0 or the largest number."""
    size = int.from_bytes(body[4:8], "little")
    return body.startswith(b"RIFF") and 0 < size < 0xFFFF_FF00 and size > len(body)


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is a still picture that belongs to a song."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _sniff(body: bytes) -> str | None:
    if body[0] == 0xFF and body[1:2] and body[1] & 0xF6 == 0xF0:
        return "audio/aac"  # an ADTS frame
    if body[0] == 0xFF and body[1:2] and body[1] & 0xE0 == 0xE0:
        return "audio/mpeg"  # a frame without a tag before it
    return sniff(body)


def _exact(body: bytes, mime: str, has_video: bool) -> str:
    """The type, now that it is known what the container holds."""
    if mime == "video/webm" and b"webm" not in body[:64]:
        mime = "video/x-matroska"
    if mime == "audio/ogg" and has_video:
        return "video/ogg"
    return mime if has_video else _AS_AUDIO.get(mime, mime)
