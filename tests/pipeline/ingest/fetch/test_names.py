"""Names: kept, asked for once at a time, looked up ahead, and never longer than the recipe wants."""

import asyncio
import socket

import pytest

from pipeline.ingest.fetch.blocklist import NO_BLOCKS
from pipeline.ingest.fetch.names import Names, looked_up_ahead


class Phonebook:
    """A resolver that counts; names that begin with `no` have no address."""

    def __init__(self, delay_s=0.0):
        self.asked, self.delay_s, self.busy, self.most_busy = [], delay_s, 0, 0

    async def resolve(self, host):
        self.asked.append(host)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        await asyncio.sleep(self.delay_s)
        self.busy -= 1
        if host.startswith("no"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [f"203.0.113.{k}" for k in (1, 2)]


def test_an_answer_is_kept_and_its_addresses_take_turns():
    async def work():
        book = Phonebook()
        names = Names(60, book)
        found = [await names.resolve("a.test") for _ in range(3)]
        assert book.asked == ["a.test"]
        assert [item[0][-1] for item in found] == ["1", "2", "1"]
        assert [sorted(item) for item in found] == [["203.0.113.1", "203.0.113.2"]] * 3
        await names.close()

    asyncio.run(work())


def test_nothing_is_kept_where_the_recipe_wants_none():
    async def work():
        book = Phonebook()
        names = Names(0, book)
        await names.look_ahead(["a.test"])
        for _ in range(3):
            await names.resolve("a.test")
        assert book.asked == ["a.test"] * 3

    asyncio.run(work())


def test_one_lookup_serves_all_who_wait():
    async def work():
        book = Phonebook(0.02)
        names = Names(60, book)
        found = await asyncio.gather(*(names.resolve("a.test") for _ in range(20)))
        assert book.asked == ["a.test"]
        assert len(found) == 20

    asyncio.run(work())


def test_who_gives_up_does_not_take_the_answer_from_others():
    async def work():
        book = Phonebook(0.05)
        names = Names(60, book)
        hasty = asyncio.create_task(names.resolve("a.test"))
        patient = asyncio.create_task(names.resolve("a.test"))
        await asyncio.sleep(0.01)
        hasty.cancel()
        assert len(await patient) == 2
        assert book.asked == ["a.test"]

    asyncio.run(work())


def test_a_failure_is_told_once_then_looked_up_again():
    async def work():
        book = Phonebook()
        names = Names(60, book)
        await names.look_ahead(["no.test"])
        with pytest.raises(socket.gaierror):
            await names.resolve("no.test")
        assert book.asked == ["no.test"]
        with pytest.raises(socket.gaierror):
            await names.resolve("no.test")
        assert book.asked == ["no.test"] * 2
        await names.close()

    asyncio.run(work())


def test_hosts_are_looked_up_ahead_once_and_only_names():
    async def work():
        book = Phonebook(0.005)
        names = Names(60, book)
        urls = [f"https://h{k % 200}.test/{k}" for k in range(400)]
        odd = ["http://127.0.0.1/x", "http://[::1]/", "file:///etc/passwd", "http://[", "", "http://bücher.test/"]
        async with looked_up_ahead(names, [*odd, *urls], NO_BLOCKS):
            while len(book.asked) < 201:
                await asyncio.sleep(0.01)
        assert book.asked == ["xn--bcher-kva.test", *(f"h{k}.test" for k in range(200))]
        assert 1 < book.most_busy <= 64
        await names.close()

    asyncio.run(work())


def test_what_is_still_looked_up_ends_with_the_part():
    async def work():
        book = Phonebook(60)
        names = Names(60, book)
        async with looked_up_ahead(names, [f"http://h{k}.test/" for k in range(100)], NO_BLOCKS):
            await asyncio.sleep(0.01)
        await names.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(work())


def test_names_of_this_machine_by_the_system():
    async def work():
        names = Names(60)
        found = await names.resolve("localhost")
        assert "127.0.0.1" in found
        assert len(set(found)) == len(found)
        with pytest.raises(OSError, match=r"not known|resolution|No address"):
            await names.resolve("nowhere.invalid")
        await names.close()

    asyncio.run(work())
