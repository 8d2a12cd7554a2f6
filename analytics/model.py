"""What goes into the judgement of conduct, and what comes out: values only."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum, IntEnum
from functools import lru_cache
from typing import Annotated, Final, Protocol, TypeAlias

from msgspec import Meta, Struct

from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN

_CACHED: Final = 16_384  # keys; about 4 MB when full

# Seconds since the epoch, as others tell them: up to the year 6325, which can still be written.
Time: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 37)]


class KeyKind(str, Enum):
    """What a key stands for.

    ACCESS and SUBJECT are known on the originating side. The terminating side knows the token's
    SIGNER, which is one (SPC, origid), and its SPC over all origids. AGENT is who calls behind a
    privacy number, one for each platform, wherever the binding is known. RESELLER is through whom
    the subject has the display, over all of its subjects, where it is registered.
    """

    ACCESS = "access"
    SUBJECT = "subject"
    SIGNER = "signer"
    SPC = "spc"
    AGENT = "agent"
    RESELLER = "reseller"


class Key(Struct, frozen=True, order=True, gc=False, cache_hash=True):
    """Whose conduct it is. Ids: "spc/origid" of a SIGNER, "platform/number" of an AGENT."""

    kind: KeyKind
    id: str

    def __str__(self) -> str:
        """As "kind:id", by which people and files name it."""
        return f"{self.kind.value}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read what `str` writes. Raises ConfigError."""
        kind, colon, name = text.partition(":")
        if not colon or not name or kind not in set(KeyKind):
            kinds = ", ".join(kind.value for kind in KeyKind)
            raise ConfigError(f"{text!r}: kind:id expected, with one of the kinds {kinds}")
        if kind == KeyKind.SIGNER and "/" not in name:
            raise ConfigError(f"{text!r}: signer:SPC/ORIGID expected")
        if kind == KeyKind.AGENT and "/" not in name:
            raise ConfigError(f"{text!r}: agent:PLATFORM/NUMBER expected")
        return cls(KeyKind(kind), name)


@lru_cache(_CACHED)
def agent(platform: str, number: TN) -> Key:
    """The key of who calls with that number of the own behind the platform's privacy numbers."""
    return Key(KeyKind.AGENT, f"{platform}/{number}")


class Observation(Struct, frozen=True, gc=False, kw_only=True):
    """One call, as a carrier on its way knows it.

    Attributes:
        at: seconds since the epoch.
        keys: whose conduct the call counts for.
        callee: None when it is no telephone number.
        origid: of the token; None when there is none. Only keys of kind SPC use it.
        bound: a live privacy binding permits the display, so that it is no choice of the caller;
            such a call says nothing of spread, areas or rotation. It counts for an AGENT.
        hidden_caller: number of the caller whom the binding hides, by which the AGENT is judged;
            None when it is not known.
        mark: 56 bits of the token, by which a call that is asked about again, here or at another
            node, counts once; -1 for a call that counts in any case.
        vouched: a carrier vouches fully for the display, and the token was verified.
    """

    at: int
    keys: tuple[Key, ...]
    display: TN
    callee: TN | None
    origid: str | None = None
    bound: bool = False
    mark: int = -1
    hidden_caller: TN | None = None
    vouched: bool = False


class State(IntEnum):
    """How far a key is judged; what is larger is worse."""

    WATCHING = 0
    SUSPECTED = 1
    POOLED = 2


class Measure(str, Enum):
    """What was measured. `analytics.measures` says how."""

    SPREAD = "spread"
    LOCAL_PRESENCE = "local-presence"
    RATE = "rate"
    CONCURRENCY = "concurrency"
    ROTATION = "rotation"
    ORIGIDS = "origids"
    HANDOVER = "handover"
    BINDINGS = "bindings"
    STRANGERS = "strangers"
    LINKAGE = "linkage"
    COMPLAINTS = "complaints"
    OWN_PAST = "own-past"


class Sample(Struct, frozen=True):
    """One call that led to a finding, clear or hashed as configured."""

    at: Time
    display: str
    callee: str | None


class Assessment(Struct, frozen=True, kw_only=True):
    """One measure's figures for one key at one time.

    Attributes:
        strength: how far the weakest of the measure's conditions is met: 1 or more is a pool,
            0 means that too little was seen or that a condition rules it out.
        figures: what was measured, by name.
        thresholds: what a pool reaches, by the name of the figure ("<=" before the name where a
            pool stays below).
        suspicion: 1 or more is a suspicion; None where the strength says so.
        structure: how far the displays alone look like a pool; None where that is the strength.
        would_tell: what would tell a pool from a business, where that is open.
        lowers: a suspicion leads to B at most; else it only labels.
    """

    measure: Measure
    strength: float
    figures: dict[str, float]
    thresholds: dict[str, float]
    suspicion: float | None = None
    structure: float | None = None
    would_tell: tuple[str, ...] = ()
    lowers: bool = True

    def suspected(self, least: float) -> float:
        """How far it is a suspicion: 1 or more is one.

        Args:
            least: the strength that is one, where nothing else says so.
        """
        return self.strength / least if self.suspicion is None else self.suspicion


class Finding(Struct, frozen=True, kw_only=True):
    """Why a key is suspected or pooled.

    Attributes:
        measure, figures, thresholds: as in Assessment; of the strongest measure.
        strength: when it was last confirmed.
        window: seconds that the figures reach back at most.
        samples: some of the latest calls.
        since: seconds since the epoch at which the state began.
        until: when it ends if nothing confirms it again.
        beside: other measures that amount to a pool by themselves, or did and are still near it.
        lowers: as in Assessment.
        case: by which people name it, the same on all nodes; empty where an earlier release found
            it.
    """

    key: Key
    state: State
    measure: Measure
    strength: float
    figures: dict[str, float]
    thresholds: dict[str, float]
    window: int
    samples: tuple[Sample, ...]
    since: Time
    until: Time
    beside: tuple[Measure, ...] = ()
    lowers: bool = True
    case: str = ""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Everything found; whoever is exempt from some of it is not exempt from the rest."""
        return (self.measure, *self.beside)

    @property
    def sentence(self) -> str:
        """For people: what was measured, and what it was held against.

        An agent's number, which is hidden from the callee, is in the key alone.
        """
        measured = "; ".join(
            f"{name} {self.figures[name]:.3g} ({'at most' if most else 'at least'} {limit:.3g})"
            for name, limit, most in (
                (key.removeprefix("<="), value, key.startswith("<="))
                for key, value in self.thresholds.items()
            )
            if name in self.figures
        )
        whose = f"{self.key.kind.value} {self.key.id}"
        if self.key.kind is KeyKind.AGENT:
            whose = f"an agent of {self.key.id.rpartition('/')[0]}"
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case = f"case {self.case}, " if self.case else ""
        return f"{case}{self.measure.value} of {whose} since {since}: {measured}"


class Picture(Struct, frozen=True, kw_only=True):
    """Everything known of a key, whether or not anything was found.

    Attributes:
        calls: within the window, bound ones included.
        counted: share of its displays whose calls were counted throughout; 1 but for those with
            very many.
        first, last: when the oldest known and the latest call began; 0 when there was none.
        measures: one for each measure that is on and applies to keys of this kind.
    """

    key: Key
    state: State
    calls: int
    counted: float = 1.0
    first: Time
    last: Time
    measures: tuple[Assessment, ...]
    finding: Finding | None


class DisplayConduct(Protocol):
    """What signing and verifying ask and tell for each call. Local memory: no wait."""

    def finding(self, key: Key, now: int) -> Finding | None:
        """What stands against a key at this time; None for nothing."""
        ...

    def known(self, key: Key, now: int) -> bool:
        """Tell whether so much is known of a key that it would be found if it were a pool."""
        ...

    def resembles(self, key: Key, since: int) -> bool:
        """Tell whether a caller's own calls look like what its reseller was found for.

        Args:
            since: when the reseller was found, in seconds since the epoch.
        """
        ...

    def observe(self, observation: Observation) -> None:
        """Count one call."""
        ...

    def admits(self, key: Key, now: int, *, count: bool = True) -> bool:
        """Tell whether a suspected caller may make one more call in this minute, and count it.

        Args:
            count: False for a call that is only looked at, or counts otherwise.
        """
        ...
