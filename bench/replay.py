"""How fast `zhenxian replay` is: rows a second of processor time, on one core.

    python -m bench.replay

A simulated country's day as call records: most callers are persons and small offices. The whole
command is measured, its start included, with and without the ends of calls, and when signing with
and without a registry of all who call. Writes build/bench-replay.json.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median

from rich.console import Console
from rich.table import Table

from zhenxian.registry.journal import put
from zhenxian.simulation import Call, Scenario, Traffic
from zhenxian.simulation.stream import registrable
from zhenxian.stores.sqlite.registry import REGISTRY_FILE, EmbeddedRegistry

SIGNING, VERIFYING = ("access",), ("spc", "origid")
GOALS = {"signing, a registry": 25_000, "verifying": 40_000}  # rows a second
_AT_ONCE = 5_000  # records of one commit


def written(path: Path, calls: Iterable[Call], of: tuple[str, ...], *, told: bool) -> int:
    """Write call records; how many."""
    random, count = Random(1), 0
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["at", "orig", "dest", *of, *(("answered", "seconds") if told else ())])
        for call in calls:
            # What is not ringing is talk: some of each call.
            talk = int(call.duration * random.random()) if call.answered else 0
            end = (int(call.answered), talk or "") if told else ()
            whose = (getattr(call, name) for name in of)
            rows.writerow([call.at, call.display, call.callee, *whose, *end])
            count += 1
    return count


def registered(folder: Path, traffic: Traffic) -> Path:
    """A data folder whose registry knows all who call."""
    folder.mkdir()
    registry = EmbeddedRegistry(folder / REGISTRY_FILE)
    records = iter(registrable(traffic.records(), traffic.shared_accesses()))
    while some := [put(record) for record in islice(records, _AT_ONCE)]:
        asyncio.run(registry.write(some, author="bench", reason="bench", now=1_780_000_000))
    registry.close()
    return folder


def seconds(path: Path, *options: str) -> float:
    """Processor time of one replay."""
    command = [sys.executable, "-m", "zhenxian", "replay", str(path), "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)}: status {running.returncode}")
    return used.ru_utime + used.ru_stime


def cases(folder: Path, size: int) -> Iterator[tuple[str, int, Path, tuple[str, ...]]]:
    """What is measured: its name, its rows, the file and options."""
    traffic = Traffic(Scenario(seed=7_000, size=size))
    calls = list(traffic.calls())
    data = registered(folder / "data", traffic)
    ours = [call for call in calls if call.access is not None]
    for told in (False, True):
        path, how = folder / f"signing-{told}.csv", ", ends told" if told else ""
        count = written(path, ours, SIGNING, told=told)
        yield f"signing{how}", count, path, ()
        yield f"signing, a registry{how}", count, path, ("--data", str(data))
        path = folder / f"verifying-{told}.csv"
        yield f"verifying{how}", written(path, calls, VERIFYING, told=told), path, ()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=6_000, help="callers of the country")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    table = Table(title="zhenxian replay, rows a second of processor time", title_justify="left")
    for name in ("records", "rows", "rows a second", "goal"):
        table.add_column(name, justify="right")
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for case, count, path, options in cases(Path(name), given.size):
            rate = count / median(seconds(path, *options) for _ in range(given.rounds))
            found[case] = {"rows": count, "rows_per_second": rate}
            goal = GOALS.get(case)
            table.add_row(case, f"{count:,}", f"{rate:,.0f}", f"{goal:,}" if goal else "")
    Console().print(table)
    build = Path("build")
    build.mkdir(exist_ok=True)
    (build / "bench-replay.json").write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
