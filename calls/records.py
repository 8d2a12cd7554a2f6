"""Call records of the past through the detector, by the calls' own clock: who would be found.

The same code judges them as judges calls: `signer.analytics` and `verifier.analytics` say whose
conduct a call counts for and what stands against it. Nothing is signed, verified or written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from heapq import heappop, heappush
from math import inf
from typing import Any, Final, TypeAlias

from msgspec import Struct

from zhenxian.analytics.counted import Contact, CountedCall
from zhenxian.analytics.detector import Detector
from zhenxian.analytics.model import Finding, Key, KeyKind, Observation, State, agent
from zhenxian.analytics.sentences import english
from zhenxian.core.tn import TN
from zhenxian.registry.exemptions import against
from zhenxian.registry.footprint import Call
from zhenxian.registry.model import Access, Binding, BindingModel, Registry
from zhenxian.signer.analytics import keys as caller_keys
from zhenxian.signer.analytics import of_customer
from zhenxian.signer.decide import over_cap
from zhenxian.verifier.analytics import AS_USUAL, PooledVerifying

SIGNING, VERIFYING = "signing", "verifying"
MAX_KEYS: Final = 1_000_000  # of which figures are kept; those after it are counted together
MAX_IN_PROGRESS: Final = 200_000  # calls; of more the one that would end first is taken for over
_CACHED: Final = 65_536
_EXPIRE_EVERY: Final = 3_600  # seconds of the calls' clock
_LOOK_EVERY: Final = 10  # likewise
_UNKNOWN: Final = "unknown"
_RECORDS: Final = "call records"  # who passes complaints on


class Row(Struct, frozen=True, gc=False):
    """One call of the past.

    Attributes:
        at: seconds since the epoch.
        access, customer: where it came in, and whose of those who share that; empty for none.
        spc, origid: of the token that it came with; empty for none.
        caller: the number behind a privacy number; None where the display is no such.
        answered: None where that is not known. seconds: of talk, likewise.
        complaint: the callee complained of it.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    at: float
    orig: TN
    dest: TN
    access: str = ""
    customer: str = ""
    spc: str = ""
    origid: str = ""
    caller: TN | None = None
    answered: bool | None = None
    seconds: int | None = None
    complaint: bool = False


class Tally:
    """What became of one key's calls; the numbers are the key's own calls, from 1."""

    __slots__ = ("calls", "found", "labelled", "lowered", "measures", "refusals", "refused", "side")

    def __init__(self, side: str) -> None:
        self.side = side
        self.calls = self.refusals = 0
        self.labelled: int | None = None
        self.lowered: int | None = None
        self.refused: int | None = None
        self.measures: set[str] = set()
        self.found: Finding | None = None

    def add(self, found: Finding | None, *, refuses: bool, lowers: bool) -> None:
        """One more call, and what stood against it."""
        self.calls += 1
        if found is None:
            return
        if found is not self.found:
            self.found = found
            self.measures.update(measure.value for measure in found.measures)
        if self.labelled is None:
            self.labelled = self.calls
        if lowers and self.lowered is None:
            self.lowered = self.calls
        if refuses:
            self.refusals += 1
            if self.refused is None:
                self.refused = self.calls


_End: TypeAlias = tuple[int, Contact, tuple[Key, ...]]
_NEVER: Final = inf


class _Ends:
    """Calls in progress by the second in which they end; of one second in the order of rows.

    Attributes:
        count: how many. first: the earliest second; infinite where there is none.
    """

    __slots__ = ("_by_second", "_seconds", "count", "first")

    def __init__(self) -> None:
        self.first: float = _NEVER
        self._seconds: list[int] = []
        self._by_second: dict[int, list[_End]] = {}
        self.count = 0

    def add(self, at: int, contact: Contact, keys: tuple[Key, ...]) -> None:
        """A call ends at that second."""
        some = self._by_second.get(at)
        if some is None:
            self._by_second[at] = [(at, contact, keys)]
            heappush(self._seconds, at)
            self.first = self._seconds[0]
        else:
            some.append((at, contact, keys))
        self.count += 1

    def take(self) -> list[_End]:
        """Those that end in the earliest second."""
        some = self._by_second.pop(heappop(self._seconds))
        self.first = self._seconds[0] if self._seconds else _NEVER
        self.count -= len(some)
        return some

    def take_one(self) -> _End:
        """The one that ends first."""
        some = self._by_second[self._seconds[0]]
        one = some.pop(0)
        self.count -= 1
        if not some:
            self.take()
        return one


@lru_cache(_CACHED)
def _pair(spc: str, origid: str) -> tuple[Key, ...]:
    return Key(KeyKind.SIGNER, f"{spc}/{origid}"), Key(KeyKind.SPC, spc)


@lru_cache(_CACHED)
def _alone(kind: KeyKind, name: str) -> tuple[Key, ...]:
    return (Key(kind, name),)


class Replay:
    """Takes rows in order of time.

    Attributes:
        tallies: by key, in the order in which they were first seen.
        beyond: calls of keys beyond MAX_KEYS.
        late: rows that came before the one before them.
    """

    def __init__(
        self,
        detector: Detector,
        registry: Registry | None = None,
        held_by: Callable[[str], Iterable[tuple[TN, str]]] = lambda _: (),
        profiled: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Know nothing yet.

        Args:
            registry: who an access is of, which bindings there are, and who is exempt.
            held_by: the numbers that a subject holds, each with the subject.
            profiled: tells the detector what is registered of callers, as of a time.
        """
        self.tallies: dict[Key, Tally] = {}
        self.beyond = 0
        self.late = 0
        self._detector = detector
        self._accused = detector.accused
        self._registry = registry
        self._accesses: dict[str, Access | None] = {}
        self._held_by = held_by
        self._profiled = profiled
        self._callers_of: dict[tuple[str, TN], tuple[Key, ...]] = {}
        self._ends = _Ends()
        self._last = 0.0
        self._expired = self._looked = 0

    def add(self, row: Row) -> None:
        """Judge one call, and count it."""
        at = int(row.at)
        if row.at < self._last:
            self.late += 1
        self._last = max(self._last, row.at)
        ends = self._ends
        while ends.first <= at:
            for over in ends.take():
                self._end(over)
        if at - self._expired >= _EXPIRE_EVERY:
            self._expired = at
            self._detector.expire(at)
        if at - self._looked >= _LOOK_EVERY:
            self._looked = at
            self._profiled(at)
        if row.access or not row.spc:
            self._signing(row, at)
        if row.spc:
            self._verifying(row, at)
        if row.complaint:
            self._complained(row, at)

    def finish(self) -> None:
        """All rows were added: calls in progress end."""
        while self._ends.count:
            for over in self._ends.take():
                self._end(over)

    # -- each side

    def _signing(self, row: Row, at: int) -> None:
        keys, caller = self._callers(row), row.caller
        binding = self._binding(row, keys) if caller is not None else None
        judged = keys
        if binding is not None and caller is not None:
            judged = (*keys, agent(binding.platform, caller))
        found = None
        if not (self._accused.isdisjoint(judged) or self._clear(judged, at)):
            call = self._call(row)
            found = against(keys, self._detector, self._registry, at, binding, caller, call=call)
        if found is None:
            tallies = self.tallies
            for key in judged:
                (tallies.get(key) or self._tally(key, SIGNING)).calls += 1
        else:
            pooled = found.state is State.POOLED
            refuses = pooled or over_cap(found, self._detector, at)
            lowers = pooled or found.lowers
            for key in judged:
                self._tally(key, SIGNING).add(found, refuses=refuses, lowers=lowers)
        bound = binding is not None
        counted = self._detector.counted(
            Observation(
                at=at,
                keys=judged,
                display=row.orig,
                callee=row.dest,
                bound=bound,
                hidden_caller=caller if bound else None,
            )
        )
        if row.answered is not None or row.seconds is not None:
            self._ending(row, at, keys, counted, judged[-1] if bound else None)

    def _binding(self, row: Row, keys: tuple[Key, ...]) -> Binding | None:
        """The binding that permits the display; without a registry, as the row says it is so."""
        if row.caller is None:
            return None
        if self._registry is not None and row.access:
            return self._registry.binding(row.caller, row.orig, row.dest, "", row.at)
        return Binding(
            id="", platform=keys[-1].id, model=BindingModel.AX, x=row.orig, a=row.caller, since=0
        )

    def _verifying(self, row: Row, at: int) -> None:
        keys = _pair(row.spc, row.origid) if row.origid else _alone(KeyKind.SPC, row.spc)
        own: list[Finding | None] = []
        if not self._accused.isdisjoint(keys):
            finding = self._detector.finding
            own = [finding(key, at) for key in keys]
        if not any(own):
            tallies = self.tallies
            for key in keys:
                (tallies.get(key) or self._tally(key, VERIFYING)).calls += 1
        else:
            found = against(keys, self._detector, self._registry, at, None, None, AS_USUAL.weight)
            for key, its in zip(keys, own, strict=True):
                stands = found if key.kind is KeyKind.SIGNER else its
                fails = stands is not None and AS_USUAL.on(stands) is PooledVerifying.FAIL
                self._tally(key, VERIFYING).add(stands, refuses=fails, lowers=fails)
        call = self._detector.counted(
            Observation(
                at=at, keys=keys, display=row.orig, callee=row.dest, origid=row.origid or None
            )
        )
        if row.answered is not None or row.seconds is not None:
            self._ending(row, at, keys, call)

    def _clear(self, keys: tuple[Key, ...], at: int) -> bool:
        """Tell whether nothing stands against any of them; looked at where it may."""
        finding = self._detector.finding
        return all(finding(key, at) is None for key in keys)

    def _call(self, row: Row) -> Call | None:
        """What exemptions and declarations are asked about; None without a registry."""
        access = self._access(row.access) if row.access else None
        if self._registry is None or access is None:
            return None
        return access.subject, row.orig, self._registry.holding(row.orig)

    def _callers(self, row: Row) -> tuple[Key, ...]:
        if self._registry is None or row.customer or not row.access:
            return self._found_callers(row)
        known, asked = self._callers_of, (row.access, row.orig)
        keys = known.get(asked)
        if keys is None:
            keys = self._found_callers(row)
            if len(known) >= _CACHED:
                known.clear()
            known[asked] = keys
        return keys

    def _found_callers(self, row: Row) -> tuple[Key, ...]:
        access = row.access or f"{_UNKNOWN}/{row.origid}".rstrip("/")
        registry = self._registry
        if registry is not None and access in registry.shared:
            customer = registry.customer(access, row.customer or None, row.orig)
            if customer is not None:
                return of_customer(access, customer.id)
        elif row.customer:
            # Who shares an access is judged by itself; the access's other customers are not.
            return _alone(KeyKind.ACCESS, f"{access}/{row.customer}")
        found = self._access(access) if row.access else None
        if found is None or self._registry is None:
            return _alone(KeyKind.ACCESS, access)
        return caller_keys(found, self._registry.holding(row.orig))

    def _access(self, name: str) -> Access | None:
        if self._registry is None:
            return None
        if name not in self._accesses:
            if len(self._accesses) >= _CACHED:
                self._accesses.clear()
                self._callers_of.clear()
            found = self._accesses[name] = self._registry.access(name, None)
            if found is not None and self._detector.marked:
                # Who holds a found caller's numbers is found before its first call.
                self._detector.held(self._held_by(found.subject), int(self._last))
        return self._accesses[name]

    # -- what is reported of calls

    def _ending(
        self,
        row: Row,
        at: int,
        keys: tuple[Key, ...],
        call: CountedCall,
        behind: Key | None = None,
    ) -> None:
        seconds, answered = row.seconds, row.answered
        if answered is None:
            answered = bool(seconds)
        over, pair, display = at + (seconds or 0), call.pair, call.display
        own = None
        if pair is not None and display is not None:
            own = Contact(pair, answered, seconds, display)
        if behind is None and own is not None:
            self._ends.add(over, own, keys)
        else:
            shown = self._detector.met(row.orig, row.dest, answered=answered, seconds=seconds)
            self._ends.add(over, shown, keys)
            if behind is not None and own is not None:
                # Who calls behind a privacy number is judged by the own one, as its calls are.
                self._ends.add(over, own, (behind,))
        if self._ends.count > MAX_IN_PROGRESS:
            self._end(self._ends.take_one())

    def _complained(self, row: Row, at: int) -> None:
        """The callee complains of the call, once it is over."""
        self._detector.complained(row.orig, row.dest, at, _RECORDS)

    def _end(self, over: _End) -> None:
        at, contact, keys = over
        self._detector.over(keys, at, contact)

    def _tally(self, key: Key, side: str) -> Tally:
        found = self.tallies.get(key)
        if found is None:
            found = Tally(side)
            if len(self.tallies) < MAX_KEYS:
                self.tallies[key] = found
            else:
                self.beyond += 1
        return found

    def lines(self) -> Iterator[dict[str, Any]]:
        """One for each key, as `zhenxian replay --json` writes them."""
        for key, tally in self.tallies.items():
            yield {
                "key": str(key),
                "side": tally.side,
                "calls": tally.calls,
                "first_labelled": tally.labelled,
                "first_lowered": tally.lowered,
                "first_refused": tally.refused,
                "refused": tally.refusals,
                "measures": sorted(tally.measures),
                "sentence": self._sentence(key, tally),
            }

    def _sentence(self, key: Key, tally: Tally) -> str:
        if tally.found is not None:
            return english(tally.found)
        lacking = self._detector.would_tell(key, int(self._last))
        return f"cannot tell; would tell: {', and '.join(lacking)}" if lacking else ""
