"""What the exchange of conduct costs one node of a fleet, by the number of nodes.

    python -m bench.exchange --nodes 1 2 4 10 100 --rate 10000

All nodes are in this process, and each sees as many calls a second, half of them signed and half
verified: of a population that grows with the nodes, so that 100 nodes at 10,000 calls a second are
a nation's million. Its carriers are as unequal as a nation's: 30, of which three have two thirds of
all calls. Measured is the processor time of one of the nodes, per call that it sees itself:
counting its own calls, sorting and writing what others count, reading and counting what they send.
"All count all" is what each did before keys were parted. Beside it, nodes on a real Redis, which
adds its client. Writes build/bench-exchange.json; --update-docs puts it into the page.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, Final

from msgspec import Struct

from bench.orders import redis_server
from bench.table import Line, Measurement
from zhenxian.analytics import Detector, Key, KeyKind, Observation
from zhenxian.analytics.shares import Member
from zhenxian.core.tn import TN
from zhenxian.stores.analytics.file import ConductFile
from zhenxian.stores.analytics.fleet import BEAT, FleetExchange
from zhenxian.stores.analytics.sync import EVERY, AnalyticsSync
from zhenxian.stores.fleet.link import FleetOptions

START: Final = 1_795_492_800
SUBJECTS: Final = 4_000  # for each node
PEOPLE: Final = 50_000  # who call by other carriers, for each node
CARRIERS: Final = 30
WARM: Final = 4  # looks until keys are known, and busy ones thinned
CITIES: Final = ("10", "21", "755", "20", "28", "27", "571", "591")
PARTED, ALL = "keys parted", "all count all"


class Population:
    """Who calls."""

    def __init__(self, nodes: int) -> None:
        """Args: nodes: it grows with them."""
        self._random = Random(f"population of {nodes}")
        self._subjects, self._people = SUBJECTS * nodes, PEOPLE * nodes
        self._callers: dict[int, tuple[Key, ...]] = {}
        self._signers = [
            (Key(KeyKind.SIGNER, f"{1_000 + one}/o-{one}"), Key(KeyKind.SPC, str(1_000 + one)))
            for one in range(CARRIERS)
        ]
        self._weights = list(accumulate(1 / (1 + one) ** 1.5 for one in range(CARRIERS)))

    def _number(self, index: int) -> TN:
        code = CITIES[index % len(CITIES)]
        return TN(f"86{code}6{index:0{10 - len(code)}d}")

    def _callee(self, index: int) -> TN:
        """Every second call goes to one of twelve whom this number often calls."""
        random = self._random
        if random.random() < 0.5:
            return self._number(index * 12 + random.randrange(12))
        return self._number(random.randrange(100_000_000) % 10_000_000)

    def calls(self, count: int, at: int) -> list[Observation]:
        """What one node sees: so many calls of anybody."""
        random, made = self._random, []
        for turn in range(count):
            if turn % 2:
                index = random.randrange(self._subjects)
                keys = self._callers.get(index)
                if keys is None:
                    keys = (
                        Key(KeyKind.ACCESS, f"a-{index}"),
                        Key(KeyKind.SUBJECT, f"s-{index}"),
                    )
                    self._callers[index] = keys
                several = 60 if index % 20 == 0 else 1  # one in twenty is a business
                shown = index * 60 + random.randrange(several)
                made.append(
                    Observation(
                        at=at, keys=keys, display=self._number(shown), callee=self._callee(shown)
                    )
                )
            else:
                (keys,) = random.choices(self._signers, cum_weights=self._weights)
                shown = random.randrange(self._people)
                made.append(
                    Observation(
                        at=at,
                        keys=keys,
                        display=self._number(shown),
                        callee=self._callee(shown),
                        origid=keys[0].id.partition("/")[2],
                        mark=random.getrandbits(55),
                        vouched=True,
                    )
                )
        return made


class Figures(Struct, frozen=True):
    """Of one node, per call that it saw itself.

    Attributes:
        micros: of processor. octets: sent. keys: counted there. lost: calls that waited too long.
    """

    way: str
    nodes: int
    rate: int
    micros: float
    octets: float
    keys: int
    lost: int


class _Timed:
    """Adds up processor time."""

    def __init__(self) -> None:
        self.spent = 0.0

    def __enter__(self) -> None:
        self._began = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.spent += time.process_time() - self._began


def simulated(way: str, nodes: int, rate: int, looks: int) -> Figures:
    """One node of so many, of which each sees so many calls a second."""
    population = Population(nodes)
    members = [Member(f"n-{one}/1", f"n-{one}") for one in range(nodes)]
    conducts = {one.name: Detector(fleet=nodes > 1, boot=boot) for boot, one in enumerate(members)}
    if way == PARTED:
        for name, conduct in conducts.items():
            conduct.among(name, members, mixed=False)
    first, *_ = conducts
    count = round(rate * EVERY)
    spent, octets = _Timed(), 0
    gc.collect()
    gc.freeze()
    for look in range(WARM + looks):
        if look == WARM:
            spent, octets = _Timed(), 0
        waste = _Timed()
        told: list[tuple[str, str | None, bytes]] = []
        for name, conduct in conducts.items():
            made = population.calls(count, START + int(look * EVERY))
            with spent if name == first else waste:
                for one in made:
                    conduct.observe(one)
                if nodes > 1:
                    told += [(name, to, delta) for to, delta in _sent(conduct)]
        octets += sum(len(delta) for name, _, delta in told if name == first)
        for receiver, conduct in conducts.items():
            if way == ALL and receiver != first:
                continue  # they only send
            with spent if receiver == first else waste:
                for name, to, delta in told:
                    if name != receiver and to in (None, receiver):
                        conduct.merge(name, delta)
    measured, own = conducts[first], count * looks
    return Figures(
        way, nodes, rate, spent.spent / own * 1e6, octets / own, len(measured), measured.lost
    )


def _sent(conduct: Detector) -> Iterator[tuple[str | None, bytes]]:
    """Everything that a node sends at one look, as stores.analytics.sync has it."""
    conduct.take_marks()
    conduct.take_findings()
    conduct.pace(EVERY)
    while conduct.sort():
        pass
    yield from iter(conduct.take_parcel, None)
    for delta in iter(conduct.take_delta, None):
        yield None, delta


async def _on_redis(way: str, nodes: int, rate: int, looks: int, url: str, folder: Path) -> Figures:
    population = Population(nodes)
    keepers = []
    clock = [float(START)]
    for one in range(nodes):
        exchange = FleetExchange(FleetOptions(url=url, tag=f"zx-{way[:3]}-{nodes}"), f"n-{one}/1")
        if way == ALL:
            exchange = _Unparted(exchange)  # type: ignore[assignment]
        file = ConductFile(folder / f"{way[:3]}-{nodes}-{one}.db")
        conduct = Detector(fleet=True, boot=one)
        keepers.append(AnalyticsSync(conduct, file, exchange, lambda: clock[0]))
    for _ in range(2):
        for keeper in keepers:
            await keeper.look()
        await asyncio.sleep(BEAT + 0.1)  # until each has heard of all
    count = round(rate * EVERY)
    spent = _Timed()
    gc.collect()
    gc.freeze()
    for look in range(WARM + looks):
        if look == WARM:
            spent = _Timed()
        clock[0] += EVERY
        for number, keeper in enumerate(keepers):
            made = population.calls(count, int(clock[0]))
            with spent if number == 0 else _Timed():
                for observation in made:
                    keeper.conduct.observe(observation)
                await keeper.look()
    conduct = keepers[0].conduct
    figures = Figures(
        way, nodes, rate, spent.spent / (count * looks) * 1e6, 0.0, len(conduct), conduct.lost
    )
    for keeper in keepers:
        await keeper.close()
    return figures


class _Unparted:
    """A FleetExchange as an Exchange only, so that each node counts everything."""

    def __init__(self, exchange: FleetExchange) -> None:
        self.send, self.receive = exchange.send, exchange.receive
        self.standing, self.close = exchange.standing, exchange.close


EACH: Final = (
    "Processor time of one node for each call that it sees itself: its own counting, sorting,"
    " writing, reading and counting what others send. Half of the calls are signed, half verified;"
    " most callers had not called before, which is the dearest case.",
    "Simulated: all nodes in one process, deltas handed over. On Redis: with the client, and a real"
    " server beside.",
    "Keys parted: two nodes count each key (from three nodes on). All count all: as it was before.",
)


def _lines(given: argparse.Namespace) -> tuple[Sequence[Line], str, Any]:
    found: list[tuple[str, Figures]] = []
    for nodes in given.nodes:
        for way in _ways(nodes):
            looks = given.looks if nodes < 100 or way == PARTED else 1
            found.append(("simulated", simulated(way, nodes, given.rate, looks)))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-exchange-")))
        url = stack.enter_context(redis_server(folder))
        for nodes in given.real:
            for way in _ways(nodes):
                work = _on_redis(way, nodes, given.rate, given.looks, url, folder)
                found.append(("on Redis", asyncio.run(work)))
    how = f"{given.rate:,} calls a second at each node, {given.looks} half seconds"
    return [*growth(found), *(_line(where, one) for where, one in found)], how, found


def _ways(nodes: int) -> tuple[str, ...]:
    return (PARTED, ALL) if nodes > 2 else (ALL,)  # two count everything in any case


def growth(found: Sequence[tuple[str, Figures]]) -> Iterator[Line]:
    """What many nodes cost one of them, against few."""
    parted = [one for where, one in found if one.way == PARTED and where == "simulated"]
    if len(parted) > 1:
        few, *_, many = sorted(parted, key=lambda one: one.nodes)
        yield Line(
            figure=f"exchange, {many.nodes} nodes / {few.nodes} nodes: processor time of a call",
            found=(many.micros / few.micros,),
            goal=1.0,
            beside=f"{many.nodes * many.rate:,} calls/s in all",
        )


def _line(where: str, one: Figures) -> Line:
    sent = f", {one.octets:.0f} octets sent a call" if one.octets else ""
    lost = f", {one.lost} calls waited too long" if one.lost else ""
    return Line(
        figure=f"{one.nodes} nodes, {one.way}, {where}: µs a call",
        found=(one.micros,),
        beside=f"{one.nodes * one.rate:,} calls/s in all, {one.keys:,} keys{sent}{lost}",
    )


MEASUREMENT: Final = Measurement(
    name="exchange",
    title="processor time of one node for others' calls and its own",
    each=EACH,
    measure=_lines,
)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 2, 4, 10, 100])
    parser.add_argument("--real", type=int, nargs="*", default=[1, 2, 4], help="on a real Redis")
    parser.add_argument("--rate", type=int, default=10_000, help="calls a second at each node")
    parser.add_argument("--looks", type=int, default=4, help="half seconds that are measured")
    return MEASUREMENT.run(parser)


if __name__ == "__main__":
    raise SystemExit(main())
