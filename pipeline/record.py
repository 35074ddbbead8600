"""The record: the Arrow schema of every hop, the key of a sample, and the words an `outcome` may be.

This file is the contract between `ingest`, `filter` and `shard`, which never import each other.

    list -> CANDIDATE -> FETCHED -> scores -> VERDICT -> SHARD_INDEX
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

import pyarrow as pa

ROLE = re.compile(r"[a-z0-9_]{1,32}")
"""What a companion's role may be: it becomes the ending of a file, `{key}.{role}.png`."""

TEXT = pa.struct([("text", pa.string()), ("kind", pa.string()), ("lang", pa.string())])
"""One text of a sample. `kind` says what it is (caption, alt, reference, question, ...); `lang` may be null."""

REGION = pa.struct([("box", pa.list_(pa.float32())), ("mask", pa.string()), ("text", pa.string())])
"""A part of a medium: box = [x, y, width, height] in pixels of the original, mask = COCO RLE as JSON."""

COMPANION = pa.struct([("role", pa.string()), ("url", pa.string())])
"""Another file that belongs to the sample, such as a segmentation mask. `role` as `ROLE` says."""

STORED_COMPANION = pa.struct(
    [
        ("role", pa.string()),
        ("outcome", pa.string()),
        ("detail", pa.string()),
        ("member", pa.string()),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
    ]
)
"""What became of a companion, and where its bytes, kept as received, lie in the raw tar; `width`, `height` are its own,
no orientation applied. All after `detail` are null unless `outcome` is `success`."""

CELL = pa.struct([("name", pa.string()), ("value", pa.string())])
"""One cell of the sample's table row."""

CANDIDATE = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("medium", pa.string(), nullable=False),
        ("url", pa.string()),
        ("texts", pa.list_(TEXT)),
        ("regions", pa.list_(REGION)),
        ("companions", pa.list_(COMPANION)),
        ("table", pa.list_(CELL)),
        ("hash", pa.string()),
        ("split", pa.string()),
        ("fault", pa.string()),
        ("meta", pa.string()),
    ]
)
"""One row per medium of a list.

`medium` is image, video or audio. `hash` is what the list promises, as `md5:<hex>` or `sha256:<hex>`.
`split` is what the list says (train, validation, ...), null where the key decides. `fault` says why the
row cannot be fetched (it becomes the outcome `bad_row`). `meta` is a JSON object of the list's other columns.
"""

IMG2DATASET = pa.schema(
    [
        ("caption", pa.string()),
        ("url", pa.string()),
        pa.field("key", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("exif", pa.string()),
        ("sha256", pa.string()),
    ]
)
"""The columns of a parquet file of img2dataset 1.47, in its order and types."""

FETCHED = pa.schema(
    [
        *IMG2DATASET,
        ("uid", pa.string()),
        *(item for item in CANDIDATE if item.name not in IMG2DATASET.names),
        pa.field("outcome", pa.string(), nullable=False),
        ("detail", pa.string()),
        ("mime", pa.string()),
        ("duration_s", pa.float32()),
        ("phash", pa.uint64()),
        ("orientation", pa.int8()),
        ("bytes", pa.int64()),
        ("tar_offset", pa.int64()),
        ("tar_bytes", pa.int64()),
        ("member", pa.string()),
        ("fetched_at", pa.timestamp("ms", tz="UTC")),
        ("stored_companions", pa.list_(STORED_COMPANION)),
    ]
)
"""A candidate and what became of it: img2dataset's columns with its meanings, then ours.

`outcome` is our word (`Status`), and what every stage of pairmill reads; `detail` says more. `status` is one of
img2dataset's three words (success, failed_to_download, failed_to_resize), for its readers, and `error_message`,
null where it is a success, is its message where it has one for the outcome, else `<outcome>: <detail>`.
`caption` is the first text. `uid` is the name that DataComp's tools know a row by: the list's own identifier where
that is 32 hex digits, else `key`.

`sha256` is of the body as received (`bytes` long), so that it can be compared with lists and other copies.
`width`, `height` are of the stored medium, after orientation and resizing; `original_*` as received,
orientation applied. `orientation` is the EXIF value that was applied (1 where there was none). `exif` is a JSON
object of the received image's EXIF tags, null unless the recipe keeps EXIF: positions and names may be among them.
`tar_offset`, `tar_bytes` locate the stored medium inside the raw tar; `member` is its name there.
`stored_companions` has one entry per companion, in their order; null where there are none, or the recipe ignores them.
All of these are null unless `outcome` is `success`.
"""

VERDICT = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),
        ("dropped_by", pa.string()),
        pa.field("weight", pa.float32(), nullable=False),
    ]
)
"""The opinion on a row. `dropped_by` is null where `keep`, else `fetch:<outcome>` or the name of a rule."""

SHARD_INDEX = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        ("member", pa.string()),
        ("mime", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("duration_s", pa.float32()),
        ("texts", pa.list_(TEXT)),
        ("weight", pa.float32()),
        ("sha256", pa.string()),
        ("media_sha256", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("media_offset", pa.int64()),
        ("media_size", pa.int64()),
        ("source", pa.string()),
        ("source_id", pa.string()),
        ("url", pa.string()),
        ("raw_part", pa.string()),
        ("raw_offset", pa.int64()),
    ]
)
"""One row per sample of a shard, in tar order.

`offset`, `size` span all members of the sample, headers and padding included; `media_offset`, `media_size`
are the medium's own bytes. `sha256` is of the body as fetched, `media_sha256` of the bytes in the shard.
"""

SHARD_COMPANION = pa.struct(
    [
        ("role", pa.string()),
        ("member", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
    ]
)
"""A companion inside a shard; `offset`, `size` are its own bytes."""

SHARD_INDEX_COMPANIONS = SHARD_INDEX.append(pa.field("companions", pa.list_(SHARD_COMPANION)))
"""The index of a shard that holds companions; they follow their medium, in this order. Null where a sample has none."""


class Status(StrEnum):
    """What became of a candidate. Every refusal and every failure has its own word."""

    SUCCESS = "success"
    # the row itself
    BAD_ROW = "bad_row"
    INVALID_URL = "invalid_url"
    # refused by us
    REFUSED_SCHEME = "refused_scheme"
    REFUSED_ADDRESS = "refused_address"
    REFUSED_PORT = "refused_port"
    OPTED_OUT = "opted_out"
    BLOCKLISTED = "blocklisted"
    FORGOTTEN = "forgotten"
    DEFERRED = "deferred"
    # the network
    DNS_ERROR = "dns_error"
    CONNECT_ERROR = "connect_error"
    TLS_ERROR = "tls_error"
    TIMEOUT = "timeout"
    PROTOCOL_ERROR = "protocol_error"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    TOO_LARGE = "too_large"
    HTTP_403 = "http_403"
    HTTP_404 = "http_404"
    HTTP_410 = "http_410"
    HTTP_429 = "http_429"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    HTTP_OTHER = "http_other"
    # the medium
    EMPTY_BODY = "empty_body"
    HASH_MISMATCH = "hash_mismatch"
    WRONG_TYPE = "wrong_type"
    DECODE_ERROR = "decode_error"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    TOO_LONG = "too_long"


RETRYABLE = frozenset(
    {
        Status.DEFERRED,
        Status.DNS_ERROR,
        Status.CONNECT_ERROR,
        Status.TIMEOUT,
        Status.PROTOCOL_ERROR,
        Status.HTTP_429,
        Status.HTTP_5XX,
    }
)
"""Outcomes that another try may change; all others stand until the list or the recipe changes."""


def sample_key(source: str, source_id: str) -> str:
    """The key of a sample: blake2b-128 of source and source_id, 32 lower-case hex digits.

    The two parts are length-prefixed, so that ("a", "bc") and ("ab", "c") differ.
    """
    left, right = source.encode("utf-8", "surrogatepass"), source_id.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(len(left).to_bytes(4, "big") + left + right, digest_size=16)
    return digest.hexdigest()


def key_fraction(key: str, salt: str) -> float:
    """A number in [0, 1) that depends on `key` and `salt` alone; decides splits and samples stably."""
    digest = hashlib.blake2b(f"{salt}\0{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
