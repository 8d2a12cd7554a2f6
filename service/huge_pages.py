"""A process's memory in huge pages, so that a call finds what it needs sooner.

Python's objects lie scattered over some sixty megabytes, and a call touches them in thousands of
places. Between two calls other programs have the processor, and throw out of its caches what the
service left there, the tables that tell where each page of 4 KiB is included: most of what a call
costs then is waiting for memory. In huge pages there is one entry where there were five hundred.

Nothing is done where the machine's operator wants none
(/sys/kernel/mm/transparent_hugepage/enabled), nor where the kernel cannot (before Linux 6.1).
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_COLLAPSE: Final = 25  # MADV_COLLAPSE: what is there is put into huge pages at once
_REST: Final = 0.005  # seconds after each huge page, which takes a millisecond or two
_AGAIN: Final = 300.0  # seconds after which what was taken meanwhile goes there, too
_MOST: Final = 512 << 20  # octets at first; more would take a start longer than it is worth
_SETTINGS: Final = Path("/sys/kernel/mm/transparent_hugepage")
_MAPPINGS: Final = Path("/proc/self/smaps")

_library: Final = ctypes.CDLL(None)
_library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def into_huge_pages_beside() -> None:
    """Have a thread put what the process holds into huge pages, with rests for calls.

    It does so again and again: what is counted and remembered of callers comes later, and is where
    most of a call's time goes. Where nothing was added, a look takes a second of rests, and some
    milliseconds of work.

    Not with a lower priority: calls that need more memory meanwhile wait for its lock, and on a
    busy machine who steps back would keep that for seconds. A process that is given no thread does
    without.
    """
    with suppress(RuntimeError):
        threading.Thread(target=_again_and_again, name="huge-pages", daemon=True).start()


def _again_and_again() -> None:
    into_huge_pages(most=_MOST)
    while True:
        time.sleep(_AGAIN)
        into_huge_pages()


def into_huge_pages(rest: float = _REST, most: int = sys.maxsize) -> None:
    """Put what the process holds now into huge pages. What it takes later stays as it comes.

    Args:
        rest: seconds after each huge page; 0 where nobody waits, so that all go at once.
        most: octets.
    """
    with suppress(OSError, ValueError):  # a kernel without them, or a machine without /proc
        if "[never]" in (_SETTINGS / "enabled").read_text("ascii"):
            return
        size = int((_SETTINGS / "hpage_pmd_size").read_text("ascii"))
        left = most // size * size
        for start, whole in list(well_filled(_MAPPINGS.read_text("utf-8", "replace"), size)):
            length = min(whole, left)
            left -= length
            if not length:
                return
            step = size if rest else length
            for page in range(start, start + length, step):
                _library.madvise(page, step, _COLLAPSE)  # where it fails, all stays as it was
                if rest:
                    time.sleep(rest)


def well_filled(mappings: str, size: int) -> Iterator[tuple[int, int]]:
    """What of a process's memory is worth huge pages: anonymous, writable, and half in use.

    A thread's stack is not: of its eight megabytes a few pages are in use, and a huge page would
    fill up one of them.

    Args:
        mappings: as /proc/self/smaps has them.
        size: octets of a huge page.

    Yields:
        Start and length of each, in whole huge pages.
    """
    start = end = 0
    held = False
    for line in mappings.splitlines():
        if not line[0].isupper():  # a mapping's first line; twenty about it follow
            name, *rest = line.split()
            held = rest[0] == "rw-p" and rest[3] == "0" and rest[4:] in ([], ["[heap]"])
            start, end = (int(part, 16) for part in name.split("-"))
        elif held and line.startswith("Rss:") and int(line.split()[1]) * 2048 >= end - start:
            first, last = -(-start // size) * size, end // size * size
            if first < last:
                yield first, last - first
