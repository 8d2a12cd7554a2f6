"""Who may show what, as frozen values, and the protocol that signer and verifier ask.

Subjects, resellers, holdings, accesses, bindings, orders, exemptions, clearings and callees'
refusals are records of one registry. Each has a key within its kind; each change makes a new
version, and no version is ever overwritten.

A record is declared here and nowhere else: the bodies and schemas of the management API, the
columns of CSV files, and the help of the command line are read from its members
(registry.members). The two kinds that are many, holdings and bindings, also have columns of SQL.
"""

from __future__ import annotations

from collections.abc import Container
from enum import Enum
from typing import Annotated, Final, Protocol, TypeAlias

from msgspec import Struct

from zhenxian.analytics.model import KeyKind, Measure
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry import meta
from zhenxian.registry.complaint import Complaint
from zhenxian.registry.customers import Customer, Declaration

MAX_CHAIN: Final = 16  # resellers between carrier and subject; deeper chains are refused
MAX_PAIRS: Final = 5_000  # AXB pairs on one X, as platforms sell them
# Numbers that a person may hold at one carrier, by country code. China: five cards (MIIT, 2016).
PERSON_LIMITS: Final = {"86": 5}
MAX_EXEMPT: Final = 366 * 86_400  # seconds from now that an exemption may last
MOST_AHEAD: Final = 300  # seconds that the clock of another node may be ahead and is believed


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


class Scope(str, Enum):
    """What calls a callee can refuse, by their purpose."""

    MARKETING = "marketing"


class Subject(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A real-name holder (实名主体): the person or enterprise that answers for calls."""

    id: Annotated[str, meta.identifier("How other records name it.", "bank")]
    kind: Annotated[SubjectKind, meta.member("What it is.")] = SubjectKind.ENTERPRISE
    name: Annotated[str, meta.text("Its real name.", "First Bank")] = ""
    document_kind: Annotated[str, meta.identifier("Kind of identity document.", "id-card")] = ""
    document: Annotated[
        str,
        meta.identifier(
            "Keyed hash of the document's kind and number, in hexadecimal, as an earlier answer"
            " has it. One identity is one subject: a second with the same hash is refused."
        ),
    ] = ""
    state: Annotated[State, meta.member("Whether it may take part.")] = State.ACTIVE

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


class Reseller(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One who passes numbers on: an MVNO (虚商), a call centre."""

    id: Annotated[str, meta.identifier("How other records name it.", "mvno-1")]
    name: Annotated[str, meta.text("Its name.")] = ""
    role: Annotated[str, meta.text("What it does.", "mvno", "call centre")] = ""
    parent: Annotated[
        str, meta.identifier("The reseller that it has its numbers from; empty for the carrier.")
    ] = ""
    state: Annotated[State, meta.member("Whether it may take part.")] = State.ACTIVE

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


class Holding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One number or range held by one subject, through a chain carrier, resellers, subject.

    `verified_on` is 0 where there was no verification; rows and bodies then have none.
    """

    numbers: Annotated[TNRange, meta.numbers("8675588880000", "8675588889999")]
    subject: Annotated[
        str, meta.identifier("Id of the real-name holder; never a name or document number.", "bank")
    ]
    verification: Annotated[
        Verification, meta.member("How far the holder's real name is established.")
    ] = Verification.UNVERIFIED
    use: Annotated[Use, meta.member("What the numbers may be used for.")] = Use.DIRECT
    spcs: Annotated[
        tuple[str, ...],
        meta.member(
            "Service provider codes that may sign for them, the carrier's first.", ["1234"]
        ),
    ] = ()
    reseller: Annotated[
        str, meta.identifier("The last reseller before the subject; empty for the carrier.")
    ] = ""
    evidence: Annotated[str, meta.text("What the verification rests on.")] = ""
    verified_on: Annotated[int, meta.instant("When the real name was verified.", 1795500000)] = 0

    @property
    def key(self) -> str:
        """Key within its kind: "first-last", or the number alone."""
        return span(self.numbers)


class Access(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The trunk, account or device a subject's calls come in by."""

    id: Annotated[str, meta.identifier("How the proxy names it.", "bank-trunk")]
    origid: Annotated[
        str,
        meta.origid(
            "Its opaque id in tokens (RFC 8588); a changed one keeps the one before traceable.",
            "123e4567-e89b-12d3-a456-426655440000",
        ),
    ]
    subject: Annotated[str, meta.identifier("Whose calls come in by it.", "bank")]
    kind: Annotated[AccessKind, meta.member("What it is.")] = AccessKind.TRUNK
    state: Annotated[State, meta.member("Whether it may take part.")] = State.ACTIVE
    device: Annotated[str, meta.identifier("IMEI of the device, if it is one and it is known.")] = (
        ""
    )
    sims: Annotated[tuple[str, ...], meta.member("ICCIDs of the SIM cards in the device.")] = ()
    former: Annotated[
        tuple[str, ...],
        meta.origids("Origids that it had before; they trace calls, and sign none."),
    ] = ()

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


class Binding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A permission to show X between two parties (privacy number, 隐私号).

    | model | who may call whom, and what is shown                                       |
    |-------|----------------------------------------------------------------------------|
    | axb   | A calls B, and B calls A; the other sees X                                 |
    | ax    | A calls anybody, anybody calls A (called at X); the other sees X           |
    | axe   | the same; several A share X, each with an extension of its own             |
    | axyb  | A calls B, who sees Y; B calls A, who sees X                               |
    """

    id: Annotated[str, meta.identifier("How the platform names it.", "ride-1")]
    platform: Annotated[
        str, meta.identifier("The subject that lends X; it holds X, and Y.", "ride")
    ]
    model: Annotated[BindingModel, meta.member("Who may call whom, and what is shown.")]
    x: Annotated[TN, meta.member("The display.", "8613800138000")]
    a: Annotated[TN, meta.member("The party whose number is hidden.", "8613900139000")]
    since: Annotated[int, meta.instant("In force from then on.", 1795500000)]
    b: Annotated[
        TN | None, meta.member("The other party; none in ax and axe.", "8613700137000")
    ] = None
    y: Annotated[TN | None, meta.member("The second display, of axyb.", "8613800138001")] = None
    extension: Annotated[str, meta.identifier("Digits that tell who shares X, of axe.", "12")] = ""
    direction: Annotated[Direction, meta.member("Which way it may be called.")] = Direction.BOTH
    until: Annotated[
        int | None, meta.instant("In force to before then; none: until it is ended.")
    ] = None

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


class Order(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instruction of someone entitled that stops a target, until lifted."""

    id: Annotated[str, meta.identifier("How the issuer names it.", "regulator-17")]
    issuer: Annotated[str, meta.identifier("Who ordered, as configured.", "regulator")]
    reference: Annotated[str, meta.text("The legal reference.")]
    kind: Annotated[TargetKind, meta.member("What is stopped.")]
    target: Annotated[
        str,
        meta.identifier(
            'An id, SPC, number, "first-last", or certificate serial in upper-case hexadecimal.'
        ),
    ]
    since: Annotated[int, meta.instant("In force from then on.", 1795500000)]
    number: Annotated[
        int, meta.member("The issuer's own counter; each instruction has a higher one.")
    ]
    token: Annotated[str, meta.member("The signed instruction (JWS) that it came by.")]
    lifted: Annotated[int | None, meta.instant("When it was lifted; none while in force.")] = None
    lifted_by: Annotated[str, meta.identifier("Who lifted it; empty while in force.")] = ""
    lift_token: Annotated[str, meta.member("The signed instruction that lifted it.")] = ""

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


class Exemption(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose findings of conduct have no effect, why, and until when."""

    id: Annotated[str, meta.identifier("How the registrar names it.", "hospital-1")]
    kind: Annotated[KeyKind, meta.member("Whose conduct.", "subject")]
    target: Annotated[
        str,
        meta.target(
            'Id of the access or subject, "access/customer" of a customer, "spc/origid" of the'
            ' signer, the SPC, or "platform/number" of the agent.',
            "hospital",
        ),
    ]
    reason: Annotated[str, meta.text("Why.", "ambulance dispatch")]
    since: Annotated[int, meta.instant("In force from then on.", 1795500000)]
    until: Annotated[
        int, meta.instant("In force to before then, at most 366 days from now.", 1811000000)
    ]
    measures: Annotated[
        tuple[Measure, ...],
        meta.member("From which measures; empty for all.", ["local-presence"]),
    ] = ()
    reference: Annotated[str, meta.text("File number or the like.")] = ""

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


class Clearing(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A finding of conduct that was cleared after an objection: when, by whom, why, what it said.

    Findings last confirmed up to `at` count no more, on any node. It is made once and stays.

    Attributes:
        id: of `clearing_id`; in the order of time.
    """

    id: Annotated[str, meta.identifier("In the order of time.", "01795500000-0a1b2c3d")]
    kind: Annotated[KeyKind, meta.member("Whose conduct, as in an exemption.")]
    target: Annotated[str, meta.target("Whose conduct, as in an exemption.")]
    at: Annotated[int, meta.instant("When it was cleared.")]
    by: Annotated[str, meta.member("Name and id of the API key or person, as in the history.")]
    reason: Annotated[str, meta.text("Why.")]
    state: Annotated[str, meta.member("What stood against it: suspected or pooled.")]
    since: Annotated[int, meta.instant("From when on that stood against it.")]
    measures: Annotated[
        tuple[Measure, ...], meta.member("By which it was found, the strongest first.")
    ]
    sentence: Annotated[
        str, meta.member("Its figures and what they were held against, for people.")
    ]

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id


def clearing_id(at: int, suffix: str = "") -> str:
    """The id of a clearing; without a suffix, where those from that time on begin."""
    return f"{max(0, at):011d}-{suffix}"


class CalleeRefusal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A callee's refusal of calls of some purpose: an entry of a do-not-call register (拒扰).

    Refusals may overlap; each counts. The numbers need not be held by anybody known here.
    """

    numbers: Annotated[TNRange, meta.numbers("8613800138000", "8613800138000")]
    since: Annotated[int, meta.instant("In force from then on.", 1795500000)]
    until: Annotated[
        int | None, meta.instant("In force to before then; none: until it is ended.")
    ] = None
    scopes: Annotated[tuple[Scope, ...], meta.member("What is refused.")] = (Scope.MARKETING,)
    source: Annotated[str, meta.text("By whom and which way it was made.", "callee, hotline")] = ""

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
    COMPLAINT = "complaint"
    CUSTOMER = "customer"
    DECLARATION = "declaration"


Record: TypeAlias = (
    Subject
    | Reseller
    | Holding
    | Access
    | Binding
    | Order
    | Exemption
    | CalleeRefusal
    | Clearing
    | Complaint
    | Customer
    | Declaration
)

NAMES: Final = {  # of the kinds whose records are written as such: plurals, as paths have them
    Kind.SUBJECT: "subjects",
    Kind.RESELLER: "resellers",
    Kind.HOLDING: "holdings",
    Kind.ACCESS: "accesses",
    Kind.BINDING: "bindings",
    Kind.EXEMPTION: "exemptions",
    Kind.REFUSAL: "refusals",
    Kind.CUSTOMER: "customers",
    Kind.DECLARATION: "declarations",
}

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
    Kind.COMPLAINT: Complaint,
    Kind.CUSTOMER: Customer,
    Kind.DECLARATION: Declaration,
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

    @property
    def shared(self) -> Container[str]:
        """Ids of the accesses that have customers; of all others `customer` need not be asked."""
        ...

    def customer(self, access: str, name: str | None, display: TN | None) -> Customer | None:
        """The customer of an access whom a call is of; None for the access itself.

        Args:
            name: by which the request names one; then the display does not count.
        """
        ...

    def declarations(self, subject: str, now: int) -> list[Declaration]:
        """What the subject declares of its calls, as in force."""
        ...


class Who(Struct, frozen=True):
    """Everyone and everything a call involves, as orders may name them."""

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    subjects: tuple[str, ...] = ()
    resellers: tuple[str, ...] = ()
    spcs: tuple[str, ...] = ()
    numbers: tuple[TN, ...] = ()
    serial: str = ""
