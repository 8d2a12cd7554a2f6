"""Who may do what over HTTP: one table, which routes enforce and docs/permissions.md is made from.

A role that is not named may not. A key with several roles may what any of them may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar

from zhenxian.api.auth import Role
from zhenxian.registry.model import NAMES

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., object])


class Thing(str, Enum):
    """What is asked for: records of a kind, or something else."""

    CALLS = "calls"
    SUBJECTS = "subjects"
    IDENTITIES = "identities"
    RESELLERS = "resellers"
    HOLDINGS = "holdings"
    ACCESSES = "accesses"
    BINDINGS = "bindings"
    EXEMPTIONS = "exemptions"
    REFUSALS = "refusals"
    SHEETS = "sheets"
    ORDERS = "orders"
    NODES = "nodes"
    NUMBERS = "numbers"
    ORIGIDS = "origids"
    CHANGES = "changes"
    DISPLAYS = "displays"
    CLEARINGS = "clearings"
    COMPLAINTS = "complaints"
    LOSSES = "losses"
    CLOCK = "clock"
    METRICS = "metrics"
    HEALTH = "health"
    DOCUMENTS = "documents"
    CERTIFICATES = "certificates"
    CONTACT = "contact"


class Action(str, Enum):
    """What is done with it."""

    ASK = "ask"
    READ = "read"
    PUT = "put"
    END = "end"
    IMPORT = "import"
    EXPORT = "export"
    GIVE = "give"
    CLEAR = "clear"
    REPORT = "report"
    ACKNOWLEDGE = "acknowledge"
    ACCEPT = "accept"


class Permission(NamedTuple):
    """One entry of the table: an action on a thing."""

    thing: Thing
    action: Action


RECORDS: Final = {kind: Thing(name) for kind, name in NAMES.items()}

THINGS: Final[Mapping[Thing, str]] = {
    Thing.CALLS: "calls, to be signed or verified",
    Thing.SUBJECTS: "subjects (real-name holders)",
    Thing.IDENTITIES: "name and identity document of a subject, wherever it is shown",
    Thing.RESELLERS: "resellers",
    Thing.HOLDINGS: "holdings of numbers",
    Thing.ACCESSES: "accesses and their origids",
    Thing.BINDINGS: "bindings of privacy numbers",
    Thing.EXEMPTIONS: "exemptions from findings",
    Thing.REFUSALS: "callees' refusals",
    Thing.SHEETS: "all records of one kind, as CSV",
    Thing.ORDERS: "orders, and which nodes obey them",
    Thing.NODES: "the nodes that answer calls",
    Thing.NUMBERS: "who holds a number, now or then",
    Thing.ORIGIDS: "whose an origid is or was",
    Thing.CHANGES: "the list of all changes",
    Thing.DISPLAYS: "figures and findings about callers and signers",
    Thing.CLEARINGS: "findings that were cleared",
    Thing.COMPLAINTS: "callees' complaints of calls",
    Thing.LOSSES: "commits that a fleet's Redis lost, and what stays strict for them",
    Thing.CLOCK: "this node's clock, and what contradicts it",
    Thing.METRICS: "metrics",
    Thing.HEALTH: "`/healthz`, `/readyz`",
    Thing.DOCUMENTS: "the documentation of the API",
    Thing.CERTIFICATES: "published certificates",
    Thing.CONTACT: "the contact for redress (RFC 8688)",
}

ROLES: Final[Mapping[Role, str]] = {
    Role.PROXY: "signs and verifies calls",
    Role.REGISTRAR: "keeps the records and clears findings",
    Role.PLATFORM: "keeps the bindings of its own subject",
    Role.REGULATOR: "gives orders, ends exemptions, and reads all records and their history",
    Role.AUDITOR: "reads all records and their history",
    Role.OPERATOR: "reads the metrics and the records, without names and identity documents;"
    " accepts a node's clock",
    Role.COMPLAINTS: "passes on complaints of callees",
}

OF_ITS_OWN: Final = frozenset({Role.PLATFORM})  # a role that reaches only its own subject's
ANYBODY: Final[tuple[Role, ...]] = ()  # no credentials are asked for

_ALL_BUT_PLATFORM: Final = (Role.REGISTRAR, Role.REGULATOR, Role.AUDITOR, Role.OPERATOR)
_KEEPS: Final = (Role.REGISTRAR,)

_RECORD: Final = {Action.READ: _ALL_BUT_PLATFORM, Action.PUT: _KEEPS, Action.END: _KEEPS}
_TABLE: Final[Mapping[Thing, Mapping[Action, tuple[Role, ...]]]] = {
    Thing.CALLS: {Action.ASK: (Role.PROXY,)},
    Thing.SUBJECTS: _RECORD,
    Thing.IDENTITIES: {Action.READ: (Role.REGISTRAR, Role.REGULATOR, Role.AUDITOR)},
    Thing.RESELLERS: _RECORD,
    Thing.HOLDINGS: _RECORD,
    Thing.ACCESSES: _RECORD,
    Thing.BINDINGS: {
        Action.READ: (*_ALL_BUT_PLATFORM, Role.PLATFORM),
        Action.PUT: (Role.PLATFORM, Role.REGISTRAR),
        Action.END: (Role.PLATFORM, Role.REGISTRAR),
    },
    Thing.EXEMPTIONS: {**_RECORD, Action.END: (Role.REGISTRAR, Role.REGULATOR)},
    Thing.REFUSALS: _RECORD,
    Thing.SHEETS: {
        Action.IMPORT: _KEEPS,
        Action.EXPORT: (Role.REGISTRAR, Role.REGULATOR, Role.AUDITOR),
    },
    Thing.ORDERS: {Action.READ: _ALL_BUT_PLATFORM, Action.GIVE: (Role.REGULATOR,)},
    Thing.NODES: {Action.READ: (Role.OPERATOR, Role.REGULATOR, Role.AUDITOR)},
    Thing.NUMBERS: {Action.READ: _ALL_BUT_PLATFORM},
    Thing.ORIGIDS: {Action.READ: (Role.AUDITOR, Role.REGULATOR)},
    Thing.CHANGES: {Action.READ: (Role.AUDITOR, Role.REGULATOR)},
    Thing.DISPLAYS: {
        Action.READ: (Role.PROXY, *_ALL_BUT_PLATFORM),
        Action.REPORT: (Role.PROXY,),
        Action.CLEAR: _KEEPS,
    },
    Thing.CLEARINGS: {Action.READ: _ALL_BUT_PLATFORM},
    Thing.COMPLAINTS: {
        Action.REPORT: (Role.COMPLAINTS,),
        Action.READ: (Role.REGISTRAR, Role.REGULATOR, Role.AUDITOR),
    },
    Thing.LOSSES: {Action.READ: _ALL_BUT_PLATFORM, Action.ACKNOWLEDGE: _KEEPS},
    Thing.CLOCK: {
        Action.READ: _ALL_BUT_PLATFORM,
        Action.ACCEPT: (Role.OPERATOR, Role.REGISTRAR),
    },
    Thing.METRICS: {Action.READ: (Role.OPERATOR,)},
    Thing.HEALTH: {Action.READ: ANYBODY},
    Thing.DOCUMENTS: {Action.READ: ANYBODY},
    Thing.CERTIFICATES: {Action.READ: ANYBODY},
    Thing.CONTACT: {Action.READ: ANYBODY},
}
PERMISSIONS: Final[Mapping[Permission, tuple[Role, ...]]] = {
    Permission(thing, action): roles
    for thing, actions in _TABLE.items()
    for action, roles in actions.items()
}


def roles_of(thing: Thing, action: Action) -> tuple[Role, ...]:
    """Which roles may; none means that anybody may. Raises KeyError for what has no entry."""
    return PERMISSIONS[Permission(thing, action)]


def everybodys(thing: Thing, action: Action) -> frozenset[Role]:
    """Which roles may whoever's it is, and not only their own subject's."""
    return frozenset(roles_of(thing, action)) - OF_ITS_OWN


def needs(thing: Thing, action: Action) -> Callable[[_Endpoint], _Endpoint]:
    """Says what a route is about that asks for no credentials, or that asks for them itself."""
    found = Permission(thing, action)
    roles_of(*found)

    def marked(endpoint: _Endpoint) -> _Endpoint:
        endpoint.__dict__["permission"] = found
        return endpoint

    return marked


def permission_of(endpoint: Callable[..., Any], checks: list[Callable[..., Any]]) -> Permission:
    """The permission of a route, by its function and the dependencies it has.

    Raises:
        LookupError: it has none, or more than one.
    """
    found = {one.__dict__["permission"] for one in (endpoint, *checks) if _marked(one)}
    if len(found) != 1:
        raise LookupError(f"{endpoint.__qualname__}: one permission expected, got {len(found)}")
    (permission,) = found
    assert isinstance(permission, Permission)
    return permission


def _marked(one: Callable[..., Any]) -> bool:
    return "permission" in getattr(one, "__dict__", {})
