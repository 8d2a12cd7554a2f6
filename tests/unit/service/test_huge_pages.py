"""What of a service's memory is put into huge pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from zhenxian.service import huge_pages
from zhenxian.service.huge_pages import well_filled

_HUGE = 2 << 20
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def _mapping(where, resident, access="rw-p", inode="0", name=""):
    start, end = where
    first = f"{start:x}-{end:x} {access} 00000000 00:00 {inode} {name}".rstrip()
    more = ["KernelPageSize:        4 kB", f"Rss:   {resident // 1024} kB", "VmFlags: rd wr mr"]
    return "\n".join([first, f"Size: {(end - start) // 1024} kB", *more, ""])


def _found(*mappings):
    return list(well_filled("".join(mappings), _HUGE))


def test_whole_huge_pages_of_what_is_in_use():
    ten = (0x7F00_0000_1000, 0x7F00_0000_1000 + 10 * _HUGE)
    assert _found(_mapping(ten, 6 * _HUGE)) == [(0x7F00_0020_0000, 9 * _HUGE)]
    assert _found(_mapping((0x40_0000, 0x80_0000), _HUGE, name="[heap]")) == [
        (0x40_0000, 2 * _HUGE)
    ]


def test_several_are_taken_in_order_and_what_is_between_is_not():
    first, second = (4 * _HUGE, 5 * _HUGE), (8 * _HUGE, 9 * _HUGE)
    between = _mapping((6 * _HUGE, 7 * _HUGE), _HUGE, inode="17", name="/usr/lib/libc.so.6")
    assert _found(_mapping(first, _HUGE), between, _mapping(second, _HUGE)) == [
        (4 * _HUGE, _HUGE),
        (8 * _HUGE, _HUGE),
    ]


def test_a_stack_is_left_alone():
    eight = (4 * _HUGE, 8 * _HUGE)
    assert _found(_mapping(eight, 64 << 10)) == []  # a thread's: its first pages alone
    assert _found(_mapping(eight, 4 * _HUGE, name="[stack]")) == []


def test_what_is_of_a_file_or_cannot_be_written_or_is_small_is_left_alone():
    four = (4 * _HUGE, 8 * _HUGE)
    assert _found(_mapping(four, 4 * _HUGE, inode="9", name="/a file (deleted)")) == []
    assert _found(_mapping(four, 4 * _HUGE, access="---p")) == []
    assert _found(_mapping(four, 4 * _HUGE, access="rw-s")) == []
    assert _found(_mapping((_HUGE + 4096, 3 * _HUGE - 4096), 2 * _HUGE)) == []


_PROGRAM = """
import re, sys, threading, time
from pathlib import Path
import zhenxian.service.huge_pages as pages

def huge():
    told = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search("AnonHugePages: +([0-9]+)", told)[1])

def grown(than):
    until = time.monotonic() + (30 if sys.argv[1] == "True" else 0.2)
    while huge() <= than and time.monotonic() < until:
        time.sleep(0.01)
    return huge()

pages._AGAIN = 0.05
kept = [[number, str(number)] for number in range(200_000)]
first = huge()
pages.into_huge_pages_beside()
second = grown(first)
for thread in threading.enumerate():
    assert thread.name != "huge-pages" or thread.daemon
time.sleep(1)  # the first time is over
second = huge()
kept += [[number, str(number)] for number in range(200_000, 600_000)]
third = grown(second)
assert all(kept[number] == [number, str(number)] for number in range(600_000))
print(first, second, third)
"""


def _offered():
    """Whether this kernel has MADV_COLLAPSE, and gives huge pages to who asks, and to no other."""
    release = re.match(r"(\d+)\.(\d+)", Path("/proc/sys/kernel/osrelease").read_text())
    return (
        release is not None
        and (int(release[1]), int(release[2])) >= (6, 1)
        and _SETTING.exists()
        and "[madvise]" in _SETTING.read_text()
    )


def test_what_is_there_and_what_comes_later_is_in_huge_pages_afterwards_and_unchanged():
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(_offered())],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, second, third = (int(text) for text in done.stdout.split())
    if _offered():
        assert first < second < third


_AT_ONCE = """
import re
from pathlib import Path
import zhenxian.service.huge_pages as pages

def huge():
    told = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search("AnonHugePages: +([0-9]+)", told)[1])

def never(seconds):
    raise AssertionError("rested")

pages.time.sleep = never
kept = [[number, str(number)] for number in range(200_000)]
first = huge()
pages.into_huge_pages(rest=0)
assert all(kept[number] == [number, str(number)] for number in range(200_000))
print(first, huge())
"""


def test_where_nobody_waits_all_goes_at_once():
    done = subprocess.run(
        [sys.executable, "-c", _AT_ONCE], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    before, after = (int(text) for text in done.stdout.split())
    if _offered():
        assert after > before


def test_no_more_than_asked_for(monkeypatch, tmp_path):
    asked = []
    settings, mappings = tmp_path, tmp_path / "smaps"
    (settings / "enabled").write_text("always [madvise] never")
    (settings / "hpage_pmd_size").write_text(str(_HUGE))
    one, two = (4 * _HUGE, 6 * _HUGE), (8 * _HUGE, 18 * _HUGE)
    mappings.write_text(_mapping(one, 2 * _HUGE) + _mapping(two, 10 * _HUGE))
    monkeypatch.setattr(huge_pages, "_SETTINGS", settings)
    monkeypatch.setattr(huge_pages, "_MAPPINGS", mappings)
    library = SimpleNamespace(madvise=lambda start, length, _: asked.append((start, length)))
    monkeypatch.setattr(huge_pages, "_library", library)
    huge_pages.into_huge_pages(rest=0, most=5 * _HUGE + 1)
    assert asked == [(4 * _HUGE, 2 * _HUGE), (8 * _HUGE, 3 * _HUGE)]
    asked.clear()
    huge_pages.into_huge_pages(rest=1e-9)
    assert asked == [(page * _HUGE, _HUGE) for page in (4, 5, *range(8, 18))]
