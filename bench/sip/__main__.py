"""`python -m bench.sip`, what `make bench-sip` runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final

import msgspec
import typer
from msgspec import Struct
from rich.console import Console

from bench.machine import BenchError, choose_cores, facts
from bench.sip import report
from bench.sip.capture import Capture
from bench.sip.load import LOAD_PATIENCE, Generator, originating_rate
from bench.sip.phones import CALL_SECONDS
from bench.sip.proxies import ALONE
from bench.sip.stage import Line, Stage
from bench.sip.ways import INVITE, JSON, REDIRECT, SECSIPID, Way

ALONE_WAY: Final = Way("Kamailio alone", ALONE)
NAMED: Final = {"secsipid": SECSIPID, "redirect": REDIRECT, "invite": INVITE, "json": JSON}
WARM: Final = 50  # calls before the first that count
LEAST: Final = 10  # calls a second; nothing lower is looked at where no wanted rate held
STEP: Final = 1.25  # from one rate to the next when the highest is looked for
MOST: Final = 4000  # calls a second that SIPp is asked for at most
LIMIT_SECONDS: Final = 4  # of a run that looks for it, at most

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Run(Struct, frozen=True):
    """One way at one rate for some seconds.

    Attributes:
        cpu: milliseconds of processor time a call: of both proxies, of both services.
    """

    way: str
    rate: int
    round: int
    calls: int
    p50: float
    p95: float
    p99: float
    failed: int
    unjudged: int
    proxies_cpu: float
    services_cpu: float


@_app.command()
def main(
    *,
    seconds: Annotated[int, typer.Option(min=1, max=120, help="Length of one run.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Runs of each way at each rate.")] = 3,
    rates: Annotated[str, typer.Option(help="Calls a second, with commas.")] = "50,200,400",
    ways: Annotated[
        str, typer.Option(help="Beside Kamailio alone: secsipid,redirect,invite,json.")
    ] = ",".join(NAMED),
    limits: Annotated[
        bool, typer.Option("--highest/--no-highest", help="Look for the highest rate without loss.")
    ] = True,
    update_docs: Annotated[
        bool, typer.Option("--update-docs", help="Put the last result into docs/performance.md.")
    ] = False,
) -> None:
    """INVITE to final answer through two Kamailios: alone, with secsipid, with each of our ways.

    Runs alternate, in another order each round; what is added is the median over the rounds of the
    difference to Kamailio alone in the same round. Times are the kernel's, from tcpdump.
    """
    console = Console()
    if update_docs:
        report.update_docs()
        return
    try:
        wanted = [int(rate) for rate in rates.split(",")]
        chosen = (ALONE_WAY, *(NAMED[name] for name in ways.split(",")))
        result = _measure(console, chosen, seconds, rounds, wanted, limits)
    except KeyError as error:
        raise typer.BadParameter(f"no way is named {error}", param_hint="--ways") from None
    except BenchError as error:
        console.print(f"No measurement: {error}", style="red", markup=False)
        raise typer.Exit(3) from None
    report.write(result)
    report.show(console, result)


def _measure(
    console: Console,
    ways: tuple[Way, ...],
    seconds: int,
    rounds: int,
    rates: list[int],
    limits: bool,
) -> dict[str, Any]:
    began, load = datetime.now(UTC), os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="zhenxian-bench-sip-") as name:
        folder = Path(name)
        with Stage(folder / "stage") as stage:
            runs = []
            for rate in rates:
                for number in range(rounds):
                    order = ways[number % len(ways) :] + ways[: number % len(ways)]
                    for way in order:
                        runs.append(_run(stage, way, rate, seconds, number))
                        console.print(_line(runs[-1]), highlight=False)
            found = _result(
                began, load, {"seconds": seconds, "rounds": rounds, "rates": rates}, runs
            )
            report.write(found)  # what comes now takes minutes, and may fail
            for way in ways if limits else ():
                lossy = {run.rate for run in runs if run.way == way.title and _lost(run)}
                held = max((rate for rate in rates if rate not in lossy), default=0)
                limit = _limit(console, stage, way, min(seconds, LIMIT_SECONDS), held, min(rates))
                found["highest_without_loss"][way.title] = limit
                console.print(f"{way.title}: {limit} calls/s without loss", highlight=False)
            if limits:
                found["redirect_originating_per_second"] = originating_rate(stage, LIMIT_SECONDS)
            found["load_average"][1] = os.getloadavg()
            return found


def _result(
    began: datetime, load: tuple[float, float, float], parameters: dict[str, Any], runs: list[Run]
) -> dict[str, Any]:
    """What is written, so far without limits."""
    return {
        "began": began.isoformat(timespec="seconds"),
        "load_average": [load, os.getloadavg()],
        "machine": facts(choose_cores()),
        "parameters": parameters,
        "runs": [msgspec.to_builtins(run) for run in runs],
        "figures": figures(runs),
        "highest_without_loss": {},
        "redirect_originating_per_second": None,
    }


@contextlib.contextmanager
def line_of(stage: Stage, way: Way, name: str) -> Iterator[Line]:
    """Both proxies of a way, after some calls."""
    with way.line(stage, name, bare=True) as line:
        Generator(line, rate=50).run("warm", WARM)
        yield line
    shutil.rmtree(line.folder)


def _run(
    stage: Stage, way: Way, rate: int, seconds: int, number: int, patience: int = CALL_SECONDS
) -> Run:
    with line_of(stage, way, "run") as line:
        return _once(stage, line, way, rate, seconds, number, patience)


def _once(
    stage: Stage, line: Line, way: Way, rate: int, seconds: int, number: int, patience: int
) -> Run:
    proxies = (line.originating.service, line.terminating.service)
    services = (stage.signing.service, stage.verifying.service)
    before = [sum(p.cpu_seconds() for p in part) for part in (proxies, services)]
    count = rate * seconds
    with Capture(stage.folder / "run.pcap", line.at.caller, line.at.callee) as capture:
        Generator(line, rate=rate).run("load", count, patience)
    after = [sum(p.cpu_seconds() for p in part) for part in (proxies, services)]
    seen = capture.seen()
    if not seen.milliseconds:
        raise BenchError(f"{way.title}: no call was answered\n{line.originating.said()[-800:]}")
    return Run(
        way.title, rate, number, count,
        *(percentile(seen.milliseconds, share) for share in (0.50, 0.95, 0.99)),
        count - len(seen.milliseconds), 0 if way is ALONE_WAY else seen.unjudged,
        *((b - a) * 1000 / count for a, b in zip(before, after, strict=True)),
    )  # fmt: skip


def percentile(ascending: list[float], share: float) -> float:
    """The value below which that share of them lies."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def _lost(run: Run) -> bool:
    return bool(run.failed or run.unjudged)


def _limit(console: Console, stage: Stage, way: Way, seconds: int, held: int, lowest: int) -> int:
    def holds(rate: int) -> bool:
        try:
            run = _run(stage, way, rate, seconds, 0, LOAD_PATIENCE)
        except BenchError as error:  # such as a capture that is not whole: nothing is shown
            console.print(f"{rate:5}/s {way.title}: {error}", style="red", markup=False)
            return False
        console.print(_line(run), highlight=False)
        return not _lost(run)

    return highest(holds, held, lowest)


def highest(holds: Callable[[int], bool], held: int, lowest: int) -> int:
    """The last of rising rates that holds; one that does not is tried once more.

    Args:
        held: the highest that is known to hold; 0 for none.
        lowest: that is known not to hold, where none does: from there on they fall.
    """
    if not held:
        rate = int(lowest / STEP)
        while rate >= LEAST and not (holds(rate) or holds(rate)):
            rate = int(rate / STEP)
        return rate if rate >= LEAST else 0
    rate = int(held * STEP)
    while rate <= MOST and (holds(rate) or holds(rate)):
        held, rate = rate, int(rate * STEP)
    return held


def figures(runs: list[Run]) -> list[dict[str, Any]]:
    """For each rate and way the medians over the rounds, and what the way adds."""
    made = []
    alone = {(run.rate, run.round): run for run in runs if run.way == ALONE_WAY.title}
    for rate, way in dict.fromkeys((run.rate, run.way) for run in runs):
        mine = [run for run in runs if (run.rate, run.way) == (rate, way)]

        def middle(of: Callable[[Run], float], mine: list[Run] = mine) -> float:
            return round(median(map(of, mine)), 3)

        def added(name: str) -> Callable[[Run], float]:
            return lambda one: getattr(one, name) - getattr(alone[one.rate, one.round], name)

        made.append(
            {
                "rate": rate,
                "way": way,
                **{name: middle(lambda r, n=name: getattr(r, n)) for name in ("p50", "p95", "p99")},
                **{f"added_{name}": middle(added(name)) for name in ("p50", "p95", "p99")},
                "calls": sum(run.calls for run in mine),
                "failed": sum(run.failed for run in mine),
                "unjudged": sum(run.unjudged for run in mine),
                "proxies_cpu": middle(lambda r: r.proxies_cpu),
                "services_cpu": middle(lambda r: r.services_cpu),
            }
        )
    return made


def _line(run: Run) -> str:
    return (
        f"{run.rate:5}/s {run.way:17} p50 {run.p50:8.2f} p95 {run.p95:8.2f} p99 {run.p99:8.2f} ms,"
        f" failed {run.failed}, unjudged {run.unjudged},"
        f" CPU {run.proxies_cpu:.2f} + {run.services_cpu:.2f} ms a call"
    )


if __name__ == "__main__":
    sys.exit(_app(prog_name="python -m bench.sip"))
