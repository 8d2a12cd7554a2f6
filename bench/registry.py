"""The registry at scale: import, look-ups, room on disk and in memory, step by step.

    python -m bench.registry --steps 1,10,100 --fleet-steps 1,10

Millions of holdings, half of them ranges, in one file; each step goes on from the one before. At
the steps named for it, a fleet on a real Redis is given the file and a node joins it. Then the
delay of orders, bindings in batches over the API, and the one question that a fleet's
verification asks Redis. Writes build/bench-registry.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bench import bindings, fleet, orders
from bench.holdings import SUBJECTS, lookups, rows
from bench.machine import BenchError, choose_cores, facts
from zhenxian.registry.imports import Mode
from zhenxian.registry.journal import put
from zhenxian.registry.model import Kind, Subject
from zhenxian.stores.bulk.importer import Import
from zhenxian.stores.sqlite.file import RegistryFile

MILLION: Final = 1_000_000
BYTES_A_ROW: Final = 60  # of disk, log included
FLEET_BYTES_A_ROW: Final = 400  # two nodes' files and logs, an image, and Redis' memory and file


class Plan(Struct, frozen=True):
    """How much is measured.

    Attributes:
        steps: holdings, ascending. fleet_steps: those of them that a fleet is given too.
        live_rows: rows imported into a fleet that runs.
        bindings: made on each engine. questions: asked of Redis. nodes, orders: see bench.orders.
    """

    steps: tuple[int, ...]
    fleet_steps: tuple[int, ...]
    live_rows: int = 20_000
    bindings: int = 50_000
    questions: int = 5_000
    nodes: int = 4
    orders: int = 50


def main() -> int:
    """Run the plan and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", default="1,10,100", help="millions of holdings, ascending")
    parser.add_argument("--fleet-steps", default="1,10", help="those a fleet is given too")
    parser.add_argument("--folder", type=Path, help="where the files go")
    given = parser.parse_args()
    plan = Plan(_millions(given.steps), _millions(given.fleet_steps))
    folder = Path(tempfile.mkdtemp(prefix="bench-registry-", dir=given.folder))
    try:
        _room(folder, plan)
        result = measure(plan, folder)
    except BenchError as error:
        sys.stderr.write(f"No measurement: {error}\n")
        return 3
    finally:
        shutil.rmtree(folder)
    build = Path("build")
    build.mkdir(exist_ok=True)
    (build / "bench-registry.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    show(result, Console(width=None if sys.stdout.isatty() else 120))
    return 0


def _millions(text: str) -> tuple[int, ...]:
    return tuple(int(float(step) * MILLION) for step in text.split(",") if step)


def _room(folder: Path, plan: Plan) -> None:
    free = shutil.disk_usage(folder).free
    needed = max(plan.steps) * BYTES_A_ROW + max(plan.fleet_steps, default=0) * FLEET_BYTES_A_ROW
    if free < needed:
        raise BenchError(f"{folder}: {needed >> 20} MiB needed, {free >> 20} MiB free")


def measure(plan: Plan, folder: Path) -> dict[str, Any]:
    """All figures, as build/bench-registry.json has them. Raises BenchError."""
    began, load = datetime.now(UTC), os.getloadavg()
    cores = choose_cores()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:

        def stage(text: str, total: int = 1) -> Callable[[int], None]:
            task = bar.add_task(text, total=total)
            return lambda done: bar.update(task, completed=done)

        embedded, in_fleet = _scale(plan, folder, stage, bar.console.print)
        bound = {}
        done = stage("bindings, embedded", plan.bindings)
        bound["embedded"] = bindings.measure(plan.bindings, core=cores.server, progress=done)
        done = stage("bindings, fleet", plan.bindings)
        with (
            tempfile.TemporaryDirectory(dir=folder) as place,
            orders.redis_server(Path(place)) as url,
        ):
            bound["fleet"] = bindings.measure(
                plan.bindings, core=cores.server, redis=url, progress=done
            )
        stage("import into a fleet that runs", plan.live_rows)
        live = fleet.measure_live(plan.live_rows, folder)
        stage("orders", plan.orders)
        delays = orders.measure(plan.nodes, plan.orders)
        stage("questions to Redis", plan.questions)
        asked = {
            str(together): msgspec.to_builtins(
                fleet.measure_questions(plan.questions, together, folder)
            )
            for together in (1, fleet.TOGETHER)
        }
    first, last = embedded[0], embedded[-1]
    whole = (first["holdings"], last["holdings"]) == (MILLION, 100 * MILLION)
    return {
        "lookup_growth_1m_to_100m": last["lookup_us"] / first["lookup_us"] if whole else None,
        "bytes_per_range": (last["own_bytes"] + last["mapped_bytes"]) / last["holdings"],
        "file_bytes_per_range": last["file_bytes_per_holding"],
        "import_rows_per_second": last["import_rows_per_second"],
        "import_rows_per_cpu_second": last["import_rows_per_cpu_second"],
        "order_p99_ms": delays.p99,
        "bindings_per_second": bound["embedded"],
        "fleet_bindings_per_second": bound["fleet"],
        "fleet_import_rows_per_second": live,
        "replay_question_p50_ms": asked["1"]["p50"],
        "replay_question_p99_ms": asked["1"]["p99"],
        "details": {
            "began": began.isoformat(timespec="seconds"),
            "load_average": {"before": load, "after": os.getloadavg()},
            "machine": facts(cores),
            "parameters": msgspec.to_builtins(plan),
            "embedded": embedded,
            "fleet": in_fleet,
            "orders": msgspec.to_builtins(delays),
            "replay_questions": asked,
        },
    }


def _scale(
    plan: Plan,
    folder: Path,
    stage: Callable[[str, int], Callable[[int], None]],
    say: Callable[[object], None],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    embedded, in_fleet = [], []
    path = folder / "registry.db"
    done = 0
    for count in plan.steps:
        progress = stage(f"importing to {count:,}", count - done)
        # Closed again at once: a process that copies a file loses its locks on it (POSIX).
        with closing(RegistryFile(path, writer=True)) as writer:
            if not done:
                people = [put(Subject(id=f"s{index}")) for index in range(SUBJECTS)]
                writer.write(people, author="bench", reason="bench", now=1)
            speed = _import(writer, done, count, progress)
        done = count
        stage(f"looking up among {count:,}", 1)
        embedded.append(
            {
                "holdings": count,
                **speed,
                "file_bytes_per_holding": path.stat().st_size / count,
                **lookups(path, count),
            }
        )
        say(embedded[-1])  # a run that is cut off has measured something
        if count in plan.fleet_steps:
            stage(f"a fleet of {count:,}", 1)
            in_fleet.append(fleet.measure_step(path, count, folder))
            say(in_fleet[-1])
    path.unlink()
    return embedded, in_fleet


def _import(
    writer: RegistryFile, begin: int, end: int, progress: Callable[[int], object]
) -> dict[str, float]:
    work = Import(writer, Kind.HOLDING, author="b", reason="b", now=1, mode=Mode.BEST_EFFORT)
    with rows(begin, end) as lines:
        began, used = time.perf_counter(), time.process_time()
        report = work.run(lines, progress)
        taken, used = time.perf_counter() - began, time.process_time() - used
    if report.changed != end - begin:
        raise BenchError(f"{report.rejections} rows refused: {report.rejected[:3]}")
    return {
        "import_rows_per_second": (end - begin) / taken,
        "import_rows_per_cpu_second": (end - begin) / used,
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Print the tables."""
    details = result["details"]
    _table(
        console,
        "Registry, embedded",
        ("import/s", "import/s CPU"),
        ("import_rows_per_second", "import_rows_per_cpu_second"),
        details["embedded"],
    )
    if details["fleet"]:
        _table(
            console,
            "Registry, a node of a fleet",
            ("seeded/s", "joined/s"),
            ("seed_rows_per_second", "join_rows_per_second"),
            details["fleet"],
        )
    for name in (
        "bindings_per_second",
        "fleet_bindings_per_second",
        "fleet_import_rows_per_second",
        "order_p99_ms",
        "replay_question_p50_ms",
        "replay_question_p99_ms",
    ):
        value = result[name]
        console.print(f"{name}: {value:,.0f}" if value > 100 else f"{name}: {value:.2f}")


def _table(
    console: Console,
    title: str,
    headings: tuple[str, ...],
    members: tuple[str, ...],
    steps: list[dict[str, Any]],
) -> None:
    table = Table(title=title, title_justify="left")
    for name in (
        "holdings",
        *headings,
        "look-up µs",
        "growth",
        "median µs",
        "file B/holding",
        "own MiB",
        "mapped MiB",
    ):
        table.add_column(name, justify="right")
    for step in steps:
        table.add_row(
            f"{step['holdings']:,}",
            *(f"{step[member]:,.0f}" for member in members),
            f"{step['lookup_us']:.1f}",
            f"{step['lookup_us'] / steps[0]['lookup_us']:.2f}",
            f"{step['lookup_median_us']:.1f}",
            f"{step['file_bytes_per_holding']:.1f}",
            f"{step['own_bytes'] / 2**20:.0f}",
            f"{step['mapped_bytes'] / 2**20:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
