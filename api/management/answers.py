"""The answers of administration, member by member.

The shapes of records come from registry.model: a record is told with all its members, numbers as
text, a range as `first` and `last` (registry.forms.row_of).
"""

from __future__ import annotations

from functools import lru_cache
from types import GenericAlias
from typing import Annotated, Any, Final, Literal, NotRequired, TypeAlias, TypedDict

from msgspec import UNSET, Meta, UnsetType, defstruct

from zhenxian.analytics.model import Measure
from zhenxian.api.calls.answers import FindingAnswer
from zhenxian.core.tn import TN
from zhenxian.registry.complaint import Grievance
from zhenxian.registry.kinds import NumberKind
from zhenxian.registry.members import MEMBERS, Member
from zhenxian.registry.meta import Form
from zhenxian.registry.model import TYPES, Kind

Seconds: TypeAlias = Annotated[int, Meta(description="Seconds since the epoch.")]
Following: TypeAlias = Annotated[
    str | None, Meta(description="`after` of the next page; null when this is the last.")
]

PRIVATE: Final = ("name", "document_kind", "document")  # of a subject, told to whom it concerns
_NAMES: Final = {
    Kind.SUBJECT: "Subject",
    Kind.RESELLER: "Reseller",
    Kind.HOLDING: "Holding",
    Kind.ACCESS: "Access",
    Kind.BINDING: "Binding",
    Kind.EXEMPTION: "Exemption",
    Kind.REFUSAL: "Refusal",
    Kind.ORDER: "Order",
    Kind.CUSTOMER: "Customer",
    Kind.DECLARATION: "Declaration",
}


class Problem(TypedDict):
    """Why something was not done (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


def _list(of: Any) -> Any:
    return GenericAlias(list, (of,))


def _members(kind: Kind) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for member in MEMBERS[kind]:
        told = Meta(description=member.meaning, examples=member.schema.get("examples"))
        of: Any = Annotated[_type(member), told]
        if kind is Kind.SUBJECT and member.name in PRIVATE:
            found.append((member.name, of | UnsetType, UNSET))
        else:
            found.append((member.name, of))
    return found


def _type(member: Member) -> Any:
    """What a member is in an answer, which has all members."""
    of: Any = member.choices or (int if member.form in (Form.TIME, Form.COUNT) else str)
    if member.is_list:
        return _list(of)
    return of | None if member.nullable else of


def _record(kind: Kind) -> Any:
    version = Annotated[
        int, Meta(description="Of this state of the record, as in ETag; not within a history.")
    ]
    return defstruct(
        f"{_NAMES[kind]}Record",
        [*_members(kind), ("version", version | UnsetType, UNSET)],
        namespace={"__doc__": (TYPES[kind].__doc__ or "").partition("\n")[0]},
        kw_only=True,
    )


class ImportedAnswer(TypedDict):
    """Of what a commit of an import is made."""

    kind: str
    count: Annotated[int, Meta(description="So many records in this commit.")]
    file: Annotated[str, Meta(description="The file's name; empty where it was not told.")]
    digest: Annotated[str, Meta(description='"sha-256:" and that of the file, in hex.')]


def _version(kind: Kind) -> Any:
    return defstruct(
        f"{_NAMES[kind]}Version",
        [
            ("version", int),
            ("time", Seconds),
            ("author", Annotated[str, Meta(description="Name and id of the key that asked.")]),
            ("reason", str),
            ("record", RECORDS[kind] | None),
            ("imported", ImportedAnswer | UnsetType, UNSET),
        ],
        namespace={"__doc__": "One version of a record; null for a record that was ended."},
    )


RECORDS: Final[dict[Kind, Any]] = {kind: _record(kind) for kind in _NAMES}
VERSIONS: Final[dict[Kind, Any]] = {kind: _version(kind) for kind in _NAMES}
HISTORIES: Final[dict[Kind, Any]] = {
    kind: defstruct(
        f"{name}History",
        [("versions", _list(VERSIONS[kind]))],
        namespace={"__doc__": "All versions of a record."},
    )
    for kind, name in _NAMES.items()
}


@lru_cache
def page_type(kind: Kind, name: str) -> Any:
    """The type of a page of records, which stand in it under `name`."""
    listed = _list(RECORDS[kind])
    return defstruct(
        f"{_NAMES[kind]}Page",
        [(name, listed), ("following", Following)],
        namespace={"__doc__": "Some of the records, in the order of their keys."},
    )


class RejectedRow(TypedDict):
    """A row of a batch that was not taken."""

    row: Annotated[int, Meta(description="From 0.")]
    detail: str


class BatchAnswer(TypedDict):
    """What became of a batch."""

    accepted: Annotated[int, Meta(description="So many rows.")]
    taken_out: Annotated[int, Meta(description="Of these, out of ranges of other subjects.")]
    rejected: list[RejectedRow]
    version: Annotated[int | None, Meta(description="Of the last commit; null without any.")]


class BatchProblem(Problem):
    """Why nothing of a batch was written."""

    rejected: NotRequired[list[RejectedRow]]


class Acknowledgement(TypedDict):
    """A node's signed statement that it obeys an order."""

    node: str
    token: Annotated[str, Meta(description="Compact JWS of the node.")]
    key: Annotated[str, Meta(description="The node's public key, a JWK as text.")]


class NodeAnswer(TypedDict):
    """A node that answers calls."""

    node: str
    seen: Seconds
    cursor: Annotated[int, Meta(description="The last commit that it has.")]
    version: NotRequired[Annotated[str, Meta(description="Of its program.")]]
    key: Annotated[str, Meta(description="Its public key, a JWK as text.")]


Pinned: TypeAlias = Annotated[
    dict[str, list[str]] | None,
    Meta(description="Keys that are configured for each node; null when none are."),
]


class NodesAnswer(TypedDict):
    """The nodes that answer calls."""

    nodes: list[NodeAnswer]
    pins: Pinned


AcknowledgementsAnswer: Final[Any] = defstruct(
    "AcknowledgementsAnswer",
    [
        ("order", RECORDS[Kind.ORDER]),
        ("acknowledgements", list[Acknowledgement]),
        ("nodes", list[NodeAnswer]),
        ("pins", Pinned),
    ],
    namespace={"__doc__": "An order, and the nodes that obey it."},
)

_NUMBER: Final[list[tuple[str, Any]]] = [
    ("number", TN),
    ("kind", NumberKind),
    ("label", str),
    ("label_zh", str),
    ("chain", Annotated[list[str], Meta(description="Resellers, the carrier's side first.")]),
]
NumberNow: Final[Any] = defstruct(
    "NumberNow",
    [
        *_NUMBER,
        ("holdings", _list(RECORDS[Kind.HOLDING])),
        ("order", RECORDS[Kind.ORDER] | None),
    ],
    namespace={"__doc__": "Who may show a number now; the most specific holding first."},
)
NumberThen: Final[Any] = defstruct(
    "NumberThen",
    [*_NUMBER, ("at", Seconds), ("holding", VERSIONS[Kind.HOLDING] | None)],
    namespace={"__doc__": "Who might show a number at a past instant."},
)


class TracedCall(TypedDict):
    """When and by which node a call was signed that had an origid of its own."""

    at: Seconds
    node: str


TracedAccess: Final[Any] = defstruct(
    "TracedAccess",
    [
        *_members(Kind.ACCESS),
        ("current", Annotated[bool, Meta(description="The origid is its own now.")]),
        ("call", TracedCall | UnsetType, UNSET),
        (
            "customer",
            Annotated[str, Meta(description="Id of the customer whose origid it is.")] | UnsetType,
            UNSET,
        ),
    ],
    namespace={"__doc__": "The access that an origid is or was of."},
)


class TracedOrigid(TypedDict):
    """What a call's origid was given for, where no access of that id is registered any more."""

    id: str | None
    origid: str
    current: bool
    call: TracedCall


class Touched(TypedDict):
    """A record that a commit changed."""

    kind: Kind
    key: str


class CommitAnswer(TypedDict):
    """One commit."""

    seq: Annotated[int, Meta(description="Its place, from 1, without gaps.")]
    time: Seconds
    author: str
    reason: str
    changed: list[Touched]
    many: Annotated[bool, Meta(description="Of an import; `changed` is empty.")]
    imported: NotRequired[ImportedAnswer]


class ChangesAnswer(TypedDict):
    """Some of the commits, in order."""

    changes: list[CommitAnswer]
    following: Annotated[int | None, Meta(description="`after` of the next page.")]


class FindingsPage(TypedDict):
    """Who is found suspected or pooled, in the order of the keys."""

    findings: list[FindingAnswer]
    following: Following


class MeasureAnswer(TypedDict):
    """One measure's figures."""

    measure: Measure
    strength: Annotated[float, Meta(description="1 or more is a pool.")]
    figures: dict[str, float]
    thresholds: dict[str, float]
    suspicion: Annotated[
        float | None,
        Meta(description="1 or more is a suspicion; null where the strength says so."),
    ]
    wouldTell: Annotated[
        list[str], Meta(description="What would tell a pool from a business, where that is open.")
    ]


class SampleAnswer(TypedDict):
    """One call that led to a finding, in clear or hashed as configured."""

    at: Seconds
    display: str
    callee: str | None


KeyState: TypeAlias = Annotated[Literal["watching", "suspected", "pooled"], Meta(title="KeyState")]


class PictureAnswer(TypedDict):
    """All figures of a key."""

    key: str
    state: KeyState
    calls: Annotated[int, Meta(description="Within the window, of the displays counted.")]
    counted: Annotated[
        float,
        Meta(
            description="Share of the displays whose calls were counted throughout: 1, but for a"
            " key with thousands of calls a second in a fleet."
        ),
    ]
    first: Annotated[int, Meta(description="Seconds since the epoch; 0 without a call.")]
    last: Annotated[int, Meta(description="Seconds since the epoch; 0 without a call.")]
    measures: list[MeasureAnswer]
    finding: FindingAnswer | None
    samples: list[SampleAnswer]


class EndedAnswer(TypedDict):
    """What was taken of a report that calls are over."""

    taken: Annotated[int, Meta(description="Keys that were told.")]


class ClearingAnswer(TypedDict):
    """A finding that was cleared after an objection."""

    id: str
    key: str
    at: Seconds
    by: str
    reason: str
    state: KeyState
    since: Seconds
    measures: list[Measure]
    sentence: str


class ClearedCaller(TypedDict):
    """Everything of one caller that was cleared."""

    clearings: list[ClearingAnswer]


class ComplaintAnswer(TypedDict):
    """A complaint on record."""

    id: str
    at: Annotated[int, Meta(description="When the call was: seconds since the epoch.")]
    orig: Annotated[str, Meta(description="The number that was shown.")]
    dest: Annotated[str, Meta(description="Who was called, and complains.")]
    kind: Grievance
    source: Annotated[str, Meta(description="Who passed it on: id of the API key.")]
    reference: Annotated[str, Meta(description="How the source names it.")]


class ComplaintsPage(TypedDict):
    """Complaints, in the order of the calls."""

    complaints: list[ComplaintAnswer]
    following: Following


class ComplaintsTaken(TypedDict):
    """What was taken of a report of complaints."""

    taken: Annotated[int, Meta(description="Put on record now.")]
    known: Annotated[int, Meta(description="On record before, or twice in the request.")]
    ids: Annotated[list[str], Meta(description="Of the complaints, each once.")]


class ClearingsPage(TypedDict):
    """What was cleared, the earliest first."""

    clearings: list[ClearingAnswer]
    following: Following


class RefusedLine(TypedDict):
    """A line of an import that was not taken."""

    line: Annotated[int, Meta(description="From 1, the header's.")]
    reason: str


class RefusedFor(TypedDict):
    """A reason for which lines were not taken, without what the lines say."""

    reason: str
    count: Annotated[int, Meta(description="So many lines.")]
    line: Annotated[int, Meta(description="The first of these.")]


class ImportAnswer(TypedDict):
    """What became of the rows of an import."""

    rows: Annotated[int, Meta(description="Rows read, without those passed over.")]
    changed: Annotated[int, Meta(description="Rows registered.")]
    unchanged: Annotated[int, Meta(description="Rows that were registered so already.")]
    taken_out: Annotated[
        int, Meta(description="Of those registered, out of ranges of other subjects.")
    ]
    rejections: Annotated[int, Meta(description="Rows refused, all of them.")]
    rejected: Annotated[list[RefusedLine], Meta(description="The first of these.")]
    reasons: Annotated[list[RefusedFor], Meta(description="Why: each reason once.")]
    written: Annotated[bool, Meta(description="False for a dry run.")]


class ImportProblem(Problem, total=False):
    """Why nothing was imported; where rows were refused, the report's members stand beside."""

    rows: int
    changed: int
    unchanged: int
    taken_out: int
    rejections: int
    rejected: list[RefusedLine]
    reasons: list[RefusedFor]
    written: bool


class ProgressAnswer(TypedDict):
    """How far a named import came."""

    line: int


class LostRecord(TypedDict):
    """A record that lost commits changed."""

    kind: Kind
    key: str


class LostCommitAnswer(TypedDict):
    """A commit that Redis lost."""

    seq: int
    time: Seconds
    author: str
    reason: str
    changed: Annotated[list[LostRecord], Meta(description="The first of these.")]


class LossesAnswer(TypedDict):
    """What Redis lost of this node's registry, until somebody has looked."""

    count: Annotated[int, Meta(description="Commits that were lost.")]
    commits: Annotated[list[LostCommitAnswer], Meta(description="The last of these.")]
    held: Annotated[
        list[LostRecord],
        Meta(description="Stay as strict on this node as the lost commits had left them."),
    ]
    beyond: Annotated[
        bool, Meta(description="Too many to hold each: nothing is signed above B here.")
    ]


class ClockAnswer(TypedDict):
    """A node's clock, and what contradicts it."""

    time: Seconds
    doubts: Annotated[
        list[str], Meta(description="While there is one, nothing is registered through this node.")
    ]


class HealthAnswer(TypedDict):
    """The process is alive."""

    status: Literal["ok"]


class ReadinessAnswer(TypedDict):
    """Whether it can sign and verify, and what is to be looked at."""

    status: Literal["ok", "not ready"]
    problems: list[str]
    remarks: NotRequired[list[str]]
