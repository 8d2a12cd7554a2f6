"""`python -m bench.sip.legs`: which part has a call for how long, from INVITE to final answer.

All that goes over the loopback network by UDP is captured, which costs more than what
`make bench-sip` looks at. A question over HTTP is not seen, and is part of what its proxy takes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Final, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from bench.machine import BenchError
from bench.sip.__main__ import ALONE_WAY, NAMED, line_of, percentile
from bench.sip.capture import CALL_ID, Capture, packets
from bench.sip.load import Generator
from bench.sip.stage import Node, Stage
from bench.sip.ways import Way

SHARES: Final = (0.50, 0.95, 0.99)

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Places(NamedTuple):
    """Where the parts of a line are: addresses of proxies and phones, ports of services."""

    caller: str
    originating: str
    terminating: str
    callee: str
    signing: int = 0
    verifying: int = 0


class _Leg(NamedTuple):
    """From one message to another, each by name."""

    title: str
    begins: str
    ends: str


_ASKING: Final = (
    _Leg("originating proxy, until it asks", "called", "sign"),
    _Leg("signing service", "sign", "signed"),
    _Leg("originating proxy, until it relays", "signed", "relayed"),
    _Leg("terminating proxy, until it asks", "relayed", "verify"),
    _Leg("verifying service", "verify", "verified"),
    _Leg("terminating proxy, until it relays", "verified", "delivered"),
)
_ALONE: Final = (
    _Leg("originating proxy", "called", "relayed"),
    _Leg("terminating proxy", "relayed", "delivered"),
)
_AFTER: Final = (
    _Leg("callee", "delivered", "answered"),
    _Leg("both proxies, the answer", "answered", "told"),
    _Leg("INVITE to final answer", "called", "told"),
)


def legs(file: Path, at: Places) -> dict[str, list[float]]:
    """Milliseconds of each leg, ascending, of the calls that have it.

    A message that is sent again counts as it came first.
    """
    calls: dict[bytes, dict[str, float]] = {}
    for name, call, when in _named(file, at):
        calls.setdefault(call, {}).setdefault(name, when)
    asked = any("sign" in call for call in calls.values())
    return {
        leg.title: sorted(
            (call[leg.ends] - call[leg.begins]) * 1000
            for call in calls.values()
            if leg.begins in call and leg.ends in call
        )
        for leg in (*(_ASKING if asked else _ALONE), *_AFTER)
    }


def _named(file: Path, at: Places) -> Iterator[tuple[str, bytes, float]]:
    """INVITEs and their final answers by what they are in a call, with Call-ID and time."""
    a, b, c, d = map(_octets, (at.originating, at.terminating, at.caller, at.callee))
    invites = {(c, a): "called", (a, b): "relayed", (b, d): "delivered"}
    answers = {(d, b): "answered", (a, c): "told"}
    asked = {at.signing: "sign", at.verifying: "verify"}
    told = {at.signing: "signed", at.verifying: "verified"}
    for when, packet in packets(file):
        ends = packet[26:30], packet[30:34]
        source, target = (int.from_bytes(packet[n : n + 2], "big") for n in (34, 36))
        payload = packet[42:]
        found = CALL_ID.search(payload)
        name = None
        if payload.startswith(b"INVITE "):
            name = asked.get(target) or invites.get(ends)
        elif b" INVITE\r\n" in payload and payload[8:9] in b"23456":
            name = told.get(source) or answers.get(ends)
        if found is not None and name is not None:
            yield name, found[1], when


def _octets(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


@_app.command()
def main(
    *,
    rate: Annotated[int, typer.Option(min=1, help="Calls a second.")] = 400,
    seconds: Annotated[int, typer.Option(min=1, max=120, help="Length of one run.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Runs of each way.")] = 3,
    way: Annotated[str, typer.Option(help="secsipid, redirect, invite or json.")] = "redirect",
) -> None:
    """Which part has a call for how long, beside Kamailio alone; medians over the rounds."""
    if way not in NAMED:
        raise typer.BadParameter(f"no way is named {way}", param_hint="--way")
    console = Console()
    chosen = (ALONE_WAY, NAMED[way])
    runs: dict[str, list[dict[str, list[float]]]] = {one.title: [] for one in chosen}
    try:
        with (
            tempfile.TemporaryDirectory(prefix="zhenxian-bench-sip-") as name,
            Stage(Path(name) / "stage") as stage,
        ):
            for number in range(rounds):
                for one in chosen if number % 2 == 0 else chosen[::-1]:
                    runs[one.title].append(_run(stage, one, rate, seconds))
    except BenchError as error:
        console.print(f"No measurement: {error}", style="red", markup=False)
        raise typer.Exit(3) from None
    for title, measured in runs.items():
        console.print(table(f"{title}, {rate}/s, ms", measured))


def _run(stage: Stage, way: Way, rate: int, seconds: int) -> dict[str, list[float]]:
    file = stage.folder / "legs.pcap"
    with line_of(stage, way, "legs") as line:
        at = line.at
        with Capture(file, at.caller, at.callee, everything=True):
            Generator(line, rate=rate).run("load", rate * seconds)
    places = Places(
        at.caller, at.originating, at.terminating, at.callee,
        _port(stage.signing), _port(stage.verifying),
    )  # fmt: skip
    return legs(file, places)


def _port(node: Node) -> int:
    return int(node.redirect.rpartition(":")[2])


def table(title: str, runs: list[dict[str, list[float]]]) -> Table:
    """One row a leg, with the median over the runs of each percentile."""
    made = Table(title=title)
    for name in ("part", *(f"p{round(share * 100)}" for share in SHARES)):
        made.add_column(name, justify="left" if name == "part" else "right")
    for leg in runs[0]:
        measured = [run[leg] for run in runs if run.get(leg)]
        if measured:
            values = (median(percentile(each, share) for each in measured) for share in SHARES)
            made.add_row(leg, *(f"{value:.2f}" for value in values))
    return made


if __name__ == "__main__":
    sys.exit(_app(prog_name="python -m bench.sip.legs"))
