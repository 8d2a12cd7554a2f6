"""Whether the wall clock may date commits: it is held against every other clock there is.

A clock that is ahead for seconds does lasting harm: what ends tomorrow has ended, and no later
commit may be dated before one of tomorrow. So nothing is written while the clock is in doubt, and
what is thrown away for its age is thrown away late. Time that merely passed is no doubt: a
registry at rest, a restored backup, or a machine that slept, wake up with a clock that is right.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from zhenxian.certs.files import octets_of
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.stores.private import replace_private
from zhenxian.stores.sqlite.file import UNDATED, RegistryFile

CLOCK_FILE: Final = "clock.json"  # below the data folder
TOLERANCE: Final = 60  # seconds by which clocks may differ; as fresh as a token must be
LATE: Final = 3_600  # seconds that what has ended is kept at least, by a clock that does not jump
_SAMPLE: Final = 60  # seconds between two notes of what the wall clock said
_LIVE: Final = 10  # seconds since a node's last sign of life
_META: Final = "clock.accepted"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_HARDWARE: Final = Path("/sys/class/rtc/rtc0/since_epoch")


def since_boot() -> float:
    """Seconds since the machine started, those included that it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def hardware_clock() -> float | None:
    """What the machine's own clock says; None when there is none that tells."""
    with contextlib.suppress(OSError, ValueError):
        return float(_HARDWARE.read_text())
    return None


def boot() -> str:
    """Which start of the machine this is; empty where that is not told."""
    with contextlib.suppress(OSError):
        return _BOOT.read_text().strip()
    return ""


class _Kept(Struct, frozen=True):
    """What a process leaves to those after it.

    Attributes:
        boot: the machine's start that `offset` counts from.
        offset: wall clock minus the seconds since boot, as it was believed.
        wall: what the wall clock said then.
    """

    boot: str
    offset: float
    wall: float


class KeptClock:
    """The file in which a data folder keeps how its clock stood; it is never waited for."""

    def __init__(self, path: Path | None) -> None:
        """Take the file's place; None keeps nothing."""
        self._path = path
        self._boot = boot()
        self._noted = _Kept("", 0.0, 0.0)

    def read(self) -> tuple[float | None, float]:
        """The offset, if it is of this start of the machine, and what the wall clock said then."""
        if self._path is None:
            return None, 0.0
        try:
            found = msgspec.json.decode(octets_of(self._path), type=_Kept)
        except (OSError, msgspec.DecodeError):
            return None, 0.0
        return (found.offset if found.boot and found.boot == self._boot else None), found.wall

    def note(self, offset: float, wall: float) -> None:
        """Keep how the clock stands, now and then."""
        last = self._noted
        if self._path is None or (
            abs(offset - last.offset) <= 1 and abs(wall - last.wall) < _SAMPLE
        ):
            return
        self._noted = _Kept(self._boot, offset, wall)
        with contextlib.suppress(OSError):  # a disk that takes nothing is told elsewhere
            replace_private(self._path, msgspec.json.encode(self._noted))


class _Accepted(Struct, frozen=True, array_like=True):
    """What an operator accepted.

    Attributes:
        offset: wall clock minus the seconds since boot. redis, nodes: how far these were ahead.
        seq: the last commit then.
    """

    offset: float
    redis: float
    nodes: float
    seq: int


_NOTHING: Final = _Accepted(float("inf"), float("inf"), float("inf"), 0)


def _accepted(file: RegistryFile) -> _Accepted:
    blob = file.meta(_META)
    return msgspec.msgpack.decode(blob, type=_Accepted) if blob is not None else _NOTHING


class ClockGuard:
    """One process's doubts of the wall clock.

    Others' clocks are kept as what they say beyond the seconds since boot, so that a look at them
    stays true while time passes.

    Attributes:
        wall: seconds since the epoch.
        apart: whether Redis' and other nodes' clocks are not this machine's own.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = since_boot,
        hardware: Callable[[], float | None] = hardware_clock,
        kept: Path | None = None,
    ) -> None:
        """Begin with what the processes before left.

        Args:
            elapsed: seconds since the machine started. hardware: see hardware_clock.
            kept: the file that outlives this process; None for one that remembers nothing.
        """
        self.wall = wall
        self.apart = False
        self._elapsed = elapsed
        self._hardware = hardware
        self._kept = KeptClock(kept)
        self._base = self._before = self._offset()
        left, self._floor = self._kept.read()
        if left is not None:
            self._floor = 0.0
            if abs(self._base - left) > TOLERANCE:  # corrections do not add up to a jump
                self._base = left
        self._looked: float | None = None  # the offset at which the hardware clock was asked
        self._redis: float | None = None
        self._nodes: dict[str, tuple[int, float | None]] = {}  # what it last said, and its offset

    def _offset(self) -> float:
        return self.wall() - self._elapsed()

    # What other clocks say ------------------------------------------------------------------------

    def redis_says(self, moment: float) -> None:
        """Redis' own time, just now."""
        self._redis = moment - self._elapsed()

    def nodes_say(self, seen: Iterable[tuple[str, int]]) -> None:
        """The last signs of life of the other nodes, by their clocks; those that are new count."""
        elapsed = self._elapsed()
        known, self._nodes = self._nodes, {}
        for name, moment in seen:
            before = known.get(name)
            if before is None:
                self._nodes[name] = (moment, None)  # whether it lives shows when it changes
            elif before[0] == moment:
                at = before[1]
                alive = at is not None and elapsed + at - moment <= _LIVE
                self._nodes[name] = (moment, at if alive else None)
            else:
                self._nodes[name] = (moment, moment - elapsed)

    @property
    def _others(self) -> list[float]:
        """How far the nodes that live are ahead of this one."""
        offset = self._offset()
        return [at - offset for _, at in self._nodes.values() if at is not None]

    # Doubts ---------------------------------------------------------------------------------------

    def doubts(self, file: RegistryFile) -> list[str]:
        """Why the clock may not date commits, one sentence each; empty when it may."""
        return [text for text, _ in self._doubts(file)]

    def contradicted(self, file: RegistryFile) -> bool:
        """True when it is this node's clock, by all that is known: nobody takes its tokens."""
        found = {of for _, of in self._doubts(file)}
        agreeing = any(abs(ahead) <= TOLERANCE for ahead in self._others)
        return "nodes" in found or ("redis" in found and not agreeing)

    def check(self, file: RegistryFile) -> None:
        """Raises StoreUnavailableError: nothing is written by this clock."""
        found = self.doubts(file)
        if found:
            raise StoreUnavailableError(
                f"nothing was changed: {'; '.join(found)}. Set the clock right, or, if it is,"
                " accept it: zhenxian clock accept"
            )

    def accept(self, file: RegistryFile) -> None:
        """An operator says that this clock is right, whatever others say."""
        others = sorted(self._others)
        offset = self._offset()
        accepted = _Accepted(
            offset,
            self._redis - offset if self._redis is not None else float("inf"),
            others[len(others) // 2] if others else float("inf"),
            file.last()[0],
        )
        with file.transaction():
            file.set_meta(_META, msgspec.msgpack.encode(accepted))
            file.set_meta(UNDATED, accepted.seq)
        self._believe(offset)

    def _believe(self, offset: float) -> None:
        self._base = self._before = offset
        self._floor = 0.0
        self._kept.note(offset, self.wall())

    def _doubts(self, file: RegistryFile) -> list[tuple[str, str]]:
        """Each with a word for what contradicts the clock."""
        accepted = _accepted(file)
        offset = self._offset()
        jump = self._jump(offset, accepted)
        found = [(jump, "jump")] if jump is not None else []
        if self._redis is not None:
            ahead = self._redis - offset
            if abs(ahead) > TOLERANCE and abs(ahead - accepted.redis) > TOLERANCE:
                found.append((f"the clock is {_by(-ahead)} Redis' own time", "redis"))
        others = self._others
        apart = [ahead for ahead in others if abs(ahead) > TOLERANCE]
        if 2 * len(apart) > len(others) + 1:
            middle = sorted(apart)[len(apart) // 2]
            if abs(middle - accepted.nodes) > TOLERANCE:
                found.append((f"the clock is {_by(-middle)} those of most nodes", "nodes"))
        seq, dated = file.last()
        ahead = dated - self.wall()
        if ahead > TOLERANCE and accepted.seq < seq:
            found.append(
                (f"the last commit ({seq}) is dated {ahead:.0f} s in the future", "commit")
            )
        return found

    def _jump(self, offset: float, accepted: _Accepted) -> str | None:
        jump = offset - self._base
        behind = self._floor - self.wall()
        if abs(jump) <= TOLERANCE and behind <= TOLERANCE:
            step, self._before = offset - self._before, offset
            if abs(step) <= 1:
                self._base += step  # small corrections do not add up to a jump
            self._kept.note(self._base, self.wall())
            return None
        if abs(offset - accepted.offset) <= TOLERANCE or self._vouched(offset):
            self._believe(offset)
            return None
        if abs(jump) <= TOLERANCE:
            return f"the clock is {behind:.0f} s behind what it said before the machine started"
        return f"the clock was set {'ahead' if jump > 0 else 'back'} by {abs(jump):.0f} s"

    def _vouched(self, offset: float) -> bool:
        """True when another clock says that this one is right as it is now."""
        if self.apart and self._redis is not None and abs(self._redis - offset) <= TOLERANCE:
            return True
        if self._looked is not None and abs(self._looked - offset) <= TOLERANCE:
            return False  # in time the system sets the hardware clock by its own
        self._looked = offset
        hardware = self._hardware()
        return hardware is not None and abs(hardware - self.wall()) <= TOLERANCE


def _by(ahead: float) -> str:
    return f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"


class LateClock:
    """What the wall clock said an hour of running ago: by it what has ended is thrown away.

    A clock that was ahead within that hour throws nothing away.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = since_boot
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._said: deque[tuple[float, float]] = deque()

    def now(self) -> int | None:
        """Seconds since the epoch; None before there was such an hour."""
        elapsed, said = self._elapsed(), self._said
        if not said or elapsed - said[-1][0] >= _SAMPLE:
            said.append((elapsed, self._wall()))
        while len(said) > 1 and elapsed - said[1][0] >= LATE:
            said.popleft()
        if elapsed - said[0][0] < LATE:
            return None
        return int(min(self._wall(), *(wall for _, wall in said)))
