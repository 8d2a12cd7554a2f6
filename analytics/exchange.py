"""What nodes of a fleet send each other, so that all calls of a key are counted together.

Where few nodes live, each tells all calls to all others. From three on keys are parted
(analytics.shares): a call goes to the two nodes that count its keys, and to all goes what is found,
and what is little: marks, clearings, whose a display is, when callers begin who may be one. A node
that reaches nobody counts all of its own calls.

What is between two deliveries is the lag. Counts and sketches do not depend on the order in which
deliveries come; the sequential test and the order of displays do, slightly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from zhenxian.analytics.cap import Cap
from zhenxian.analytics.codec import (
    FORMAT,
    Delta,
    call_of,
    event_of,
    read_delta,
    write_delta,
)
from zhenxian.analytics.counted import Contact, CountedCall, pair_hash
from zhenxian.analytics.counting import Counting
from zhenxian.analytics.counts import KeyCounts
from zhenxian.analytics.findings import Findings
from zhenxian.analytics.heard import Told
from zhenxian.analytics.model import Key, Observation
from zhenxian.analytics.parcel import Parcel, Thinning, left_out
from zhenxian.analytics.shares import Member, Shares, picked

_MAX_NODES: Final = 2_048
_PARTED_FROM: Final = 3  # members; two count everything in any case
_MAX_APART: Final = 65_536  # callers
_TOLD: Final = 4_096  # displays that all members together tell at a time


class Exchange:
    """What is still to be sent to others, and what was taken of theirs.

    Attributes:
        lost: calls that other nodes will not learn of, because nobody took them in time.
        mixed: nodes of the release before listen, who learn only of what is told to all.
    """

    def __init__(
        self,
        counting: Counting,
        findings: Findings,
        cap: Cap,
        *,
        most: int,
        fleet: bool,
        boot: int,
    ) -> None:
        """Args: most: calls that wait to be taken. fleet: anything is kept. boot: see Detector."""
        self.lost = 0
        self.mixed = False
        self._counting = counting
        self._findings = findings
        self._cap = cap
        self._most = most
        self._fleet = fleet
        self._calls: list[tuple[CountedCall, int, tuple[Key, ...]]] = []  # mark, keys counted here
        self._ended: list[tuple[Key, int, Contact | None, tuple[Key, ...]]] = []
        self._unplaced: list[tuple[Key, int, Contact | None, tuple[Key, ...]]] = []  # for all
        self._cleared: dict[Key, None] = {}
        self._sequence = (boot, 0)
        self._taken: dict[str, tuple[int, int]] = {}
        self._members: tuple[Member, ...] = ()
        self._shares: Shares | None = None
        self._before: Shares | None = None  # while cut off
        self._subjects: dict[Key, Key] = {}  # of accesses
        self._apart: dict[tuple[Key, ...], None] | None = None  # callers counted while cut off
        self._late = 0  # of the calls, how many were looked at since then
        self._thinning = Thinning()
        self._tells = 0  # displays, until the next pace
        self._parcels: dict[str, Parcel] = {}
        self._full: list[tuple[str, Parcel]] = []
        self._passed: list[tuple[Key, int]] = []
        self._back: list[tuple[Key, int, int]] = []
        self._peers: dict[str, tuple[int, float]] = {}

    # -- who counts what

    @property
    def parted(self) -> bool:
        """Each member counts a part of the keys."""
        return self._shares is not None

    @property
    def apart(self) -> bool:
        """It was cut off while it counted a part of the keys."""
        return self._before is not None

    def places(self, key: Key) -> bool:
        """Tell whether it is known who counts a key."""
        return self._shares is None or self._shares.places(key)

    def keeps(self, key: Key, counts: KeyCounts | None) -> bool:
        """Tell whether the counts of a key are worth saving: what is counted while cut off is not.

        Another process of this machine may save the same key's. An access whose subject was
        forgotten is counted here.
        """
        shares = self._shares or self._before
        if shares is None:
            return True
        if counts is not None and counts.also is not None:
            key = counts.also
        return shares.mine(key) or not shares.places(key)

    def learn(self, access: Key, subject: Key) -> None:
        """Take over whose an access is."""
        self._subjects.setdefault(access, subject)

    def among(self, me: str, members: Sequence[Member]) -> None:
        """Part the keys among these members, of whom this is one; with few, part nothing."""
        if self._members == tuple(members):
            return
        self._members = tuple(members)
        if len(members) < _PARTED_FROM or all(one.name != me for one in members):
            shares = None
        else:
            shares = Shares(me, members, self._counting.hashing.text, self._subjects)
        self._shares, self._before = shares, None
        names = {one.name for one in members}
        self._peers = {name: told for name, told in self._peers.items() if name in names}
        self._counting.part(None if shares is None else shares.mine)
        if shares is None:
            return
        apart, self._apart = self._apart, None
        for keys in apart or ():
            # A part of the calls tells less of a caller than none: it would call nobody twice.
            mine = shares.of(keys)
            for key in keys:
                if key not in mine:
                    self._counting.forget(key)

    def cut_off(self) -> None:
        """Nobody can be reached: all calls seen here are counted here."""
        self._members = ()
        if self._shares is not None:
            self._before, self._shares = self._shares, None
            self._apart, self._late = {}, 0
            self._counting.part(None)

    def count_late(self, most: int) -> bool:
        """Count calls that others should have counted; whether there are more of them."""
        calls, first = self._calls, self._late
        if self._apart is None or first >= len(calls):
            return False
        self._late = min(first + most, len(calls))
        for index in range(first, self._late):
            call, mark, counted = calls[index]
            calls[index] = (call, mark, self._settle(call, counted))
        return self._late < len(calls)

    def _settle(self, call: CountedCall, counted: tuple[Key, ...]) -> tuple[Key, ...]:
        """Count a call for keys that came here since it was seen; all that it is counted for."""
        keys, shares = call.keys, self._shares
        mine = keys if shares is None else shares.of(keys)
        if len(mine) <= len(counted):
            return counted
        missing = tuple(key for key in mine if key not in counted)
        if self._thinning.here and shares is not None:
            missing = self._thinning.sampled(missing, call.display)
        self._alone(keys)
        if missing:
            self._counting.count(call, None, missing)
        return (*counted, *missing)

    def _alone(self, keys: tuple[Key, ...]) -> None:
        """Remember that these are counted here though others may count them."""
        apart = self._apart
        if apart is not None and keys not in apart and len(apart) < _MAX_APART:
            apart[keys] = None
            if self._before is not None:
                self._before.learn(keys)

    # -- what is seen here

    def observe(self, call: CountedCall, mark: int, observation: Observation) -> None:
        """Count a call if it is counted here, and keep it for the others."""
        keys, shares = call.keys, self._shares
        mine = keys
        if shares is not None:
            mine = shares.of(keys)
            if self._thinning.here:
                mine = self._thinning.sampled(mine, call.display)
        else:
            self._alone(keys)
        if len(self._calls) < self._most:
            self._calls.append((call, mark, mine))
        else:
            self.lost += 1
        if mine:
            self._counting.count(call, observation, None if mine is keys else mine)

    def ended(self, key: Key, at: int, contact: Contact | None, keys: tuple[Key, ...]) -> None:
        """Count the end of a call if it is counted here, and keep it for the others."""
        shares = self._shares
        if shares is not None and keys:
            shares.learn(keys)
        if self._fleet and len(self._ended) < self._most:
            self._ended.append((key, at, contact, keys))
        if shares is None or shares.mine(key) or not shares.places(key):
            shown = None if contact is None else contact.display
            if not left_out(shown, self._thinning.here.get(key, 0)):
                self._counting.ended(key, at, contact)

    def tell_cleared(self, key: Key) -> None:
        """Keep a clearing for the others."""
        if self._fleet:
            self._findings.withhold(key)
            self._cleared[key] = None

    # -- what goes to others

    def sort(self, most: int) -> bool:
        """Make parcels of calls for those who count them; whether there is more to be sorted.

        Args:
            most: calls at a time.
        """
        shares = self._shares
        if shares is None or self.mixed:
            return False
        calls, self._calls = self._calls[:most], self._calls[most:]
        ended, self._ended = self._ended[:most], self._ended[most:]
        thinned, shown_by = self._thinning.keys, self._counting.shown_by
        for call, mark, counted in calls:
            self._settle(call, counted)
            keys = call.keys
            thin = bool(thinned) and not thinned.isdisjoint(keys)
            for name, mask in shares.route(keys).others:
                wanted = self._thinning.thinned(name, keys, mask, call.display) if thin else mask
                if wanted:
                    self._parcel(name, most).events.append((call, mark, wanted))
            if call.vouched:
                back = shown_by.called_back(call)
                if back is not None and call.display is not None:
                    self._called_back(shares, *back, pair_hash(back[1], call.display))
            if self._cap.limit:
                self._passed += [(key, call.at) for key in keys if self._cap.watches(key)]
        for one in ended:
            if one[3]:
                shares.learn(one[3])
            if shares.places(one[0]):
                self._tell_ended(shares, *one[:3])
            else:
                self._unplaced.append(one)
        return bool(self._calls or self._ended)

    def _parcel(self, name: str, most: int) -> Parcel:
        parcel = self._parcels.get(name)
        if parcel is None or len(parcel.events) >= most:
            if parcel is not None:
                self._full.append((name, parcel))
            parcel = self._parcels[name] = Parcel()
        return parcel

    def _called_back(self, shares: Shares, key: Key, display: int, pair: int) -> None:
        if not shares.places(key):
            self._back.append((key, display, pair))
            return
        for name in shares.owners(key):
            if name == shares.me:
                self._counting.called_back(key, display, pair)
            else:
                self._parcel(name, 1 << 30).add_back(key, display, pair)

    def _tell_ended(self, shares: Shares, key: Key, at: int, contact: Contact | None) -> None:
        shown = None if contact is None else contact.display
        for name in shares.owners(key):
            if name != shares.me:
                level = self._thinning.there.get((name, key), (0, 0))[0]
                if not left_out(shown, level):
                    self._parcel(name, 1 << 30).add_ended(key, at, contact)

    def take_parcel(self) -> tuple[str, bytes] | None:
        """Some of what was sorted, and to whom it goes; None when all was taken."""
        if self._full:
            name, parcel = self._full.pop(0)
        elif self._parcels:
            name = next(iter(self._parcels))
            parcel = self._parcels.pop(name)
        else:
            return None
        return name, parcel.write(self._counting.hashing.fingerprint, self._next())

    def _next(self) -> tuple[int, int]:
        boot, number = self._sequence
        self._sequence = (boot, number + 1)
        return self._sequence

    def take_delta(self, most: int) -> bytes | None:
        """What was found since the last time, and observed where all count it; None for nothing.

        Raises:
            RuntimeError: nothing is kept.
        """
        changed = self._findings.changed
        if not self._fleet or changed is None:
            raise RuntimeError("this Detector keeps nothing for a fleet; make it with fleet=True")
        sent = self._findings.changed_marks
        calls: list[tuple[CountedCall, int, tuple[Key, ...]]] = []
        over, self._unplaced = self._unplaced, []
        if self._shares is None or self.mixed:
            calls, self._calls = self._calls[:most], self._calls[most:]
            over += self._ended[:most]
            self._ended = self._ended[most:]
        if self._shares is not None:
            for call, _, counted in calls:
                self._settle(call, counted)
        aside = self._aside()
        marks = [mark for mark in sent.values() if mark is not None]
        marks += self._findings.outside.linkage.take_called()
        if not (calls or over or changed or self._cleared or marks or any(aside.values())):
            return None
        places: dict[Key, int] = {}

        def place(key: Key) -> int:
            return places.setdefault(key, len(places))

        events = [event_of(call, [place(key) for key in call.keys]) for call, _, _ in calls]
        ended = [(place(one[0]), one[1], one[2]) for one in over]
        named = {name: [(place(one[0]), *one[1:]) for one in rows] for name, rows in aside.items()}
        delta = Delta(
            version=FORMAT,
            salt=self._counting.hashing.fingerprint,
            sequence=self._next(),
            keys=list(places),
            events=events,
            ended=ended,
            findings=list(changed.values()),
            cleared=list(self._cleared),
            marks=[mark for _, mark, _ in calls],
            linkage=marks,
            vouched=[place for place, (call, _, _) in enumerate(calls) if call.vouched],
            peers=self._counting.take_peers() if self._shares is not None else None,
        )
        for name, rows in named.items():
            setattr(delta, name, rows)
        self._findings.changed_marks = {}
        self._findings.changed, self._cleared = {}, {}
        return write_delta(delta)

    def _aside(self) -> dict[str, list[Any]]:
        """What others have to know of the keys that are counted here, by member of a Delta."""
        shares = self._shares
        if shares is None:
            return {}
        counting = self._counting
        passed, self._passed = self._passed, []
        back, self._back = self._back, []
        shown = counting.shown_by.take(self._tells)
        self._tells -= len(shown)
        return {
            "back": back,
            "runs": [
                (run.key, run.ended, run.began)
                for handovers in counting.handovers.values()
                for run in handovers.take()
            ],
            "shown": [one for one in shown if counting.table.get(one[0]) is not None],
            "told": [
                (key, max(0, one.first), max(0, one.last), one.bits, one.began)
                for key, one in counting.heard.take().items()
            ],
            "passed": passed,
            "levels": self._thinning.take(),
        }

    def pace(self, seconds: float) -> None:
        """Choose which calls of busy keys count, by what came within so many seconds."""
        self._thinning.pace(seconds)
        for key, level in self._thinning.here.items():
            counts = self._counting.table.get(key)
            if counts is not None:
                counts.now.thinned = max(level, counts.now.thinned)
        self._tells = _TOLD // max(1, len(self._members))

    # -- what comes from others

    def merge(self, node: str, delta: bytes) -> bool:
        """Count what another node observed, and take over what it found; see Detector.merge."""
        counting, findings = self._counting, self._findings
        read = read_delta(delta, counting.hashing.fingerprint)
        way = f"{node} direct" if read.direct else node
        if read.sequence <= self._taken.get(way, (-1, -1)):
            return False
        self._taken.pop(way, None)
        self._taken[way] = read.sequence
        if len(self._taken) > _MAX_NODES:
            del self._taken[next(iter(self._taken))]
        keys, clearings = read.keys, findings.clearings
        for key in read.cleared:
            if key not in clearings:  # else what began since stays, however late this comes
                findings.drop(key)
                counting.absolve(key)
        self._count(read)
        for place, at, contact in read.ended:
            counting.ended(keys[place], at, contact)
        for found in read.findings:
            findings.adopt(found)
        for marked in read.linkage:
            findings.outside.linkage.adopt(marked)
        for place, display, pair in read.back:
            counting.called_back(keys[place], display, pair)
        self._hear(node, read)
        return True

    def _count(self, read: Delta) -> None:
        counting, clearings, shares = self._counting, self._findings.clearings, self._shares
        keys, whose, subjects = read.keys, read.whose, self._subjects
        vouched = frozenset(read.vouched)
        came = [0] * len(keys)
        for number, (event, mark) in enumerate(zip(read.events, read.marks, strict=True)):
            if counting.again(mark):
                continue
            at, places = event[0], event[1]
            named = tuple([keys[place] for place in places])
            if shares is not None and len(named) > 1 and subjects.get(named[0]) != named[1]:
                shares.learn(named)
            if self._cap.limit and not whose:  # of the others `passed` tells
                for key in named:
                    self._cap.elsewhere(key, at)
            if whose:
                counted: tuple[Key, ...] | None = picked(named, whose[number])
                for place in places:
                    came[place] += 1
            else:
                counted = None if shares is None else shares.of(named)
            if clearings:
                left = tuple(key for key in named if at > clearings.get(key, -1))
                if counted is None:
                    named = left
                else:
                    counted = tuple(key for key in counted if key in left)
            if counted is None or counted:
                counting.count(call_of(event, named, vouched=number in vouched), None, counted)
        for key, calls in zip(keys, came, strict=True):
            if calls > 1:
                self._thinning.came(key, calls)

    def _hear(self, node: str, read: Delta) -> None:
        counting, keys = self._counting, read.keys
        for place, ended, began in read.runs:
            handovers = counting.handovers.get(keys[place].kind)
            if handovers is not None:
                handovers.heard(keys[place], ended, began)
        for place, display in read.shown:
            counting.hear_shown(display, keys[place])
        for place, *told in read.told:
            counting.heard.hear(keys[place], Told(*told))
        for place, at in read.passed:
            self._cap.elsewhere(keys[place], at)
        for place, level in read.levels:
            self._thinning.hear(node, keys[place], level)
        if read.peers is not None:
            self._peers[node] = read.peers

    def others(self) -> tuple[int, float]:
        """Complaints, and calls that could have led to one, of the keys counted by others."""
        told = list(islice(self._peers.values(), _MAX_NODES))
        return sum(number for number, _ in told), sum(calls for _, calls in told)
