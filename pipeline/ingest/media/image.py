"""The treatment of an image body: refused with a status, kept as received, or resized and encoded as JPEG.

Takes bytes from anywhere. Gives `Media` (bytes to store and what is known of them) or `Refusal`. The size is judged
from the header before a pixel is decoded; a JPEG larger than its target goes through pairmill's own decoder
(`pipeline.jpeg`), or through libjpeg-turbo at a reduced scale (`jpeg.least_scale`). A JPEG that needs no change keeps
its bytes. The same body gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from PIL import Image
from pydantic import Field, model_validator

from pipeline.ingest.media import animation, jpeg, metadata, raster
from pipeline.ingest.media.geometry import Geometry, ResizeMode, Upscale, plan_geometry, shape, whole
from pipeline.ingest.media.jpeg import Damaged, NotForTurbo
from pipeline.ingest.media.retouch import Box, Retouch
from pipeline.ingest.media.sniff import sniff
from pipeline.jpeg import native
from pipeline.recipe import RecipeTable
from pipeline.record import Status

_MAX_DETAIL = 120
MAX_SCANS = 500
"""libjpeg-turbo's own limit where it sets one: each scan of a progressive JPEG costs a pass over all its pixels."""
UNDECODABLE = (raster.TooManyPixels, Damaged, MemoryError)
"""What decoding a body may raise."""
_EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


class ImageConfig(RecipeTable):
    """The `[image]` table of a dataset recipe: what is stored of each image. Stored images are JPEG."""

    resize: ResizeMode = "keep_ratio"
    """keep_ratio: shorter side to `size_px`. center_crop: so too, then the middle square. border: longer side to
    `size_px`, on a white square. no: as it is."""
    size_px: int = Field(default=256, ge=1, le=16_384)
    only_if_bigger: bool = True
    """Smaller images are not scaled up."""
    upscale: Upscale = "lanczos"
    """Filter for scaling up; scaling down takes Lanczos where `decoder` is native, and comes close to it elsewhere."""
    decoder: Literal["auto", "native", "library"] = "auto"
    """What decodes JPEGs that shrink. `native`: pairmill's own decoder, for what most JPEGs are; libraries take the
    rest, and all other formats. `library`: libjpeg-turbo and OpenCV. `auto`: native where it was compiled. The two give
    other pixels, so parts made by one are made again for the other."""
    quality: int = Field(default=95, ge=1, le=100)
    """JPEG quality where an image is encoded; 4:2:0."""
    max_pixels: int = Field(default=64_000_000, ge=1, le=170_000_000)
    """An image with more is `too_many_pixels`, judged by its header."""
    min_side_px: int = Field(default=1, ge=1)
    """An image whose shorter side is below this is `too_small`."""
    icc: Literal["srgb", "ignore"] = "srgb"
    """`srgb`: colours with an ICC profile of another space are converted; such an image is encoded anew. `ignore`:
    they are taken for sRGB."""
    exif: Literal["drop", "keep"] = "drop"
    """What becomes of a JPEG's EXIF where it is encoded anew; the orientation is applied in any case. `keep` also
    records the tags in the column `exif`: positions and names may be among them."""
    metadata: Literal["keep", "strip"] = "keep"
    """What becomes of EXIF (positions among it), XMP, IPTC and comments where a JPEG keeps its bytes."""
    blur: Literal["none", "regions"] = "none"
    """`regions`: boxes of the list that are called `face` are blurred."""
    animated: Literal["first_frame", "all_frames", "refuse"] = "first_frame"
    """What becomes of GIF, PNG, WebP and AVIF that move. `all_frames`: they keep their bytes and size, as do no other
    images of these kinds; their frames together have at most `max_pixels`, and `detail` tells their number. One with
    a box to blur gives its first frame all the same. `refuse`: `wrong_type`."""

    @model_validator(mode="after")
    def _keeps_what_it_may(self) -> Self:
        if self.animated == "all_frames" and self.metadata == "strip":
            raise ValueError(
                "animated: 'all_frames' keeps files as received, and metadata = 'strip' cannot be done to them; take "
                "animated = 'first_frame' or metadata = 'keep'"
            )
        return self

    def settled(self) -> Self:
        """These settings with the decoder that `auto` stands for here: decided once, for all workers of a run."""
        if self.decoder != "auto":
            return self
        return self.model_copy(update={"decoder": "native" if native.is_built() else "library"})


@dataclass(frozen=True, slots=True)
class Media:
    """A medium to store. `original_*` are upright pixels as received; `orientation` is what was applied.

    Audio has no size. `detail` is what else there is to tell of it.
    """

    data: bytes
    mime: str
    extension: str
    width: int | None
    height: int | None
    original_width: int | None
    original_height: int | None
    orientation: int
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a body is not stored."""

    status: Status
    detail: str


def treat_image(body: bytes, config: ImageConfig, boxes: tuple[Box, ...] = ()) -> Media | Refusal:
    """Make a stored image of a body, with `boxes` blurred; never raises on what the body holds."""
    if not body:
        return Refusal(Status.EMPTY_BODY, "0 bytes")
    mime = sniff(body)
    if mime not in raster.FORMATS:
        return Refusal(Status.WRONG_TYPE, f"{mime or 'unknown'}, wanted an image")
    try:
        if mime == "image/jpeg":
            try:
                return _with_metadata(body, _treat_jpeg(body, config, boxes), config)
            except NotForTurbo:
                pass
        return _with_metadata(body, _treat_raster(body, mime, config, boxes), config)
    except UNDECODABLE as error:
        return refusal_of(error)


def stored_as_it_is(body: bytes) -> Media | Refusal:
    """An image that another tool has stored, with its bytes kept: told by its header, not decoded."""
    mime = sniff(body)
    if mime not in _EXTENSIONS:
        return Refusal(Status.WRONG_TYPE, f"{mime or 'unknown'}, wanted a stored image")
    try:
        width, height = raster.open_image(body, mime, ImageConfig().max_pixels).size
    except (raster.TooManyPixels, Damaged) as error:
        return refusal_of(error)
    return Media(body, mime, _EXTENSIONS[mime], width, height, width, height, 1)


def _treat_jpeg(body: bytes, config: ImageConfig, boxes: tuple[Box, ...]) -> Media | Refusal:
    header = jpeg.read_header(body)
    if not header.one_scan and body.count(b"\xff\xda") > MAX_SCANS:
        return Refusal(Status.DECODE_ERROR, f"more than {MAX_SCANS} scans")
    width, height = _upright(header.width, header.height, header.orientation)
    refusal = _judge_size(width, height, config)
    if refusal is not None:
        return refusal
    geometry = _plan(width, height, config)
    retouch = Retouch(metadata.icc_of(body) if config.icc == "srgb" else None, boxes)
    channels = 1 if header.color == "Gray" else 3
    is_native = config.settled().decoder == "native"
    if header.orientation == 1 and not geometry.changes(width, height) and not retouch.changes_pixels(channels):
        if not is_native or not native.is_whole(body):
            jpeg.decode(body, header, 1)  # at 1/8 scale: only to know that it is whole
        return Media(body, "image/jpeg", "jpg", width, height, width, height, 1)
    if is_native and not retouch.changes_pixels(channels):
        data = jpeg.shrink(body, header, geometry, config.quality)
        if data is not None:
            return _encoded(data, geometry, width, height, 1)
    target = _upright(geometry.width, geometry.height, header.orientation)
    shrinks = target[0] < header.width and target[1] < header.height
    decoded = jpeg.decode(body, header, jpeg.least_scale(header, *target), fast_color=shrinks)
    pixels = shape(decoded, geometry, header.orientation, config.upscale)
    data = jpeg.encode(retouch.apply(pixels, geometry, width, height), config.quality)
    return _encoded(data, geometry, width, height, header.orientation)


def _treat_raster(body: bytes, mime: str, config: ImageConfig, boxes: tuple[Box, ...]) -> Media | Refusal:
    image = raster.open_image(body, mime, config.max_pixels)
    refusal = _judge_size(*image.size, config)
    if refusal is not None:
        return refusal
    if config.animated != "first_frame" and (frames := animation.num_frames(image, mime)) > 1:
        if config.animated == "refuse":
            return Refusal(Status.WRONG_TYPE, f"animated, {frames} frames")
        if not boxes:
            return _as_it_moves(body, image, mime, frames, config)
        image = raster.open_image(body, mime, config.max_pixels)
    profile = image.info.get("icc_profile") if config.icc == "srgb" else None
    retouch = Retouch(None if image.mode == "CMYK" else profile, boxes)
    loaded = raster.load(image, profile)
    height, width, channels = loaded.pixels.shape
    width, height = _upright(width, height, loaded.turn)
    geometry = _plan(width, height, config)
    if _keeps_bytes(image, loaded, geometry, width, height) and not retouch.changes_pixels(channels):
        return Media(body, mime, "jpg", width, height, width, height, 1)
    pixels = shape(whole(loaded.pixels), geometry, loaded.turn, config.upscale)
    data = jpeg.encode(retouch.apply(pixels, geometry, width, height), config.quality)
    return _encoded(data, geometry, width, height, loaded.orientation)


def _as_it_moves(body: bytes, image: Image.Image, mime: str, frames: int, config: ImageConfig) -> Media:
    size = image.size
    animation.check_frames(image, frames, config.max_pixels)
    return Media(body, mime, animation.EXTENSIONS[mime], *size, *size, 1, f"{frames} frames")


def _with_metadata(body: bytes, media: Media | Refusal, config: ImageConfig) -> Media | Refusal:
    """`media` with the metadata that the recipe wants in it."""
    if isinstance(media, Refusal):
        return media
    if media.data is body:
        return replace(media, data=metadata.stripped(body)) if config.metadata == "strip" else media
    if config.exif == "keep" and body.startswith(b"\xff\xd8"):
        return replace(media, data=metadata.with_exif(media.data, metadata.exif_of(body)))
    return media


def _keeps_bytes(image: Image.Image, loaded: raster.Raster, geometry: Geometry, width: int, height: int) -> bool:
    if image.format not in ("JPEG", "MPO") or image.mode not in ("L", "RGB"):
        return False
    return loaded.orientation == 1 and not geometry.changes(width, height)


def _judge_size(width: int, height: int, config: ImageConfig) -> Refusal | None:
    if width * height > config.max_pixels:
        return Refusal(Status.TOO_MANY_PIXELS, f"{width} x {height}, at most {config.max_pixels} wanted")
    if min(width, height) < config.min_side_px:
        return Refusal(Status.TOO_SMALL, f"{width} x {height}, at least {config.min_side_px} wanted")
    return None


def _plan(width: int, height: int, config: ImageConfig) -> Geometry:
    return plan_geometry(width, height, config.resize, config.size_px, config.only_if_bigger)


def _encoded(data: bytes, geometry: Geometry, width: int, height: int, orientation: int) -> Media:
    return Media(
        data, "image/jpeg", "jpg", geometry.out_width, geometry.out_height, width, height, orientation
    )


def _upright(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if orientation >= 5 else (width, height)


def refusal_of(error: Exception) -> Refusal:
    """What one of `UNDECODABLE` comes to."""
    if isinstance(error, MemoryError):
        return Refusal(Status.TOO_MANY_PIXELS, "no memory to decode it")
    is_large = isinstance(error, raster.TooManyPixels)
    return Refusal(Status.TOO_MANY_PIXELS if is_large else Status.DECODE_ERROR, _brief(error))


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:_MAX_DETAIL]
