"""What is asked before a URL is: may it be fetched at all, and is it its turn.

Takes the client of a part. Gives `ask` for the schedule. Each redirect is judged like a first URL, but for its turn.
"""

from __future__ import annotations

import asyncio

from yarl import URL

from pipeline.ingest.fetch.answer import Answer
from pipeline.ingest.fetch.blocklist import BlockList
from pipeline.ingest.fetch.client import Client
from pipeline.ingest.fetch.config import FetchConfig
from pipeline.ingest.fetch.optout import product_token
from pipeline.ingest.fetch.origin_file import settings_of_files
from pipeline.ingest.fetch.pace import Pace
from pipeline.ingest.fetch.robots import Robots
from pipeline.ingest.fetch.tdmrep import Tdmrep
from pipeline.record import Status
from pipeline.turns import Turns


class Manners:
    """Asks for URLs as their hosts want it. To be made inside the running event loop."""

    def __init__(self, config: FetchConfig, client: Client, block: BlockList, turns: Turns) -> None:
        self._client, self._block = client, block
        clock = asyncio.get_running_loop().time
        self._pace = Pace(config.per_host_rate_hz, config.max_turn_wait_s, clock, turns)
        self._robots: Robots | None = None
        self._tdmrep: Tdmrep | None = None
        plain = client.with_settings(settings_of_files(config))
        if config.robots == "respect":
            self._robots = Robots(config, product_token(config.user_agent), plain.try_once)
        if config.tdmrep == "respect" and config.policy == "respect":
            self._tdmrep = Tdmrep(config, plain.try_once)
            client.reserves = self._tdmrep.reserves
        client.permit = self.refusal

    async def ask(self, url: str, keep_alive: bool) -> Answer:
        """Try `url` once, or give the answer that stands in its place. Raises: as `Client.try_once` does."""
        try:
            parsed = URL(url)
        except (ValueError, TypeError):
            return await self._client.try_once(url, keep_alive)
        held = await self.refusal(parsed)
        if held is None and self._tdmrep is not None:
            await self._tdmrep.reserves(parsed)  # so that the file takes nothing of the time that the URL itself has
        held = held or await self._held(url, parsed)
        return held or await self._client.try_once(url, keep_alive)

    async def refusal(self, url: URL) -> Answer | None:
        """The answer that stands for a URL that may not be fetched."""
        reason = self._block.of_url(url)
        if reason is not None:
            return Answer(Status.BLOCKLISTED, reason, final=True)
        return None if self._robots is None else await self._robots.refusal(url)

    async def _held(self, url: str, parsed: URL) -> Answer | None:
        interval_s = 0.0 if self._robots is None else await self._robots.interval_s(parsed)
        return await self._pace.hold(url, parsed.authority.lower(), interval_s)
