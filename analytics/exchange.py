"""What nodes of a fleet send each other, so that each counts all calls.

What is between two deliveries is the lag. Counts and sketches do not depend on the order in which
deliveries come; the sequential test and the order of displays do, slightly.
"""

from __future__ import annotations

from typing import Final

from zhenxian.analytics.codec import (
    FORMAT,
    Delta,
    call_of,
    event_of,
    read_delta,
    write_delta,
)
from zhenxian.analytics.counted import Contact, CountedCall
from zhenxian.analytics.counting import Counting
from zhenxian.analytics.findings import Findings
from zhenxian.analytics.model import Key

_MAX_NODES: Final = 1_024


class Exchange:
    """What is still to be sent to others, and what was taken of theirs.

    Attributes:
        lost: calls that other nodes will not learn of, because nobody took them in time.
    """

    def __init__(
        self, counting: Counting, findings: Findings, *, most: int, fleet: bool, boot: int
    ) -> None:
        """Args: most: calls that wait to be taken. fleet: anything is kept. boot: see Detector."""
        self.lost = 0
        self._counting = counting
        self._findings = findings
        self._most = most
        self._fleet = fleet
        self._calls: list[tuple[CountedCall, int]] = []
        self._ended: list[tuple[Key, int, Contact | None]] = []
        self._cleared: dict[Key, None] = {}
        self._sequence = (boot, 0)
        self._taken: dict[str, tuple[int, int]] = {}

    def tell(self, call: CountedCall, mark: int) -> None:
        """Keep a call for the others."""
        if len(self._calls) < self._most:
            self._calls.append((call, mark))
        else:
            self.lost += 1

    def tell_ended(self, key: Key, at: int, contact: Contact | None) -> None:
        """Keep the end of a call for the others."""
        if self._fleet and len(self._ended) < self._most:
            self._ended.append((key, at, contact))

    def tell_cleared(self, key: Key) -> None:
        """Keep a clearing for the others."""
        if self._fleet:
            self._findings.withhold(key)
            self._cleared[key] = None

    def take_delta(self, most: int) -> bytes | None:
        """What was observed and found since the last time; None when there was nothing.

        Raises:
            RuntimeError: nothing is kept.
        """
        changed = self._findings.changed
        if not self._fleet or changed is None:
            raise RuntimeError("this Detector keeps nothing for a fleet; make it with fleet=True")
        sent = self._findings.changed_marks
        if not (self._calls or self._ended or changed or self._cleared or sent):
            return None
        calls, self._calls = self._calls[:most], self._calls[most:]
        over, self._ended = self._ended[:most], self._ended[most:]
        places: dict[Key, int] = {}

        def place(key: Key) -> int:
            return places.setdefault(key, len(places))

        events = [event_of(call, [place(key) for key in call.keys]) for call, _ in calls]
        ended = [(place(key), at, contact) for key, at, contact in over]
        boot, number = self._sequence
        self._sequence = (boot, number + 1)
        delta = Delta(
            version=FORMAT,
            salt=self._counting.hashing.fingerprint,
            sequence=self._sequence,
            keys=list(places),
            events=events,
            ended=ended,
            findings=list(changed.values()),
            cleared=list(self._cleared),
            marks=[mark for _, mark in calls],
            linkage=[mark for mark in sent.values() if mark is not None],
        )
        self._findings.changed_marks = {}
        self._findings.changed, self._cleared = {}, {}
        return write_delta(delta)

    def merge(self, node: str, delta: bytes) -> bool:
        """Count what another node observed, and take over what it found; see Detector.merge."""
        counting, findings = self._counting, self._findings
        read = read_delta(delta, counting.hashing.fingerprint)
        if read.sequence <= self._taken.get(node, (-1, -1)):
            return False
        self._taken.pop(node, None)
        self._taken[node] = read.sequence
        if len(self._taken) > _MAX_NODES:
            del self._taken[next(iter(self._taken))]
        keys, clearings = read.keys, findings.clearings
        for key in read.cleared:
            if key not in clearings:  # else what began since stays, however late this comes
                findings.drop(key)
                counting.absolve(key)
        for event, mark in zip(read.events, read.marks, strict=True):
            if counting.again(mark):
                continue
            at, places = event[0], event[1]
            named = tuple(keys[place] for place in places)
            if clearings:
                named = tuple(key for key in named if at > clearings.get(key, -1))
            counting.count(call_of(event, named), None)
        for place, at, contact in read.ended:
            counting.ended(keys[place], at, contact)
        for found in read.findings:
            findings.adopt(found)
        for marked in read.linkage:
            findings.outside.linkage.adopt(marked)
        return True
