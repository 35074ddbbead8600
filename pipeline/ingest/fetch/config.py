"""The `[fetch]` table of a dataset recipe: who we say we are, what we ask for, and where we stop."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.ingest.fetch.blocklist import BlockConfig
from pipeline.recipe import RecipeTable


class FetchConfig(RecipeTable):
    """How media are fetched. The defaults are for the open web; what loosens a guard is off until a recipe asks."""

    engine: Literal["pairmill", "img2dataset"] = "pairmill"
    """What fetches. `img2dataset`: that tool, in processes of its own; it has few of the guards below, so a recipe has
    to give up the others by name, and settings that it has nothing for are named once and ignored."""
    user_agent: str = Field(default="pairmill/0.1 (+contact)", min_length=1)
    """Sent with every request; say who you are and how to reach you. Its first word is the name that
    robots.txt and opt-out headers may address."""
    policy: Literal["respect", "x_robots_tag", "ignore"] = "respect"
    """`respect`: media whose server opts out (X-Robots-Tag, TDM-Reservation) get the outcome `opted_out`.
    `x_robots_tag`: what img2dataset does, and for that engine only: X-Robots-Tag of the plain form.
    `ignore`: only with the right to, such as on a server of your own."""

    robots: Literal["respect", "ignore"] = "respect"
    """`respect`: robots.txt is obeyed (RFC 9309), also where a URL redirects to; its Crawl-delay and Request-rate set
    the pace. `ignore`: only with the right to."""
    tdmrep: Literal["respect", "ignore"] = "respect"
    """`respect`: under policy = "respect", media that /.well-known/tdmrep.json of their host reserves get the outcome
    `opted_out`; one small request more per host. `ignore`: only the header TDM-Reservation is read."""
    per_host_rate_hz: float | None = Field(default=None, gt=0)
    """The most requests per second to one host, from all workers of a run together; none sets no limit of our own."""
    max_turn_wait_s: float = Field(default=600.0, ge=0)
    """A row whose host's pace would have it wait for longer is not tried, and gets the outcome `deferred`."""
    companions: Literal["drop_row", "keep_row", "ignore"] = "drop_row"
    """What becomes of the files that belong to a medium, such as masks, which are stored beside it as received.
    `drop_row`: a row that lacks one ends as that one did. `keep_row`: it is kept without it. `ignore`: none is fetched.
    Each is fetched under the same rules as a medium."""
    block: BlockConfig = BlockConfig()
    """Lists of what is never fetched or never kept, such as those of known illegal material."""

    timeout_s: float = Field(default=15.0, gt=0)
    """Seconds for one try of one URL, from the name lookup to the last byte, all redirects included."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds for one connection, within `timeout_s`."""
    max_bytes: int = Field(default=20 * 1024 * 1024, ge=1)
    """A longer body, counted as received and as decoded, is `too_large`."""
    max_redirects: int = Field(default=5, ge=0)
    retries: int = Field(default=2, ge=0)
    """Further tries for what another try may change (see `record.RETRYABLE`)."""
    backoff_s: float = Field(default=0.5, ge=0)
    """Wait before the first retry; doubles with each, and is scattered by half."""
    max_wait_s: float = Field(default=20.0, ge=0)
    """The longest wait before a retry; a server that asks for longer (Retry-After) gets no retry."""
    give_up_host_after: int = Field(default=20, ge=1)
    """After so many connections in a row that a host did not answer, its other rows of the part are not tried."""

    concurrency: int = Field(default=64, ge=1, le=4096)
    """Requests in flight of one worker; also the most bodies in memory."""
    per_host: int = Field(default=4, ge=1)
    """Of these, to one host."""
    cpus: float = Field(default=1.0, gt=0)
    """CPUs of one worker; images are decoded in as many threads."""
    memory_mb: int = Field(default=256, ge=1)
    """Finished media of a part kept in memory until their turn to be written; more wait in a scratch file."""

    ports: tuple[int, ...] = ()
    """Ports allowed beside 80 and 443."""
    allow_private: tuple[str, ...] = ()
    """Networks such as 10.1.0.0/16 that may be fetched from although they are not of the open web."""
    allow_folders: tuple[str, ...] = ()
    """Local folders whose files may be fetched by `file://` URLs; none refuses that scheme."""
    tls: Literal["verify", "accept_any"] = "verify"
    """Whether a server must prove its name."""
    ca_file: str | None = None
    """A PEM file of certificate authorities to trust beside the system's."""
    dns_cache_s: int = Field(default=600, ge=0)
    """How long a resolved name is kept."""

    @field_validator("allow_private")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            ip_network(item)
        return value

    @model_validator(mode="after")
    def _policy_of_the_engine(self) -> FetchConfig:
        if self.policy == "x_robots_tag" and self.engine == "pairmill":
            raise ValueError(
                "policy: 'x_robots_tag' is what engine = 'img2dataset' can do; with engine = 'pairmill' take 'respect'"
            )
        return self

    def that_decides_output(self) -> dict[str, Any]:
        """The settings without those that only decide how fast the same rows come, and paths of block lists."""
        speed = {"concurrency", "per_host", "per_host_rate_hz", "cpus", "memory_mb", "dns_cache_s"}
        return self.model_dump(mode="json", exclude={*speed, "block"})
