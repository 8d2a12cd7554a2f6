"""`python -m bench`, what `make bench` runs."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bench import inprocess, services
from bench.machine import BenchError, Cores, choose_cores, facts, missing_tools
from bench.measure import (
    Comparison,
    Driver,
    compare_in_process,
    compare_services,
    openssl_speed,
)
from bench.world import World, make_world

# The promises of the project, ours over theirs.
GOALS: Final = {
    "sign_vs_secsipidx": 1.5,
    "verify_chain_vs_secsipidx": 2.0,
    "inprocess_sign_vs_openssl": 0.60,
    "inprocess_verify_vs_openssl": 0.75,
}
ROOT: Final = Path(__file__).resolve().parent.parent
RESULT: Final = ROOT / "build" / "bench.json"
NO_TOOLS: Final = 2  # exit status
NO_MEASUREMENT: Final = 3

_HELP = """Measure this service side by side with secsipidx and with the cryptographic limit.

One run makes a development PKI in a temporary folder, serves its chain on loopback, starts
secsipidx's HTTP server and ours on the same core (one worker, GOMAXPROCS=1), and drives both in
turn from another core with wrk: same connections, same length, ours first in one round and theirs
first in the next. Both check the full certificate chain from a warm cache; ours also checks
revocation, TNAuthList, freshness, numbers and replay, because that is its default. Every answer is
looked at; a run with a wrong one, or one that other processes disturbed, does not count.

Then our signing and verifying paths without HTTP, against `openssl speed ecdsap256` on that core.

What is reported is the median of the ratios of neighbouring runs, with the smallest and largest.
Exit status: 0 measured (whatever the figures), 2 a tool is missing (says how to install it),
3 no measurement could be made.

With --profile nothing is compared: one path runs under a profiler, and the functions that take
the time are printed.
"""

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@_app.command(help=_HELP)
def main(
    seconds: Annotated[
        int, typer.Option(min=1, max=60, help="Length of one run. Shorter is noisier.")
    ] = 5,
    rounds: Annotated[
        int, typer.Option(min=1, max=50, help="Pairs of runs; the median is taken over them.")
    ] = 5,
    connections: Annotated[
        int, typer.Option(min=1, max=512, help="Connections wrk keeps open, one request in each.")
    ] = 16,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of build/bench.json, no table.")
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="sign|verify", help="Profile one path in process instead of comparing."
        ),
    ] = None,
) -> None:
    """See _HELP."""
    console = Console(stderr=as_json)
    missing = missing_tools()
    if missing is not None:
        console.print(f"Tools are missing. Install them with:\n  {missing}", soft_wrap=True)
        raise typer.Exit(NO_TOOLS)
    try:
        cores = choose_cores()
        if profile is not None:
            if profile not in inprocess.PATHS:
                raise typer.BadParameter("sign or verify", param_hint="--profile")
            with _world(cores) as (world, _):
                console.print(inprocess.profile(world, profile, cores.server, seconds), markup=False)
            return
        result = _measure(console, cores, seconds, rounds, connections)
    except BenchError as error:
        console.print(f"No measurement: {error}", style="red", markup=False)
        raise typer.Exit(NO_MEASUREMENT) from None
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    if as_json:
        sys.stdout.write(RESULT.read_text("utf-8"))


@contextlib.contextmanager
def _world(cores: Cores) -> Iterator[tuple[World, Path]]:
    """A temporary folder with a PKI, its chain served on loopback; this process off the core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores.load})
    try:
        with tempfile.TemporaryDirectory(prefix="zhenxian-bench-") as name:
            folder = Path(name)
            with make_world(folder / "world") as world:
                yield world, folder
    finally:
        os.sched_setaffinity(0, before)


def _measure(
    console: Console, cores: Cores, seconds: int, rounds: int, connections: int
) -> dict[str, Any]:
    began = datetime.now(UTC)
    machine = facts(cores)
    made: list[Comparison] = []
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} runs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with progress, _world(cores) as (world, folder):
        task = progress.add_task("preparing", total=2 * (2 * rounds + 2) + 2 * rounds)

        def advance() -> None:
            progress.advance(task)

        made += _over_http(
            world, folder, cores, seconds, rounds, connections, advance,
            lambda text: progress.update(task, description=text),
            progress.console.print,
        )  # fmt: skip
        progress.update(task, description="in process")
        made += compare_in_process(
            lambda: (
                inprocess.rate(world, "sign", cores.server, seconds),
                inprocess.rate(world, "verify", cores.server, seconds),
            ),
            lambda: openssl_speed(cores.server, seconds),
            (GOALS["inprocess_sign_vs_openssl"], GOALS["inprocess_verify_vs_openssl"]),
            rounds,
            advance,
        )
    _show(console, made, machine)
    return {
        **{comparison.key: round(comparison.ratio, 4) for comparison in made},
        "details": {
            "began": began.isoformat(timespec="seconds"),
            "parameters": {
                "seconds": seconds,
                "rounds": rounds,
                "connections": connections,
                "wrk_threads": 1,
                "replay_check": "on, as by default; every token is sent once",
                "revocation": "require, as by default",
            },
            "machine": machine,
            "comparisons": [
                {**msgspec.to_builtins(comparison), "ratio": comparison.ratio}
                for comparison in made
            ],
        },
    }


def _over_http(
    world: World,
    folder: Path,
    cores: Cores,
    seconds: int,
    rounds: int,
    connections: int,
    advance: Callable[[], None],
    describe: Callable[[str], None],
    tell: Callable[[str], None],
) -> list[Comparison]:
    driver = Driver(folder, cores, seconds=seconds, connections=connections, tell=tell)
    with (
        services.start_peer(world, cores.server, folder) as peer,
        services.start_ours(world, cores.server, folder) as ours,
    ):
        services.check_answers(world, ours, peer)
        describe("signing over HTTP")
        signing = compare_services(
            "sign_vs_secsipidx",
            "signing over HTTP",
            GOALS["sign_vs_secsipidx"],
            driver,
            services.our_signing(ours, world),
            services.peer_signing(peer, world),
            rounds,
            advance,
        )
        describe("verifying over HTTP")
        verifying = compare_services(
            "verify_chain_vs_secsipidx",
            "verifying over HTTP, full chain",
            GOALS["verify_chain_vs_secsipidx"],
            driver,
            services.our_verifying(ours, world),
            services.peer_verifying(peer, world),
            rounds,
            advance,
        )
        services.check_answers(world, ours, peer)
    return [signing, verifying]


def _show(console: Console, made: list[Comparison], machine: dict[str, object]) -> None:
    table = Table(title="per core, ratios of neighbouring runs", caption=str(machine["cpu"]))
    for name in ("figure", "ours/s", "peer", "peer/s", "ratio (min to max)", "goal", ""):
        table.add_column(name, justify="left" if name in ("figure", "peer", "") else "right")
    for one in made:
        table.add_row(
            one.title,
            f"{one.ours_per_second:,.0f}",
            one.peer,
            f"{one.peer_per_second:,.0f}",
            f"{one.ratio:.2f} ({min(one.ratios):.2f} to {max(one.ratios):.2f})",
            f"{one.goal:.2f}",
            "[green]reached" if one.reached else "[red]short",
        )
    console.print(table)
    for one in made:
        for warning in one.warnings:
            console.print(f"{one.title}: {warning}", style="yellow", markup=False)
    console.print(f"written to {RESULT.relative_to(ROOT)}", highlight=False)


if __name__ == "__main__":
    _app(prog_name="python -m bench")
