"""What conduct costs: microseconds a call on each side, octets a key, keys at the bound.

    python -m bench.displays

A simulated country's day passes through `Detector` as the front end would send it: keys and
observation made for each call and the finding of each key asked for, before calls are answered;
the calls counted, after that. Times are of the processor, median of nine parts of the day. Others
on the machine still take its caches: an empty loop, timed beside, tells how busy they are
(`loop_ns`). Writes build/bench-displays.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from zhenxian.analytics import Detector, Key, KeyKind, Observation, Policy
from zhenxian.analytics.areas import cell
from zhenxian.core.tn import TN
from zhenxian.service.huge_pages import into_huge_pages
from zhenxian.simulation import Call, Scenario, Traffic
from zhenxian.stores.analytics.sync import DeferredObservations

GOAL = 10.0  # microseconds that a call adds, at most
PARTS = 9
AT_ONCE = 64  # calls that are read before they are counted


# As signer/analytics.py and verifier/analytics.py make them: once for each caller and signer.
@lru_cache(65_536)
def _callers(access: str, subject: str) -> tuple[Key, ...]:
    return Key(KeyKind.ACCESS, access), Key(KeyKind.SUBJECT, subject)


@lru_cache(65_536)
def _signers(spc: str, origid: str) -> tuple[Key, ...]:
    return Key(KeyKind.SIGNER, f"{spc}/{origid}"), Key(KeyKind.SPC, spc)


SIDES: dict[str, Callable[[Call], tuple[Key, ...]]] = {
    "signing": lambda call: _callers(call.access or "", call.subject or ""),
    "verifying": lambda call: _signers(call.spc, call.origid),
}


def observation(call: Call, keys: tuple[Key, ...]) -> Observation:
    """What the front end makes of a call."""
    origid = None if call.access is not None and keys[0].kind is KeyKind.ACCESS else call.origid
    return Observation(
        at=call.at,
        keys=keys,
        display=call.display,
        callee=call.callee,
        origid=origid,
        bound=call.bound,
    )


def parsed(call: Call) -> Call:
    """The call as requests have just been read, so that its texts are in the processor's caches."""
    display, callee = TN(call.display), TN(call.callee)
    return replace(call, display=display, callee=callee)


def side(calls: list[Call], keys: Callable[[Call], tuple[Key, ...]]) -> dict[str, float]:
    """Cost of a call on one side: before its answer, after it, and together."""
    cell(TN("8613800100000"))  # reads the library's data
    if keys is SIDES["signing"]:
        calls = [call for call in calls if call.access is not None]
    gc.collect()
    gc.freeze()  # the day's calls are the bench's; a service holds none
    conduct = Detector()
    late = DeferredObservations(conduct)

    before, after = [0.0], [0.0]

    def work(part: list[Call]) -> None:
        for start in range(0, len(part), AT_ONCE):
            fresh = [parsed(call) for call in part[start : start + AT_ONCE]]
            began = time.process_time()
            for call in fresh:
                counted = keys(call)
                for key in counted:
                    late.finding(key, call.at)
                late.observe(observation(call, counted))
            answered = time.process_time()
            late.count()
            counted = time.process_time()
            before[-1] += answered - began
            after[-1] += counted - answered

    size = len(calls) // PARTS
    for part in range(PARTS):
        into_huge_pages(rest=0)  # as a service does every five minutes (service/huge_pages.py)
        before.append(0.0)
        after.append(0.0)
        work(calls[part * size : (part + 1) * size])
    each = [one / size * 1e6 for one in before[1:]], [one / size * 1e6 for one in after[1:]]
    return {
        "answer_us": median(each[0]),
        "count_us": median(each[1]),
        "added_us": median(map(sum, zip(*each, strict=True))),
        "calls": len(calls),
        "keys": len(conduct),
        "findings": len(conduct.standing(calls[-1].at)),
    }


def loop() -> float:
    """Nanoseconds of one turn of an empty loop."""
    began = time.process_time()
    for _ in range(1_000_000):
        pass
    return (time.process_time() - began) * 1e3


def own_memory() -> int:
    """Octets of this process's own memory (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status tells no RssAnon")


def quiet(count: int) -> Iterable[Observation]:
    """Calls of keys that show one number to five others."""
    for turn in range(5 * count):
        index = turn % count
        keys = (Key(KeyKind.ACCESS, f"a-{index}"),)
        display, callee = f"8613800{index:06d}", f"8675583{turn:06d}"
        yield Observation(
            at=1_795_492_800 + turn // 100, keys=keys, display=TN(display), callee=TN(callee)
        )


def busy(count: int) -> Iterable[Observation]:
    """Calls of keys that show hundreds of numbers of many cities."""
    cities = ("8610", "8621", "86755", "8620", "8628", "8627", "86571", "86591")
    for turn in range(300 * count):
        keys = (Key(KeyKind.SIGNER, f"1001/o-{turn % count}"),)
        shown, called = cities[turn % 8], cities[turn // 8 % 8]
        display, callee = f"{shown}6{turn:07d}", f"{called}8{turn:07d}"
        yield Observation(
            at=1_795_492_800 + turn // 100,
            keys=keys,
            display=TN(display),
            callee=TN(callee),
            origid=f"o-{turn % count}",
        )


def room(make: str, count: int) -> float:
    """Octets that a key takes, Python's overhead included; in a process of its own."""
    printed = subprocess.run(
        [sys.executable, "-m", "bench.displays", "--room", make, str(count)],
        check=True,
        capture_output=True,
    )
    return float(printed.stdout)


def _room(make: str, count: int) -> float:
    calls = quiet if make == "quiet" else busy
    warm = Detector()
    for one in calls(20):
        warm.observe(one)
    conduct = Detector(Policy(max_keys=max(16, 4 * count)))
    before = own_memory()
    for one in calls(count):
        conduct.observe(one)
    return (own_memory() - before) / len(conduct)


def flood(policy: Policy) -> int:
    """Keys remembered after more came than fit, of both kinds: with many calls and with one."""
    conduct = Detector(policy)
    many = (f"a-{index // 10}" for index in range(10 * policy.max_keys * 3 // 4))
    few = (f"b-{index}" for index in range(2 * policy.max_keys))
    for turn, name in enumerate(chain(many, few)):
        key = Key(KeyKind.ACCESS, name)
        at = 1_795_492_800 + turn // 1_000
        conduct.observe(
            Observation(at=at, keys=(key,), display=TN("8613800100000"), callee=TN("8613900100000"))
        )
    return len(conduct)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4_000, help="callers of the country")
    parser.add_argument("--room", nargs=2, metavar=("KIND", "KEYS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.room is not None:
        print(_room(given.room[0], int(given.room[1])))
        return 0
    calls = list(Traffic(Scenario(seed=7_000, size=given.size)).calls())
    gc.collect()
    gc.freeze()  # the traffic is the measurement's own, and not to be walked through each time
    found: dict[str, Any] = {name: side(calls, keys) for name, keys in SIDES.items()}
    found["loop_ns"] = loop()
    policy = Policy(max_keys=20_000)
    found["bytes_per_key_small"] = room("quiet", 20_000)
    found["bytes_per_key_large"] = room("busy", 1_500)
    found["max_keys"] = policy.max_keys
    found["keys_after_flood"] = flood(policy)
    found["goal_us"] = GOAL
    table = Table(title="Conduct, a call with two keys", title_justify="left")
    for name in ("side", "before the answer µs", "after it µs", "together µs", "calls", "keys"):
        table.add_column(name, justify="right")
    for name in SIDES:
        row = found[name]
        times = (f"{row[which]:.1f}" for which in ("answer_us", "count_us", "added_us"))
        table.add_row(name, *times, f"{row['calls']:,}", f"{row['keys']:,}")
    Console().print(table)
    print(f"an empty loop's turn: {found['loop_ns']:.0f} ns")
    print(
        f"octets a key: {found['bytes_per_key_small']:,.0f} small, "
        f"{found['bytes_per_key_large']:,.0f} large; "
        f"keys at the bound: {found['keys_after_flood']:,} of {policy.max_keys:,}"
    )
    build = Path("build")
    build.mkdir(exist_ok=True)
    (build / "bench-displays.json").write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
