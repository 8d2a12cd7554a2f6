"""The registry at scale: import rate, look-ups, room on disk and in memory, step by step.

    python -m bench.registry --steps 1,10,100

Millions of holdings, half of them ranges, in one file; each step goes on from the one before.
Look-ups are of random numbers and pass by the memory of recent answers. Writes
build/bench-registry.json.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from passport.tn import TN
from registry.journal import put
from registry.model import Kind, Subject
from stores.book import Book
from stores.bulk import Import
from stores.rows import Mode

MILLION = 1_000_000
SUBJECTS = 10_000
LOOKUPS = 100_000
BYTES_A_ROW = 100  # of disk, journal and log included
_FIRST = 8613000000000
_PAIR = 120  # numbers from one pair of rows, a range of a hundred and a single, to the next


def rows(begin: int, end: int) -> Iterator[str]:
    """CSV of the rows begin to end."""
    yield "first,last,subject,verification,use,spcs\n"
    for index in range(begin, end):
        subject = index * 7919 % SUBJECTS
        base = _FIRST + index // 2 * _PAIR
        if index & 1:
            yield f"{base + 110},,s{subject},verified,direct,1001\n"
        else:
            yield f"{base},{base + 99},s{subject},verified,direct,1001\n"


def numbers(count: int, seed: int) -> list[TN]:
    """Numbers that are held by somebody, half of them in ranges."""
    choose = random.Random(seed)
    found = []
    for _ in range(LOOKUPS):
        base = _FIRST + choose.randrange(count // 2) * _PAIR
        found.append(TN(str(base + (110 if choose.random() < 0.5 else choose.randrange(100)))))
    return found


def measure_lookups(path: Path, count: int) -> dict[str, float]:
    """Microseconds of one look-up (median of nine parts), and this process's growth in memory."""
    before = _own_memory()
    book = Book(path)
    for tn in numbers(count, 1):
        book.covering(tn)
    parts = []
    wanted = numbers(count, 2)
    for part in range(9):
        chosen = wanted[part::9]
        began = time.perf_counter()
        for tn in chosen:
            if book.covering(tn) is None:
                raise SystemExit(f"{tn} is not found")
        parts.append((time.perf_counter() - began) / len(chosen) * 1e6)
    return {"lookup_us": sorted(parts)[4], "memory": _own_memory() - before}


def _own_memory() -> int:
    """Octets of this process's own memory, the file's mapped pages left out (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status tells no RssAnon")


def main() -> int:
    """Run the steps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", default="1,10,100", help="millions of holdings, ascending")
    parser.add_argument("--folder", type=Path, help="where the file goes; needs 100 octets a row")
    parser.add_argument("--lookups", nargs=2, metavar=("FILE", "ROWS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.lookups is not None:
        print(json.dumps(measure_lookups(Path(given.lookups[0]), int(given.lookups[1]))))
        return 0
    steps = [int(float(step) * MILLION) for step in given.steps.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="bench-registry-", dir=given.folder))
    try:
        free, needed = shutil.disk_usage(folder).free, steps[-1] * BYTES_A_ROW
        if free < needed:
            raise SystemExit(f"{folder}: {needed >> 20} MiB needed, {free >> 20} MiB free")
        found = _run(folder / "registry.db", steps)
    finally:
        shutil.rmtree(folder)
    _tell(found)
    return 0


def _run(path: Path, steps: list[int]) -> list[dict[str, Any]]:
    found = []
    writer = Book(path, writer=True)
    people = [put(Subject(f"s{index}")) for index in range(SUBJECTS)]
    writer.write(people, author="bench", reason="bench", now=1)
    done = 0
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for count in steps:
            task = bar.add_task(f"importing {count:,}", total=count - done)
            work = Import(
                writer, Kind.HOLDING, author="bench", reason="bench", now=1, mode=Mode.BEST_EFFORT
            )
            began = time.perf_counter()
            report = work.run(rows(done, count), lambda n, t=task: bar.update(t, completed=n))
            rate = report.changed / (time.perf_counter() - began)
            if report.changed != count - done:
                raise SystemExit(f"{report.rejections} rows refused: {report.rejected[:3]}")
            done = count
            told = subprocess.run(
                [sys.executable, "-m", "bench.registry", "--lookups", str(path), str(count)],
                check=True,
                capture_output=True,
            )
            found.append(
                {
                    "holdings": count,
                    "import_rows_per_second": rate,
                    "file_bytes_per_holding": path.stat().st_size / count,
                    **json.loads(told.stdout),
                }
            )
    writer.close()
    return found


def _tell(found: list[dict[str, Any]]) -> None:
    table = Table(title="Registry, embedded", title_justify="left")
    columns = ("holdings", "import rows/s", "look-up µs", "growth", "file B/holding", "memory MiB")
    for name in columns:
        table.add_column(name, justify="right")
    first = found[0]
    for step in found:
        growth = step["lookup_us"] / first["lookup_us"]
        table.add_row(
            f"{step['holdings']:,}",
            f"{step['import_rows_per_second']:,.0f}",
            f"{step['lookup_us']:.1f}",
            f"{growth:.2f}",
            f"{step['file_bytes_per_holding']:.1f}",
            f"{step['memory'] / 2**20:.0f}",
        )
    Console().print(table)
    last = found[-1]
    result = {
        "steps": found,
        "lookup_growth_1m_to_100m": last["lookup_us"] / first["lookup_us"]
        if (first["holdings"], last["holdings"]) == (MILLION, 100 * MILLION)
        else None,
        "bytes_per_range": last["file_bytes_per_holding"],
        "import_rows_per_second": last["import_rows_per_second"],
    }
    build = Path("build")
    build.mkdir(exist_ok=True)
    (build / "bench-registry.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
