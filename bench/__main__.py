"""`python -m bench`, what `make bench` runs."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import inprocess, report, services
from bench.machine import BenchError, Cores, choose_cores, facts, missing_tools
from bench.measure import (
    Comparison,
    Driver,
    Figure,
    Speed,
    compare_in_process,
    compare_services,
    openssl_speed,
)
from bench.world import World, make_world
from zhenxian.passport.es256 import Choice, available

# The promises of the project, ours over theirs.
# Of the library that is used where both are there, without a suffix; then of OpenSSL.
SIGNING: Final = {
    Choice.AWS_LC: Figure("sign_vs_secsipidx", "sign, HTTP, AWS-LC", 1.6),
    Choice.OPENSSL: Figure("sign_vs_secsipidx_openssl", "sign, HTTP, OpenSSL", 1.35),
}
VERIFYING: Final = {
    Choice.AWS_LC: Figure("verify_chain_vs_secsipidx", "verify full chain, HTTP, AWS-LC", 3.2),
    Choice.OPENSSL: Figure(
        "verify_chain_vs_secsipidx_openssl", "verify full chain, HTTP, OpenSSL", 2.7
    ),
}


class Loops(NamedTuple):
    """Two loops in process, what they are measured for, and with which library."""

    library: Choice
    paths: tuple[str, str]
    figures: tuple[Figure, Figure]


IN_PROCESS: Final = (
    Loops(
        Choice.AWS_LC,
        ("sign", "verify"),
        (
            Figure("inprocess_sign_vs_openssl", "sign, in process, nothing counted, AWS-LC", 0.80),
            Figure(
                "inprocess_verify_vs_openssl", "verify, in process, nothing counted, AWS-LC", 0.75
            ),
        ),
    ),
    Loops(
        Choice.AWS_LC,
        ("sign-counted", "verify-counted"),
        (
            Figure("inprocess_sign_counted", "sign, in process, conduct counted, AWS-LC", 0.68),
            Figure("inprocess_verify_counted", "verify, in process, conduct counted, AWS-LC", 0.67),
        ),
    ),
    Loops(
        Choice.OPENSSL,
        ("sign-counted", "verify-counted"),
        (
            Figure(
                "inprocess_sign_counted_openssl", "sign, in process, conduct counted, OpenSSL", None
            ),
            Figure(
                "inprocess_verify_counted_openssl",
                "verify, in process, conduct counted, OpenSSL",
                None,
            ),
        ),
    ),
)
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

With --profile nothing is compared: one path runs under cProfile, and under perf where there is
one, and what takes the time is printed.
"""


class Plan(Struct, frozen=True):
    """How much is measured: seconds of a run, pairs of runs, connections of the generator."""

    seconds: int
    rounds: int
    connections: int


class Tell(NamedTuple):
    """Who is shown how far the measurement is."""

    advance: Callable[[], None]
    stage: Callable[[str], None]
    line: Callable[[str], None]


_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@_app.command(help="\n\n".join(" ".join(part.split()) for part in _HELP.split("\n\n")))
def main(
    *,
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
            metavar="|".join(inprocess.PATHS), help="Profile one path in process, compare nothing."
        ),
    ] = None,
    update_docs: Annotated[
        bool,
        typer.Option(
            "--update-docs", help="Measure nothing: put the last result into docs/performance.md."
        ),
    ] = False,
) -> None:
    """See _HELP."""
    console = Console(stderr=as_json)
    if update_docs:
        try:
            report.update_docs()
        except BenchError as error:
            console.print(str(error), style="red", markup=False)
            raise typer.Exit(NO_MEASUREMENT) from None
        return
    missing = missing_tools()
    if missing is not None:
        console.print(f"Tools are missing. Install them with:\n  {missing}", soft_wrap=True)
        raise typer.Exit(NO_TOOLS)
    try:
        cores = choose_cores()
        if profile is not None:
            if profile not in inprocess.PATHS:
                raise typer.BadParameter(
                    f"one of {', '.join(inprocess.PATHS)}", param_hint="--profile"
                )
            with _world(cores) as (world, _):
                text = inprocess.profile(world, profile, cores.server, seconds)
            console.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        result = _measure(console, cores, Plan(seconds, rounds, connections))
    except BenchError as error:
        console.print(f"No measurement: {error}", style="red", markup=False)
        raise typer.Exit(NO_MEASUREMENT) from None
    report.write(result)
    if as_json:
        sys.stdout.write(report.RESULT.read_text("utf-8"))
    else:
        report.show(console, result)


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


def _measure(console: Console, cores: Cores, plan: Plan) -> dict[str, Any]:
    began = datetime.now(UTC)
    machine = facts(cores)
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
        libraries = [one for one in (Choice.AWS_LC, Choice.OPENSSL) if available(one)]
        loops = [one for one in IN_PROCESS if one.library in libraries]
        runs = len(libraries) * 2 * (2 * plan.rounds + 2) + len(loops) * 2 * plan.rounds
        task = progress.add_task("preparing", total=runs)
        tell = Tell(
            advance=lambda: progress.advance(task),
            stage=lambda text: progress.update(task, description=text),
            line=progress.console.print,
        )
        made = _over_http(world, folder, cores, plan, tell, libraries)
        for one in loops:
            tell.stage("in process")
            made += _in_process(one, world, cores, plan, tell)
    return {
        **{comparison.key: round(comparison.ratio, 4) for comparison in made},
        "details": {
            "began": began.isoformat(timespec="seconds"),
            "parameters": {
                **msgspec.to_builtins(plan),
                "wrk_threads": 1,
                "replay_check": "on, as by default; every token is sent once",
                "revocation": "require, as by default",
                "displays": "counted as by default; no number of displays is many",
                "log": "every call, as by default, to a file",
            },
            "machine": machine,
            "comparisons": [
                {**msgspec.to_builtins(comparison), "ratio": comparison.ratio}
                for comparison in made
            ],
        },
    }


def _over_http(
    world: World, folder: Path, cores: Cores, plan: Plan, tell: Tell, libraries: list[Choice]
) -> list[Comparison]:
    driver = Driver(
        folder, cores, seconds=plan.seconds, connections=plan.connections, tell=tell.line
    )
    made = []
    with services.start_peer(world, cores.server, folder) as peer:
        for library in libraries:
            with services.start_ours(world, cores.server, folder, library) as ours:
                services.check_answers(world, ours, peer)
                for figure, our_contender, peer_contender in (
                    (SIGNING[library], services.our_signing, services.peer_signing),
                    (VERIFYING[library], services.our_verifying, services.peer_verifying),
                ):
                    tell.stage(figure.title)
                    made.append(
                        compare_services(
                            figure,
                            driver,
                            our_contender(ours, world),
                            peer_contender(peer, world),
                            rounds=plan.rounds,
                            advance=tell.advance,
                        )
                    )
                services.check_answers(world, ours, peer)
    return made


def _in_process(
    loops: Loops, world: World, cores: Cores, plan: Plan, tell: Tell
) -> tuple[Comparison, Comparison]:
    def ours() -> Speed:
        return Speed(
            *(
                inprocess.rate(world, path, cores.server, plan.seconds, loops.library)
                for path in loops.paths
            )
        )

    return compare_in_process(
        loops.figures,
        ours,
        lambda: openssl_speed(cores.server, plan.seconds),
        rounds=plan.rounds,
        advance=tell.advance,
    )


if __name__ == "__main__":
    _app(prog_name="python -m bench")
