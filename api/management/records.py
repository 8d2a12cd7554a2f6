"""The management API: the registry's records, orders, and the history of both.

Every write names a reason, is made under the name of the key that asks, and may carry If-Match
(the version it saw) and Idempotency-Key (the same request twice is done once; see api.once).
"""

# Annotations name variables of the functions around them: they are not postponed here.
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, HTTPException, Path, Query, Response
from fastapi.responses import JSONResponse
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from zhenxian.api.auth import Authenticator, Principal, Role
from zhenxian.api.management.answers import (
    HISTORIES,
    PRIVATE,
    RECORDS,
    AcknowledgementsAnswer,
    BatchAnswer,
    BatchProblem,
    ChangesAnswer,
    NodesAnswer,
    NumberNow,
    NumberThen,
    page_type,
)
from zhenxian.api.management.common import ALWAYS, PROBLEM_JSON, problem, problems, requires
from zhenxian.api.management.trace import trace_router
from zhenxian.api.once import Once, OnceOnly
from zhenxian.api.reading import PlainRoute
from zhenxian.api.schema import answered
from zhenxian.core.errors import ConfigError
from zhenxian.core.reading import Reading
from zhenxian.core.tn import TNRange
from zhenxian.registry.forms import AS_WRITTEN, record_of, row_of
from zhenxian.registry.identity import document_hash
from zhenxian.registry.journal import (
    Change,
    Commit,
    KeyReusedError,
    RegistryConflictError,
    Version,
    end,
    put,
)
from zhenxian.registry.kinds import Plan
from zhenxian.registry.model import (
    Access,
    Binding,
    Holding,
    Kind,
    Order,
    Record,
    Subject,
    span,
)
from zhenxian.registry.orders import Action, Issuer, lifted, order_of, read_instruction
from zhenxian.registry.parties import involved
from zhenxian.signer.origids import Given
from zhenxian.stores.fleet.node_key import Pins
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import EmbeddedRegistry
from zhenxian.stores.sqlite.requests import done

MAX_BATCH: Final = 5_000  # rows of one batch request

NAMES: Final = {
    Kind.SUBJECT: "subjects",
    Kind.RESELLER: "resellers",
    Kind.HOLDING: "holdings",
    Kind.ACCESS: "accesses",
    Kind.BINDING: "bindings",
    Kind.EXEMPTION: "exemptions",
    Kind.REFUSAL: "refusals",
}
_SPANS: Final = (Kind.HOLDING, Kind.REFUSAL)  # whose key is a number or range
_READERS: Final = (Role.REGISTRAR, Role.REGULATOR, Role.AUDITOR, Role.OPERATOR)
_SEE_IDENTITY: Final = frozenset({Role.REGISTRAR, Role.REGULATOR, Role.AUDITOR})

# Annotations are looked up in the module, so these stand here.
Reason = Annotated[
    str, Query(min_length=1, max_length=500, description="Why; kept in the history.")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
After = Annotated[str, Query(max_length=200, description="`following` of the page before.")]
OfSubject = Annotated[
    str | None, Query(description="Only this subject's; of holdings, accesses and exemptions.")
]
Key = Annotated[
    str,
    Path(
        min_length=1,
        max_length=128,
        description="The id; of holdings and refusals NUMBER or FIRST-LAST.",
    ),
]
IfMatch = Annotated[
    str | None, Header(alias="if-match", description='The ETag that was seen, such as "7".')
]
IfNoneMatch = Annotated[
    str | None, Header(alias="if-none-match", description="`*`: create, never change.")
]
At = Annotated[
    str | None,
    Query(description="An instant, RFC 3339 or seconds since the epoch; now when left out."),
]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SubjectBody(_Form):
    """A real-name holder (实名主体)."""

    kind: str = Field("enterprise", description="person or enterprise.")
    name: str = ""
    document_kind: str = Field("", description="Kind of identity document.", examples=["id-card"])
    document_number: str = Field("", description="Hashed on arrival; never kept or told.")
    document: str = Field("", description="Or the keyed hash of an earlier answer.")
    state: str = Field("active", description="active, suspended or closed.")


class ResellerBody(_Form):
    """One who passes numbers on (虚商)."""

    name: str = ""
    role: str = Field("", examples=["mvno"])
    parent: str = Field("", description="The reseller before it; empty for the carrier.")
    state: str = Field("active", description="active, suspended or closed.")


class HoldingBody(_Form):
    """Who holds a number or range."""

    subject: str = Field(description="Id of a registered subject.", examples=["bank"])
    verification: str = Field(
        "unverified", description="unverified, verified, expired or withdrawn."
    )
    use: str = Field("direct", description="direct, privacy or do-not-originate.")
    spcs: list[str] = Field([], description="SPCs that may sign; the carrier's first.")
    reseller: str = Field("", description="The last reseller before the subject.")
    evidence: str = Field("", description="What the verification rests on.")
    verified_on: int | None = Field(None, description="Seconds since the epoch.")


class HoldingRow(HoldingBody):
    """A holding in a batch."""

    first: str = Field(examples=["8675588880000"])
    last: str = Field("", examples=["8675588889999"])


class AccessBody(_Form):
    """What a subject's calls come in by."""

    origid: str = Field(description="RFC 8588 origid; a changed one keeps the old traceable.")
    subject: str
    kind: str = Field("trunk", description="trunk, account or device.")
    state: str = Field("active", description="active, suspended or closed.")
    device: str = Field("", description="IMEI.")
    sims: list[str] = Field([], description="ICCIDs of the SIM cards.")
    former: list[str] = Field([], description="Origids it had before.")


class BindingBody(_Form):
    """A permission to show X between two parties (privacy number, 隐私号)."""

    platform: str = Field(description="The subject that holds X.")
    model: str = Field(description="axb, ax, axe or axyb.")
    x: str
    a: str
    since: int = Field(description="Seconds since the epoch.")
    b: str | None = None
    y: str | None = None
    extension: str = ""
    direction: str = Field("both", description="both, a-to-b or b-to-a.")
    until: int | None = None


class BindingRow(BindingBody):
    """A binding in a batch."""

    id: str


class ExemptionBody(_Form):
    """Whose findings of conduct have no effect, why, and until when."""

    kind: str = Field(description="access, subject, signer, spc or agent.", examples=["subject"])
    target: str = Field(
        description='Id of the access or subject, "spc/origid" of the signer, the SPC, or'
        ' "platform/number" of the agent.',
        examples=["hospital"],
    )
    reason: str = Field(min_length=1, description="Why.", examples=["ambulance dispatch"])
    since: int = Field(description="Seconds since the epoch.", examples=[1795500000])
    until: int = Field(
        description="Seconds since the epoch, at most 366 days from now.", examples=[1811000000]
    )
    measures: list[str] = Field(
        [],
        description="spread, local-presence, rate, concurrency, rotation, origids, handover;"
        " empty for all.",
        examples=[["local-presence"]],
    )
    reference: str = Field("", description="File number or the like.")


class RefusalBody(_Form):
    """A callee's refusal of calls of some purpose (do-not-call, 拒扰)."""

    since: int = Field(description="Seconds since the epoch.", examples=[1795500000])
    until: int | None = Field(None, description="Seconds since the epoch; none: until it is ended.")
    scopes: list[str] = Field(["marketing"], description="What is refused: marketing.")
    source: str = Field("", description="By whom, which way.", examples=["callee, hotline"])


class RefusalRow(RefusalBody):
    """A refusal in a batch."""

    first: str = Field(examples=["8613800138000"])
    last: str = Field("", examples=["8613800138000"])


class OrderBody(_Form):
    """A signed instruction: `zhenxian orders` makes them."""

    token: str = Field(max_length=8192, description="Compact JWS of the issuer.")


BODIES: Final[dict[Kind, type[BaseModel]]] = {
    Kind.SUBJECT: SubjectBody,
    Kind.RESELLER: ResellerBody,
    Kind.HOLDING: HoldingBody,
    Kind.ACCESS: AccessBody,
    Kind.BINDING: BindingBody,
    Kind.EXEMPTION: ExemptionBody,
    Kind.REFUSAL: RefusalBody,
}


def registry_router(
    registry: EmbeddedRegistry | FleetRegistry,
    authenticator: Authenticator,
    *,
    identity_key: bytes,
    issuers: Mapping[str, Issuer],
    pins: Pins | None = None,
    plan: Plan,
    given_for: Callable[[str], Awaitable[Given | None]],
    reading: Reading = AS_WRITTEN,
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """All registry routes. Questions that may take long are asked away from the calls.

    Args:
        given_for: what the origid of a call was given for.
    """
    api = _Api(registry, identity_key, issuers, reading, clock)
    routes = APIRouter(
        route_class=PlainRoute,
        prefix="/v1",
        tags=["Registry"],
        responses=ALWAYS
        | problems(
            c400="The body is not JSON text.",
            c401="Missing or unknown credentials.",
            c403="The role does not permit it.",
            c413="The body is too large.",
            c422="A value is missing or unusable; the detail names it.",
            c503="The registry does not take it; nothing was changed.",
        ),
    )
    read = requires(authenticator, *_READERS)
    write = requires(authenticator, Role.REGISTRAR)
    lend = requires(authenticator, Role.PLATFORM, Role.REGISTRAR)
    oversee = requires(authenticator, Role.REGISTRAR, Role.REGULATOR)
    for kind, body in BODIES.items():
        may = lend if kind is Kind.BINDING else write
        see = requires(authenticator, *_READERS, Role.PLATFORM) if kind is Kind.BINDING else read
        ends = oversee if kind is Kind.EXEMPTION else may
        _record_routes(routes, api, kind, body, see, may, ends)
    _batch_routes(routes, api, write, lend)
    _order_routes(
        routes, api, pins, read, requires(authenticator, Role.REGULATOR),
        requires(authenticator, Role.OPERATOR, Role.REGULATOR, Role.AUDITOR),
    )  # fmt: skip
    audit = requires(authenticator, Role.AUDITOR, Role.REGULATOR)
    _question_routes(routes, api, plan, read, audit)
    routes.include_router(trace_router(registry, audit, _shown, given_for))
    return routes


class _Api:
    """What the routes share: writing under a name, and how records are shown."""

    def __init__(
        self,
        registry: EmbeddedRegistry | FleetRegistry,
        identity_key: bytes,
        issuers: Mapping[str, Issuer],
        reading: Reading,
        clock: Callable[[], float],
    ) -> None:
        self.registry = registry
        self.issuers = issuers
        self.reading = reading
        self.clock = clock
        self._identity_key = identity_key

    async def commit(
        self,
        changes: list[Change],
        principal: Principal,
        reason: str,
        once: Once | None,
        asked: object,
    ) -> Commit:
        """Write changes under a name; `asked` is the body that `once` stands for."""
        request = fingerprint = b""
        if once is not None:
            request = once.request(principal)
            fingerprint = once.fingerprint(principal, asked)
        return await self.registry.write(
            changes,
            author=f"{principal.name} ({principal.id})",
            reason=reason,
            now=int(self.clock()),
            request=request,
            fingerprint=fingerprint,
        )

    def hashed(self, row: dict[str, Any]) -> dict[str, Any]:
        number = row.pop("document_number", "")
        if number:
            if row.get("document"):
                raise ConfigError("document_number and document are not given together")
            row["document"] = document_hash(
                self._identity_key, str(row.get("document_kind")), number
            )
        return row


def _shown(record: Record, principal: Principal, version: int | None = None) -> dict[str, Any]:
    row = row_of(record)
    if isinstance(record, Subject) and not principal.roles & _SEE_IDENTITY:
        for name in PRIVATE:
            row.pop(name)
    if version is not None:
        row["version"] = version
    return row


def _told(version: Version, principal: Principal) -> dict[str, Any]:
    return {
        "version": version.version,
        "time": version.time,
        "author": version.author,
        "reason": version.reason,
        "record": _shown(version.value, principal) if version.value is not None else None,
    }


def _expected(if_match: str | None, if_none_match: str | None) -> int | None:
    if if_none_match is not None:
        if if_none_match.strip() != "*" or if_match is not None:
            raise HTTPException(422, "If-None-Match: only * is understood, and not with If-Match")
        return 0
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().strip('"')
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise HTTPException(422, 'If-Match: an ETag of ours expected, such as "7"')
    return int(text)


def _keyed(kind: Kind, key: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row with what the path names."""
    if kind in _SPANS:
        first, _, last = key.partition("-")
        return {"first": first, "last": last, **row}
    return {"id": key, **row}


def _one(kind: Kind) -> str:
    return f"{'an' if kind.value[0] in 'aeiou' else 'a'} {kind.value}"


def _span_key(key: str, reading: Reading) -> str:
    """A path's number or range in canonical form."""
    first, _, last = key.partition("-")
    begin = reading.filed(first, "key")
    return span(TNRange(begin, reading.filed(last, "key") if last else begin))


def _own(principal: Principal, binding: Record | None) -> None:
    """A platform's key acts for one subject."""
    if Role.REGISTRAR in principal.roles or not isinstance(binding, Binding):
        return
    if principal.subject != binding.platform:
        raise HTTPException(403, f"this key does not act for {binding.platform}")


def _record_routes(
    routes: APIRouter,
    api: _Api,
    kind: Kind,
    form: type[BaseModel],
    see: Any,
    may: Any,
    ends: Any,
) -> None:
    """List, read, put, end, and history of one kind of record."""
    name = NAMES[kind]
    absent = problems(c404=f"No such {kind.value}.")
    conflict = problems(
        c409="Contradicts what is registered, and names both.",
        c412="Not at the version of If-Match.",
    )
    told = answered("As it is.", RECORDS[kind])
    place = f"/{name}/{{key}}"
    registry = api.registry
    by_subject = kind in (Kind.HOLDING, Kind.ACCESS, Kind.EXEMPTION)

    def canonical(key: str) -> str:
        return _span_key(key, api.reading) if kind in _SPANS else key

    def found(key: str) -> tuple[int, Record]:
        entry = registry.book.get(kind, canonical(key))
        if entry is None:
            raise HTTPException(404, f"there is no {kind.value} {key}")
        return entry

    @routes.get(
        f"/{name}",
        summary=f"List {name}",
        operation_id=f"list_{name}",
        responses=answered("A page of them.", page_type(kind, name)),
    )
    async def listed(
        principal: Annotated[Principal, see],
        limit: Limit = 100,
        after: After = "",
        subject: OfSubject = None,
    ) -> dict[str, Any]:
        if subject is not None and not by_subject:
            raise HTTPException(422, f"subject: {name} are not listed by subject")

        def page(book: RegistryFile) -> Any:
            return book.page(kind, after=after, limit=limit, subject=subject)

        part = await registry.read(page)
        rows = [
            _shown(record, principal, version)
            for version, record in part.rows
            if not isinstance(record, Binding) or _may_see(principal, record)
        ]
        return {name: rows, "following": part.following}

    @routes.get(
        place,
        summary=f"Read {_one(kind)}",
        operation_id=f"read_{kind.value}",
        responses=absent | told,
    )
    async def one(
        principal: Annotated[Principal, see], response: Response, key: Key
    ) -> dict[str, Any]:
        version, record = found(key)
        if isinstance(record, Binding) and not _may_see(principal, record):
            raise HTTPException(404, f"there is no {kind.value} {key}")
        response.headers["etag"] = f'"{version}"'
        return _shown(record, principal, version)

    @routes.put(
        place,
        summary=f"Put {_one(kind)}",
        operation_id=f"put_{kind.value}",
        responses=conflict | told,
    )
    async def put_one(
        principal: Annotated[Principal, may],
        response: Response,
        key: Key,
        body: Annotated[form, Body()],  # type: ignore[valid-type]
        reason: Reason,
        once: OnceOnly,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> dict[str, Any]:
        row = api.hashed(body.model_dump())  # type: ignore[attr-defined]
        record = record_of(kind, _keyed(kind, key, row), api.reading)
        _own(principal, record)
        change = put(record, _expected(if_match, if_none_match))
        commit = await api.commit([change], principal, reason, once, row)
        response.headers["etag"] = f'"{commit.seq}"'
        value = commit.changes[0].value if commit.changes else record
        return _shown(value or record, principal, commit.seq)

    @routes.delete(
        place,
        summary=f"End {_one(kind)}",
        operation_id=f"end_{kind.value}",
        status_code=204,
        responses=absent | conflict,
    )
    async def end_one(
        principal: Annotated[Principal, ends],
        key: Key,
        reason: Reason,
        once: OnceOnly,
        if_match: IfMatch = None,
    ) -> None:
        expected = _expected(if_match, None)
        entry = registry.book.get(kind, canonical(key))
        if entry is None and once is None:
            raise HTTPException(404, f"there is no {kind.value} {key}")
        if entry is not None:
            _own(principal, entry[1])
        change = (
            end(entry[1], expected)
            if entry is not None
            else Change(kind, canonical(key), None, expected)
        )
        await api.commit([change], principal, reason, once, None)

    @routes.get(
        f"{place}/history",
        summary=f"All versions of {_one(kind)}",
        operation_id=f"read_{kind.value}_history",
        responses=absent | answered("The earliest first.", HISTORIES[kind]),
    )
    async def history(principal: Annotated[Principal, see], key: Key) -> dict[str, Any]:
        wanted = canonical(key)
        versions = await registry.read(lambda book: book.history(kind, wanted))
        if not versions or (
            isinstance(versions[0].value, Binding) and not _may_see(principal, versions[0].value)
        ):
            raise HTTPException(404, f"there never was a {kind.value} {key}")
        return {"versions": [_told(version, principal) for version in versions]}


def _may_see(principal: Principal, binding: Binding) -> bool:
    return bool(principal.roles & set(_READERS)) or principal.subject == binding.platform


def _batch_routes(routes: APIRouter, api: _Api, write: Any, lend: Any) -> None:
    """Many rows at once: all of them, or each by itself."""
    mode = Annotated[
        str,
        Query(
            pattern="^(all-or-nothing|best-effort)$",
            description="What a bad row means.",
            json_schema_extra={"enum": ["all-or-nothing", "best-effort"]},
        ),
    ]

    async def batch(
        kind: Kind,
        rows: list[dict[str, Any]],
        principal: Principal,
        reason: str,
        mode: str,
        once: Once | None,
    ) -> JSONResponse:
        changes: list[tuple[int, Change]] = []
        rejected: list[dict[str, Any]] = []
        for index, row in enumerate(rows):
            try:
                record = record_of(kind, row, api.reading)
                _own(principal, record)
                changes.append((index, put(record)))
            except (ConfigError, HTTPException) as error:
                detail = error.detail if isinstance(error, HTTPException) else str(error)
                rejected.append({"row": index, "detail": detail})
        if rejected and mode == "all-or-nothing":
            answer = problem(422, "Invalid value", f"{len(rejected)} rows are unusable")
            told = {**json.loads(bytes(answer.body)), "rejected": rejected}
            return JSONResponse(told, 422, media_type=PROBLEM_JSON)
        accepted, version = 0, None
        apart = mode == "best-effort" and await by_rows(once, principal, changes)
        try:
            if changes and not apart:
                commit = await api.commit(
                    [change for _, change in changes], principal, reason, once, rows
                )
                accepted, version = len(changes), commit.seq
        except (RegistryConflictError, ConfigError) as error:
            if mode == "all-or-nothing" or isinstance(error, KeyReusedError):
                raise
            apart = True
        for index, change in changes if apart else ():
            one = once.row(index) if once is not None else None
            try:
                commit = await api.commit([change], principal, reason, one, rows)
                accepted, version = accepted + 1, commit.seq
            except KeyReusedError:
                raise
            except (RegistryConflictError, ConfigError) as refused:
                rejected.append({"row": index, "detail": str(refused)})
        rejected.sort(key=lambda entry: entry["row"])
        return JSONResponse({"accepted": accepted, "rejected": rejected, "version": version})

    async def by_rows(
        once: Once | None, principal: Principal, changes: list[tuple[int, Change]]
    ) -> bool:
        """True when the request was made before, and each row was written by itself.

        Together they could be taken now, and would be written a second time.
        """
        if once is None:
            return False
        names = [once.row(index).request(principal) for index, _ in changes]
        return await api.registry.read(lambda book: done(book, names))

    documented = (
        problems(c409="A row contradicts what is registered; nothing was written.")
        | problems(BatchProblem, c422="A row is unusable, and nothing was written.")
        | answered("What became of the rows.", BatchAnswer)
    )

    @routes.post(
        "/bindings/batch",
        summary="Put many bindings",
        operation_id="put_many_bindings",
        responses=documented,
    )
    async def bindings(
        principal: Annotated[Principal, lend],
        rows: Annotated[list[BindingRow], Body(min_length=1, max_length=MAX_BATCH)],
        reason: Reason,
        once: OnceOnly,
        mode: mode = "all-or-nothing",
    ) -> JSONResponse:
        plain = [row.model_dump() for row in rows]
        return await batch(Kind.BINDING, plain, principal, reason, mode, once)

    @routes.post(
        "/holdings/batch",
        summary="Put many holdings",
        operation_id="put_many_holdings",
        responses=documented,
    )
    async def holdings(
        principal: Annotated[Principal, write],
        rows: Annotated[list[HoldingRow], Body(min_length=1, max_length=MAX_BATCH)],
        reason: Reason,
        once: OnceOnly,
        mode: mode = "all-or-nothing",
    ) -> JSONResponse:
        plain = [row.model_dump() for row in rows]
        return await batch(Kind.HOLDING, plain, principal, reason, mode, once)

    @routes.post(
        "/refusals/batch",
        summary="Put many callees' refusals",
        operation_id="put_many_refusals",
        responses=documented,
    )
    async def refusals(
        principal: Annotated[Principal, write],
        rows: Annotated[list[RefusalRow], Body(min_length=1, max_length=MAX_BATCH)],
        reason: Reason,
        once: OnceOnly,
        mode: mode = "all-or-nothing",
    ) -> JSONResponse:
        plain = [row.model_dump() for row in rows]
        return await batch(Kind.REFUSAL, plain, principal, reason, mode, once)

    @routes.post(
        "/accesses/{key}/origid",
        summary="Rotate an access's origid",
        operation_id="rotate_origid",
        responses=problems(
            c404="No such access.",
            c409="The idempotency key was used for another request.",
            c412="Not at the version of If-Match.",
        )
        | answered("The access with its new origid.", RECORDS[Kind.ACCESS]),
    )
    async def rotate(
        principal: Annotated[Principal, write],
        response: Response,
        key: Key,
        reason: Reason,
        once: OnceOnly,
        if_match: IfMatch = None,
    ) -> dict[str, Any]:
        entry = api.registry.book.get(Kind.ACCESS, key)
        if entry is None or not isinstance(entry[1], Access):
            raise HTTPException(404, f"there is no access {key}")
        fresh = replace(entry[1], origid=str(uuid.uuid4()))
        expected = _expected(if_match, None)
        change = put(fresh, entry[0] if expected is None else expected)
        commit = await api.commit([change], principal, reason, once, None)
        if not commit.changes:  # done before, under the same key
            version, record = api.registry.book.get(Kind.ACCESS, key) or (commit.seq, fresh)
        else:
            version, record = commit.seq, commit.changes[0].value or fresh
        response.headers["etag"] = f'"{version}"'
        return _shown(record, principal, version)


def _order_routes(
    routes: APIRouter, api: _Api, pins: Pins | None, read: Any, give: Any, nodes: Any
) -> None:
    """Orders and who obeyed them."""
    registry = api.registry
    pinned = {name: sorted(keys) for name, keys in pins.items()} if pins is not None else None

    @routes.post(
        "/orders",
        summary="Give or lift an order",
        operation_id="give_order",
        responses=answered("The order as it now is.", RECORDS[Kind.ORDER])
        | problems(
            c403="Forged, of an unknown issuer, or of one who is not entitled.",
            c404="There is no such order to lift.",
            c409="Replayed, rolled back, or in force already.",
            c422="No order token: the detail says what is wrong with its form.",
        ),
    )
    async def give_order(
        principal: Annotated[Principal, give], body: OrderBody, reason: Reason
    ) -> dict[str, Any]:
        instruction = read_instruction(body.token, api.issuers, int(api.clock()))
        if instruction.action is Action.STOP:
            order = order_of(instruction, body.token)
            expected: int | None = 0
        else:
            entry = registry.book.get(Kind.ORDER, instruction.order)
            if entry is None or not isinstance(entry[1], Order):
                raise HTTPException(404, f"there is no order {instruction.order}")
            order = lifted(entry[1], instruction, body.token)
            expected = entry[0]
        if expected == 0 and registry.book.get(Kind.ORDER, order.id) is not None:
            raise RegistryConflictError(f"order {order.id} was given before")
        commit = await api.commit([put(order, expected)], principal, reason, None, None)
        return _shown(order, principal, commit.seq)

    @routes.get(
        "/orders",
        summary="List orders",
        operation_id="list_orders",
        responses=answered("A page of them.", page_type(Kind.ORDER, "orders")),
    )
    async def orders(
        principal: Annotated[Principal, read], limit: Limit = 100, after: After = ""
    ) -> dict[str, Any]:
        part = await registry.read(lambda book: book.page(Kind.ORDER, after=after, limit=limit))
        rows = [_shown(record, principal, version) for version, record in part.rows]
        return {"orders": rows, "following": part.following}

    @routes.get(
        "/orders/{key}/acknowledgements",
        summary="Which nodes obey an order, and since when",
        operation_id="read_acknowledgements",
        responses=problems(c404="No such order.")
        | answered("The order, and who obeys it.", AcknowledgementsAnswer),
    )
    async def acknowledgements(principal: Annotated[Principal, read], key: Key) -> dict[str, Any]:
        entry = registry.book.get(Kind.ORDER, key)
        if entry is None:
            raise HTTPException(404, f"there is no order {key}")
        rows = await registry.acknowledgements(key)
        return {
            "order": _shown(entry[1], principal, entry[0]),
            "acknowledgements": [
                {"node": node, "token": token, "key": jwk} for node, token, jwk in rows
            ],
            "nodes": await registry.nodes(),
            "pins": pinned,
        }

    @routes.get(
        "/nodes",
        summary="The nodes that answer calls",
        operation_id="list_nodes",
        responses=answered("All of them.", NodesAnswer),
        dependencies=[nodes],
    )
    async def all_nodes() -> dict[str, Any]:
        return {"nodes": await registry.nodes(), "pins": pinned}


def _question_routes(routes: APIRouter, api: _Api, plan: Plan, read: Any, audit: Any) -> None:
    """Who holds a number, whose origid it is, what was changed."""
    registry = api.registry

    @routes.get(
        "/numbers/{number}",
        summary="Who may show a number, now or at a past instant",
        operation_id="read_number",
        responses=answered("Who holds it; with `at`, who held it.", NumberNow, NumberThen),
    )
    async def number(
        principal: Annotated[Principal, read], number: Key, at: At = None
    ) -> dict[str, Any]:
        tn = api.reading.filed(number, "number")
        label = plan.label(tn)
        instant = _instant(at) if at is not None else None

        def ask(book: RegistryFile) -> dict[str, Any]:
            answer: dict[str, Any] = {
                "number": str(tn),
                "kind": label.kind.value,
                "label": label.text,
                "label_zh": label.text_zh,
            }
            if instant is None:
                levels = book.levels(tn)
                answer["holdings"] = [_shown(held, principal, v) for v, held in levels]
                answer["chain"] = _chain(book, levels[0][1], None) if levels else []
                holding = levels[0][1] if levels else None
                who = involved(tn, holding, tuple(answer["chain"]))
                order = book.stopped(who)
                answer["order"] = _shown(order, principal) if order is not None else None
                return answer
            held_then = book.held_at(tn, instant) if tn.isdecimal() else None
            answer["at"] = instant
            answer["holding"] = _told(held_then, principal) if held_then is not None else None
            value = held_then.value if held_then is not None else None
            answer["chain"] = _chain(book, value, instant) if isinstance(value, Holding) else []
            return answer

        return await registry.read(ask)

    @routes.get(
        "/changes",
        summary="What was committed, in order",
        operation_id="list_changes",
        responses=answered("A page of the commits.", ChangesAnswer),
        dependencies=[audit],
    )
    async def changes(
        after: Annotated[int, Query(ge=0, le=2**62)] = 0, limit: Limit = 100
    ) -> dict[str, Any]:
        rows = await registry.read(lambda book: book.commits(after, limit))
        return {"changes": rows, "following": rows[-1]["seq"] if len(rows) == limit else None}


def _chain(book: RegistryFile, holding: Holding, at: int | None) -> list[str]:
    """The resellers of a holding, the carrier's side first."""
    chain: list[str] = []
    reseller = holding.reseller
    while reseller and reseller not in chain:
        chain.append(reseller)
        if at is None:
            entry = book.get(Kind.RESELLER, reseller)
            record = entry[1] if entry is not None else None
        else:
            version = book.at(Kind.RESELLER, reseller, at)
            record = version.value if version is not None else None
        reseller = getattr(record, "parent", "")
    return chain[::-1]


def _instant(text: str) -> int:
    try:
        if text.isascii() and text.isdecimal() and len(text) < 13:
            return int(text)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return int(moment.timestamp())
    except (ValueError, OverflowError):
        pass
    raise ConfigError("at: RFC 3339 with its offset, or seconds since the epoch expected")
