"""Who may show what, as frozen values, and the protocol that signer and verifier ask.

Subjects, resellers, holdings, accesses, bindings, orders, exemptions, clearings and callees'
refusals are records of one registry. Each has a key within its kind; each change makes a new
version, and no version is ever overwritten.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

from zhenxian.core.tn import TN, TNRange

MAX_CHAIN: Final = 16  # resellers between carrier and subject; deeper chains are refused
MAX_PAIRS: Final = 5_000  # AXB pairs on one X, as platforms sell them
MAX_EXEMPT: Final = 366 * 86_400  # seconds from now that an exemption may last


class Verification(str, Enum):
    """How far the real name behind a holding is established (实名核验)."""

    UNVERIFIED = "unverified"
    VERIFIED = "verified"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Use(str, Enum):
    """What a held number may be used for."""

    DIRECT = "direct"
    PRIVACY = "privacy"
    DO_NOT_ORIGINATE = "do-not-originate"


class State(str, Enum):
    """Whether a subject, reseller or access may take part at all."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class SubjectKind(str, Enum):
    """What a real-name holder is."""

    PERSON = "person"
    ENTERPRISE = "enterprise"


class AccessKind(str, Enum):
    """What an access is."""

    TRUNK = "trunk"
    ACCOUNT = "account"
    DEVICE = "device"


class BindingModel(str, Enum):
    """The models privacy-number platforms sell."""

    AXB = "axb"
    AX = "ax"
    AXE = "axe"
    AXYB = "axyb"


class Direction(str, Enum):
    """Which way a binding may be called."""

    BOTH = "both"
    A_TO_B = "a-to-b"
    B_TO_A = "b-to-a"


class TargetKind(str, Enum):
    """What an order can stop."""

    SUBJECT = "subject"
    RESELLER = "reseller"
    SPC = "spc"
    RANGE = "range"
    NUMBER = "number"
    CERTIFICATE = "certificate"


class ConductKind(str, Enum):
    """Whose conduct can be exempted; the words of analytics.model.KeyKind."""

    ACCESS = "access"
    SUBJECT = "subject"
    SIGNER = "signer"
    SPC = "spc"
    AGENT = "agent"


class ConductMeasure(str, Enum):
    """From what it can be exempted; the words of analytics.model.Measure."""

    SPREAD = "spread"
    LOCAL_PRESENCE = "local-presence"
    RATE = "rate"
    CONCURRENCY = "concurrency"
    ROTATION = "rotation"
    ORIGIDS = "origids"
    HANDOVER = "handover"
    BINDINGS = "bindings"
    STRANGERS = "strangers"


class Scope(str, Enum):
    """What calls a callee can refuse, by their purpose."""

    MARKETING = "marketing"


class Subject(Struct, frozen=True, omit_defaults=True):
    """A real-name holder (实名主体): the person or enterprise that answers for calls.

    Attributes:
        document_kind: kind of identity document, such as "id-card" or "business-licence".
        document: keyed hash of kind and number, hexadecimal; empty when none was shown. One
            identity is one subject: a second with the same hash is refused.
    """

    id: str
    kind: SubjectKind = SubjectKind.ENTERPRISE
    name: str = ""
    document_kind: str = ""
    document: str = ""
    state: State = State.ACTIVE

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


class Reseller(Struct, frozen=True, omit_defaults=True):
    """One who passes numbers on: an MVNO (虚商), a call centre.

    Attributes:
        parent: the reseller it has its numbers from; empty when that is the carrier itself.
        role: free text, such as "mvno" or "call centre".
    """

    id: str
    name: str = ""
    role: str = ""
    parent: str = ""
    state: State = State.ACTIVE

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


class Holding(Struct, frozen=True, omit_defaults=True):
    """One number or range held by one subject, through a chain carrier, resellers, subject.

    Attributes:
        subject: id of the real-name holder; never a name or document number.
        spcs: service provider codes that may sign for the numbers; empty when not known. The
            first is the carrier's.
        reseller: the last reseller before the subject; empty when the carrier serves it.
        evidence: reference of what the verification rests on.
        verified_on: seconds since the epoch of the verification; 0 when there was none.
    """

    numbers: TNRange
    subject: str
    verification: Verification = Verification.UNVERIFIED
    use: Use = Use.DIRECT
    spcs: tuple[str, ...] = ()
    reseller: str = ""
    evidence: str = ""
    verified_on: int = 0

    @property
    def key(self) -> str:
        """Key within its kind: "first-last", or the number alone."""
        return span(self.numbers)


class Access(Struct, frozen=True, omit_defaults=True):
    """The trunk, account or device a subject's calls come in by.

    Attributes:
        id: how the proxy names it.
        origid: its opaque id in tokens (RFC 8588 section 5).
        device: IMEI of a device; empty when it is none or not known.
        sims: ICCIDs of the SIM cards in the device.
        former: origids it had before; they trace calls, and sign none.
    """

    id: str
    origid: str
    subject: str
    kind: AccessKind = AccessKind.TRUNK
    state: State = State.ACTIVE
    device: str = ""
    sims: tuple[str, ...] = ()
    former: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


class Binding(Struct, frozen=True, omit_defaults=True):
    """A permission to show X between two parties (privacy number, 隐私号).

    | model | who may call whom, and what is shown                                       |
    |-------|----------------------------------------------------------------------------|
    | axb   | A calls B, and B calls A; the other sees X                                 |
    | ax    | A calls anybody, anybody calls A (called at X); the other sees X           |
    | axe   | the same; several A share X, each with an extension of its own             |
    | axyb  | A calls B, who sees Y; B calls A, who sees X                               |

    Attributes:
        platform: subject that lends X; it must hold X (and Y).
        x: the display. y: the second display of axyb.
        b: None in ax and axe.
        extension: digits, axe only.
        since, until: seconds since the epoch; in force from `since` to before `until`.
    """

    id: str
    platform: str
    model: BindingModel
    x: TN
    a: TN
    since: int
    b: TN | None = None
    y: TN | None = None
    extension: str = ""
    direction: Direction = Direction.BOTH
    until: int | None = None

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id

    def active(self, now: float) -> bool:
        """True while it is in force. `now` in seconds, with its fraction: it ends mid-second."""
        return self.since <= now and (self.until is None or now < self.until)

    def permits(self, caller: TN, display: TN, callee: TN, extension: str) -> bool:
        """True when the caller may be shown to the callee as the display, time aside."""
        outward = self.direction is not Direction.B_TO_A
        inward = self.direction is not Direction.A_TO_B
        if self.model is BindingModel.AXB:
            pair = (caller, callee)
            return display == self.x and (
                (outward and pair == (self.a, self.b)) or (inward and pair == (self.b, self.a))
            )
        if self.model is BindingModel.AXYB:
            return (outward and (caller, display, callee) == (self.a, self.y, self.b)) or (
                inward and (caller, display, callee) == (self.b, self.x, self.a)
            )
        if display != self.x:
            return False
        if self.model is BindingModel.AXE and extension and extension != self.extension:
            return False
        return (outward and caller == self.a) or (inward and callee == self.a)

    def shows(self, display: TN, callee: TN) -> bool:
        """True when the callee may see the display, time aside; the caller is not asked."""
        callers = (self.a, self.b, callee)
        return any(self.permits(one, display, callee, "") for one in callers if one is not None)

    def caller(self, display: TN, callee: TN) -> TN | None:
        """Who calls when the callee sees the display; None when that may be anybody.

        Of axe that is so on the way out, too: whoever shares X shows the same, and no extension.
        """
        if self.model is BindingModel.AXE or (callee == self.a and self.b is None):
            return None
        callers = (one for one in (self.a, self.b) if one is not None)
        return next((one for one in callers if self.permits(one, display, callee, "")), None)


class Order(Struct, frozen=True, omit_defaults=True):
    """An instruction of someone entitled that stops a target, until lifted.

    Attributes:
        issuer: who ordered, as configured. reference: the legal reference.
        target: an id, SPC, number, "first-last", or certificate serial in upper-case hexadecimal.
        since: seconds since the epoch.
        number: the issuer's own counter; each instruction of an issuer has a higher one.
        token: the signed instruction (JWS) it came by.
        lifted, lifted_by, lift_token: when and by whom it was lifted; None while in force.
    """

    id: str
    issuer: str
    reference: str
    kind: TargetKind
    target: str
    since: int
    number: int
    token: str
    lifted: int | None = None
    lifted_by: str = ""
    lift_token: str = ""

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


class Exemption(Struct, frozen=True, omit_defaults=True):
    """Whose findings of conduct have no effect, why, and until when.

    Attributes:
        kind, target: whose conduct: id of an access or subject (originating side); "spc/origid"
            of a signer, or an SPC (terminating side); "platform/number" of an agent.
        reason: such as "ambulance dispatch".
        since, until: seconds since the epoch; in force from `since` to before `until`.
        measures: from which measures; empty for all.
        reference: file number or the like.
    """

    id: str
    kind: ConductKind
    target: str
    reason: str
    since: int
    until: int
    measures: tuple[ConductMeasure, ...] = ()
    reference: str = ""

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id

    def active(self, now: float) -> bool:
        """True while it is in force."""
        return self.since <= now < self.until

    def covers(self, measure: str) -> bool:
        """True when findings of that measure have no effect."""
        return not self.measures or measure in self.measures


class Clearing(Struct, frozen=True, omit_defaults=True):
    """A finding of conduct that was cleared after an objection: when, by whom, why, what it said.

    Findings last confirmed up to `at` count no more, on any node. It is made once and stays.

    Attributes:
        id: of `clearing_id`; in the order of time.
        kind, target: whose conduct, as in Exemption.
        at: seconds since the epoch.
        by: name and id of the API key or person, as in the history.
        state: what stood against it, "suspected" or "pooled". since: from when on.
        measures: by which it was found, the strongest first.
        sentence: its figures and what they were held against, for people.
    """

    id: str
    kind: ConductKind
    target: str
    at: int
    by: str
    reason: str
    state: str
    since: int
    measures: tuple[ConductMeasure, ...]
    sentence: str

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


def clearing_id(at: int, suffix: str = "") -> str:
    """The id of a clearing; without a suffix, where those from that time on begin."""
    return f"{max(0, at):011d}-{suffix}"


class CalleeRefusal(Struct, frozen=True, omit_defaults=True):
    """A callee's refusal of calls of some purpose: an entry of a do-not-call register (拒扰).

    Refusals may overlap; each counts. The numbers need not be held by anybody known here.

    Attributes:
        since, until: seconds since the epoch; in force from `since` to before `until`.
        source: by whom and which way it was made, such as "callee, hotline".
    """

    numbers: TNRange
    since: int
    until: int | None = None
    scopes: tuple[Scope, ...] = (Scope.MARKETING,)
    source: str = ""

    @property
    def key(self) -> str:
        """Key within its kind: "first-last", or the number alone."""
        return span(self.numbers)

    def active(self, now: float) -> bool:
        """True while it is in force."""
        return self.since <= now and (self.until is None or now < self.until)


class Kind(str, Enum):
    """The kinds of record."""

    SUBJECT = "subject"
    RESELLER = "reseller"
    HOLDING = "holding"
    ACCESS = "access"
    BINDING = "binding"
    ORDER = "order"
    EXEMPTION = "exemption"
    REFUSAL = "refusal"
    CLEARING = "clearing"


Record: TypeAlias = (
    Subject | Reseller | Holding | Access | Binding | Order | Exemption | CalleeRefusal | Clearing
)

TYPES: Final[dict[Kind, type[Record]]] = {
    Kind.SUBJECT: Subject,
    Kind.RESELLER: Reseller,
    Kind.HOLDING: Holding,
    Kind.ACCESS: Access,
    Kind.BINDING: Binding,
    Kind.ORDER: Order,
    Kind.EXEMPTION: Exemption,
    Kind.REFUSAL: CalleeRefusal,
    Kind.CLEARING: Clearing,
}
KINDS: Final[dict[type[Record], Kind]] = {kind: name for name, kind in TYPES.items()}


def span(numbers: TNRange) -> str:
    """A range as "first-last"; a single number as itself."""
    first, last = numbers.first, numbers.last
    return str(first) if first == last else f"{first}-{last}"


class Standing(Struct, frozen=True):
    """A subject and the resellers it comes through, as they stand now.

    Attributes:
        subject: None when the id is not registered.
        chain: ids of the resellers, carrier's side first.
        closed_by: the reseller or subject that is suspended or closed; None when all are active.
    """

    subject: Subject | None
    chain: tuple[str, ...] = ()
    closed_by: str | None = None


class Registry(Protocol):
    """What signing and verifying ask. Local memory or file: no wait, no round trip.

    When the registry cannot be asked every method raises StoreUnavailableError; signing then
    gives nothing above C, and verifying leaves the holder's check out and says so.
    """

    @property
    def current(self) -> bool:
        """False when the local copy may lag further behind than is permitted: no A then."""
        ...

    def holding(self, tn: TN) -> Holding | None:
        """The most specific holding that covers the number."""
        ...

    def access(self, name: str | None, origid: str | None) -> Access | None:
        """The access of that id, else the one with that origid."""
        ...

    def standing(self, subject: str, reseller: str = "") -> Standing:
        """How the subject and the chain of resellers before it stand."""
        ...

    def binding(
        self, caller: TN, display: TN, callee: TN, extension: str, now: float
    ) -> Binding | None:
        """An active binding that permits the display."""
        ...

    def shown(self, display: TN, callee: TN, now: float) -> Binding | None:
        """An active binding that shows the display to the callee, whoever calls."""
        ...

    def order(self, who: Who, now: int) -> Order | None:
        """An order in force that covers any of these; the oldest of several."""
        ...

    def exemption(self, kind: str, target: str, now: int) -> Exemption | None:
        """The exemption of that conduct in force, one at most; look at its measures too.

        Args:
            kind, target: kind and id of an analytics.model.Key.
        """
        ...

    def refusal(self, callee: TN, scope: Scope, now: int) -> CalleeRefusal | None:
        """A refusal of the callee in force, of calls of that scope."""
        ...


class Who(Struct, frozen=True):
    """Everyone and everything a call involves, as orders may name them."""

    subjects: tuple[str, ...] = ()
    resellers: tuple[str, ...] = ()
    spcs: tuple[str, ...] = ()
    numbers: tuple[TN, ...] = ()
    serial: str = ""
