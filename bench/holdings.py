"""Synthetic holdings: their rows, and what looking them up costs a process of its own.

python -m bench.holdings rows 0 1000000        CSV on standard output
python -m bench.holdings lookups FILE 1000000  figures as JSON
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

from bench.machine import BenchError
from zhenxian.core.tn import TN
from zhenxian.stores.sqlite.file import RegistryFile

SUBJECTS: Final = 10_000
LOOKUPS: Final = 100_000
_WARM: Final = 3  # times as many numbers are looked up before any is measured
_AT_ONCE: Final = 1 << 22  # octets of the file read at a time
_FIRST: Final = 8613000000000
_PAIR: Final = 120  # numbers from one pair of rows, a range of a hundred and a single, to the next
_PART: Final = 50  # look-ups timed together: some milliseconds
_HEADER: Final = "first,last,subject,verification,use,spcs\n"


def write_rows(begin: int, end: int, out: TextIO) -> None:
    """CSV of the rows begin to end: ranges and singles in turn, subjects mixed."""
    out.write(_HEADER)
    for index in range(begin, end):
        subject = index * 7919 % SUBJECTS
        base = _FIRST + index // 2 * _PAIR
        if index & 1:
            out.write(f"{base + 110},,s{subject},verified,direct,1001\n")
        else:
            out.write(f"{base},{base + 99},s{subject},verified,direct,1001\n")


@contextlib.contextmanager
def rows(begin: int, end: int) -> Iterator[TextIO]:
    """The rows by a pipe, as a file would give them: made by a process of their own."""
    command = [sys.executable, "-m", "bench.holdings", "rows", str(begin), str(end)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise BenchError("no pipe")
        yield process.stdout


def lookups(file: Path, count: int) -> dict[str, Any]:
    """See measure_lookups; in a process of its own, so that the memory is the node's part."""
    printed = subprocess.run(
        [sys.executable, "-m", "bench.holdings", "lookups", str(file), str(count)],
        check=True,
        capture_output=True,
    )
    found: dict[str, Any] = json.loads(printed.stdout)
    return found


def numbers(count: int, seed: int, wanted: int) -> list[TN]:
    """Numbers that are held by somebody, half of them in ranges."""
    choose = random.Random(seed)
    return [held(count, choose)[0] for _ in range(wanted)]


def held(count: int, choose: random.Random) -> tuple[TN, int]:
    """A number that is held by somebody, and the number of its subject."""
    pair, single = choose.randrange(count // 2), choose.random() < 0.5
    number = _FIRST + pair * _PAIR + (110 if single else choose.randrange(100))
    return TN(str(number)), (2 * pair + single) * 7919 % SUBJECTS


def measure_lookups(file: Path, count: int) -> dict[str, float]:
    """Microseconds of a look-up, and what the registry takes of this process's memory.

    Look-ups are of random numbers and pass by the memory of recent answers; the file is read
    through before, so that the system has it in memory, as on a node that has run for a while.
    `lookup_us` is what parts of fifty take when nobody else has the processor (the tenth of parts
    in order), so that a busy machine measures the same; `lookup_median_us` is the median part.
    `own_bytes` is memory of the process's own, `mapped_bytes` pages of the file, which the system
    takes back when it needs them.

    Raises:
        BenchError: a number that is held was not found.
    """
    wanted = numbers(count, 2, LOOKUPS)
    warm = numbers(count, 1, _WARM * LOOKUPS)
    with file.open("rb", buffering=0) as whole:
        while whole.read(_AT_ONCE):
            pass
    own, mapped = _memory()
    registry = RegistryFile(file)
    for tn in warm:
        registry.covering(tn)
    parts = []
    for begin in range(0, LOOKUPS, _PART):
        chosen = wanted[begin : begin + _PART]
        began = time.perf_counter()
        for tn in chosen:
            if registry.covering(tn) is None:
                raise BenchError(f"{tn} is not found")
        parts.append((time.perf_counter() - began) / len(chosen) * 1e6)
    parts.sort()
    now = _memory()
    registry.close()
    return {
        "lookup_us": parts[len(parts) // 10],
        "lookup_median_us": parts[len(parts) // 2],
        "own_bytes": max(0, now[0] - own),
        "mapped_bytes": max(0, now[1] - mapped),
    }


def _memory() -> tuple[int, int]:
    """Octets in memory of this process: its own, and of mapped files, on a disk or not (Linux)."""
    found = {}
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile", "RssShmem"):
            found[name] = int(value.split()[0]) * 1024
    if len(found) != 3:
        raise BenchError("/proc/self/status tells no RssAnon, RssFile and RssShmem")
    return found["RssAnon"], found["RssFile"] + found["RssShmem"]


if __name__ == "__main__":
    if sys.argv[1] == "rows":
        write_rows(int(sys.argv[2]), int(sys.argv[3]), sys.stdout)
    else:
        print(json.dumps(measure_lookups(Path(sys.argv[2]), int(sys.argv[3]))))
