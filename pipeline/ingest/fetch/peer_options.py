"""A recipe in the words of img2dataset 1.47: what it is told, and what it must not be asked.

`check_peer` refuses, before anything starts, what keeps people or networks safe and img2dataset cannot do. Who wants
img2dataset as it is says so in the recipe: robots ignored, opt-outs as far as it reads them, any address.
"""

from __future__ import annotations

import logging
from typing import Any

from pipeline.errors import RecipeError
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.optout import BLOCKING, product_token
from pipeline.ingest.media.image import ImageConfig

log = logging.getLogger(__name__)

_ANY_ADDRESS = ("0.0.0.0/0", "::/0")
NO_EFFECT = (
    "per_host", "max_turn_wait_s", "connect_timeout_s", "max_bytes", "max_redirects", "backoff_s", "max_wait_s",
    "give_up_host_after", "ca_file", "tls", "dns_cache_s",
)  # fmt: skip
"""Settings of [fetch] that img2dataset has nothing for; it always verifies certificates."""


NO_COMPANIONS = 'fetch.companions: it fetches one file per row; say companions = "ignore" to do without masks and such'


def check_peer(config: FetchConfig, image: ImageConfig, medium: str, *, has_companions: bool = False) -> None:
    """Refuse what img2dataset cannot honour; say once what has no effect.

    Raises: RecipeError: naming each setting, and what to say instead.
    """
    problems = [
        (config.robots != "ignore", 'fetch.robots: it reads no robots.txt; say robots = "ignore"'),
        (
            config.policy == "respect",
            'fetch.policy: of the opt-outs it reads only X-Robots-Tag headers of a plain form; say policy = '
            '"x_robots_tag" for what it does, or "ignore"',
        ),
        (
            not set(_ANY_ADDRESS) <= set(config.allow_private),
            "fetch.allow_private: it connects to any address that a name or a redirect leads to, inside your network "
            f"too; say allow_private = {list(_ANY_ADDRESS)} where that does no harm",
        ),
        (bool(config.allow_folders), "fetch.allow_folders: it cannot be kept to some folders; leave it out"),
        (
            config.block.content() is not None,
            "fetch.block: it knows no block lists; remove the rows from the list beforehand",
        ),
        (config.per_host_rate_hz is not None, "fetch.per_host_rate_hz: it has no pace per host; leave it out"),
        (image.animated != "first_frame", "image.animated: it stores one frame, or none; leave it out"),
        (image.blur != "none", "image.blur: its boxes are of another kind; leave it out"),
        (has_companions and config.companions != "ignore", NO_COMPANIONS),
        (medium != "image", f"source: a list of {medium}, and it fetches images alone"),
    ]
    found = [text for is_so, text in problems if is_so]
    if found:
        raise RecipeError(
            "fetch.engine = 'img2dataset' cannot do what the recipe asks for:\n  - "
            + "\n  - ".join(found)
            + "\nOr take fetch.engine = 'pairmill', which does all of these."
        )
    default = FetchConfig()
    unused = [name for name in NO_EFFECT if getattr(config, name) != getattr(default, name)]
    if unused:
        log.warning("fetch.engine = 'img2dataset' has nothing for, and ignores: fetch.%s", ", fetch.".join(unused))


def peer_options(config: FetchConfig, image: ImageConfig) -> dict[str, Any]:
    """The options of `img2dataset.download` that follow from a recipe; those of files come with each run."""
    return {
        "input_format": "parquet",
        "url_col": "url",
        "output_format": "webdataset",
        "processes_count": 1,
        "thread_count": config.concurrency,
        "timeout": config.timeout_s,
        "retries": config.retries,
        "user_agent_token": product_token(config.user_agent),
        "disallowed_header_directives": sorted(BLOCKING) if config.policy == "x_robots_tag" else [],
        **peer_image_options(image),
    }


def peer_image_options(image: ImageConfig) -> dict[str, Any]:
    """Of these, what is stored of an image."""
    return {
        "image_size": image.size_px,
        "resize_mode": image.resize,
        "resize_only_if_bigger": image.only_if_bigger,
        "upscale_interpolation": image.upscale,
        "encode_quality": image.quality,
        "encode_format": "jpg",
        "min_image_size": image.min_side_px,
        "max_image_area": image.max_pixels,
        "extract_exif": image.exif == "keep",
    }
