"""The management API: the registry's records, orders, and the history of both.

Every write names a reason, is made under the name of the key that asks, and may carry If-Match
(the version it saw) and Idempotency-Key (the same request twice is done once; see api.idempotency).
"""

# Annotations name variables of the functions around them: they are not postponed here.
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Response
from msgspec.structs import replace

from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.idempotency import OnceOnly
from zhenxian.api.management import answers
from zhenxian.api.management.batches import batch_routes
from zhenxian.api.management.bodies import BODIES
from zhenxian.api.management.common import ALWAYS, problems, requires
from zhenxian.api.management.editing import (
    Editor,
    check_own,
    may_see,
    sees_all_bindings,
    shown,
    shown_version,
)
from zhenxian.api.management.orders import order_routes
from zhenxian.api.management.pages import listing, pages
from zhenxian.api.management.parameters import (
    SPANS,
    After,
    IfMatch,
    IfNoneMatch,
    Key,
    Limit,
    OfSubject,
    Reason,
    expected,
    keyed,
    span_key,
)
from zhenxian.api.management.questions import question_routes
from zhenxian.api.management.trace import trace_route
from zhenxian.api.permissions import RECORDS, Action, Thing
from zhenxian.api.reading import PlainRoute
from zhenxian.api.schema import answered
from zhenxian.core.reading import Reading
from zhenxian.registry.forms import AS_WRITTEN, record_of
from zhenxian.registry.journal import EXISTING, Change, end, put
from zhenxian.registry.kinds import Plan
from zhenxian.registry.model import NAMES, Access, Binding, Kind, Record
from zhenxian.registry.node_key import Pins
from zhenxian.registry.orders import Issuer
from zhenxian.registry.store import Page, RegistryStore
from zhenxian.signer.origids import Given


def registry_router(
    registry: RegistryStore,
    authenticator: Authenticator,
    *,
    identity_key: bytes,
    issuers: Mapping[str, Issuer],
    pins: Pins | None = None,
    plan: Plan,
    done: Callable[[Sequence[bytes]], Awaitable[bool]],
    given_for: Callable[[str], Awaitable[Given | None]],
    reading: Reading = AS_WRITTEN,
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """All registry routes. Questions that may take long are asked away from the calls.

    Args:
        done: whether any of these requests (see Commit.request) was committed before.
        given_for: what the origid of a call was given for.
    """
    editor = Editor(registry, identity_key, issuers, reading, clock)
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
    for kind in NAMES:
        _record_routes(routes, editor, kind, authenticator)
    batch_routes(routes, editor, authenticator, done)
    _rotation_route(routes, editor, authenticator)
    order_routes(routes, editor, authenticator, pins)
    question_routes(routes, editor, authenticator, plan)
    trace_route(routes, registry, authenticator, given_for)
    return routes


def _record_routes(
    routes: APIRouter,
    editor: Editor,
    kind: Kind,
    authenticator: Authenticator,
) -> None:
    """List, read, put, end, and history of one kind of record."""
    name, form = NAMES[kind], BODIES[kind]
    see, may, ends = (
        requires(authenticator, RECORDS[kind], action)
        for action in (Action.READ, Action.PUT, Action.END)
    )
    absent = problems(c404=f"No such {kind.value}.")
    conflict = problems(
        c409="Contradicts what is registered, and names both.",
        c412="Not at the version of If-Match.",
    )
    as_it_is = answered("As it is.", answers.RECORDS[kind])
    place = f"/{name}/{{key}}"
    registry = editor.registry
    by_subject = kind in (Kind.HOLDING, Kind.ACCESS, Kind.EXEMPTION, Kind.DECLARATION)

    def canonical(key: str) -> str:
        if kind not in SPANS:
            return key
        # What an earlier release took with an area code is named as it is listed, and stands for
        # nothing else when it has ended.
        records = registry.records
        if records.get(kind, key) is not None or records.history(kind, key):
            return key
        return span_key(key, editor.reading)

    def found(key: str) -> tuple[int, Record]:
        entry = registry.records.get(kind, canonical(key))
        if entry is None:
            raise HTTPException(404, f"there is no {kind.value} {key}")
        return entry

    @routes.get(
        f"/{name}",
        summary=f"List {name}",
        operation_id=f"list_{name}",
        responses=answered("A page of them.", answers.page_type(kind, name)),
    )
    async def listed(
        principal: Annotated[Principal, see],
        limit: Limit = 100,
        after: After = "",
        subject: OfSubject = None,
    ) -> Response:
        if subject is not None and not by_subject:
            raise HTTPException(422, f"subject: {name} are not listed by subject")
        if kind is Kind.BINDING and not sees_all_bindings(principal):
            subject = principal.subject or ""  # where a page ends tells nothing of others' bindings

        def ask(start: str, count: int) -> Awaitable[Page]:
            return registry.read(
                lambda records: records.page(kind, after=start, limit=count, subject=subject)
            )

        def row(version: int, record: Record) -> dict[str, Any] | None:
            if isinstance(record, Binding) and not may_see(principal, record):
                return None
            return shown(record, principal, version)

        return await listing(name, pages(ask, after, limit), row)

    @routes.get(
        place,
        summary=f"Read {_one(kind)}",
        operation_id=f"read_{kind.value}",
        responses=absent | as_it_is,
    )
    async def one(
        principal: Annotated[Principal, see], response: Response, key: Key
    ) -> dict[str, Any]:
        version, record = found(key)
        if isinstance(record, Binding) and not may_see(principal, record):
            raise HTTPException(404, f"there is no {kind.value} {key}")
        response.headers["etag"] = f'"{version}"'
        return shown(record, principal, version)

    @routes.put(
        place,
        summary=f"Put {_one(kind)}",
        operation_id=f"put_{kind.value}",
        responses=conflict | as_it_is,
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
        row = editor.hashed(body.model_dump())  # type: ignore[attr-defined]
        record = record_of(kind, keyed(kind, key, row), editor.reading)
        check_own(principal, record)
        change = put(record, expected(if_match, if_none_match))
        commit = await editor.commit([change], principal, reason, once, row)
        response.headers["etag"] = f'"{commit.seq}"'
        value = commit.changes[0].value if commit.changes else record
        return shown(value or record, principal, commit.seq)

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
        version = expected(if_match, None)
        entry = registry.records.get(kind, canonical(key))
        if entry is None and once is None and version is None:
            raise HTTPException(404, f"there is no {kind.value} {key}")
        if entry is not None:
            check_own(principal, entry[1])
        change = (
            end(entry[1], version)
            if entry is not None
            else Change(kind, canonical(key), None, version)
        )
        await editor.commit([change], principal, reason, once, None)

    @routes.get(
        f"{place}/history",
        summary=f"All versions of {_one(kind)}",
        operation_id=f"read_{kind.value}_history",
        responses=absent | answered("The earliest first.", answers.HISTORIES[kind]),
    )
    async def history(principal: Annotated[Principal, see], key: Key) -> dict[str, Any]:
        wanted = canonical(key)
        versions = await registry.read(lambda records: records.history(kind, wanted))
        if not versions or (
            isinstance(versions[0].value, Binding) and not may_see(principal, versions[0].value)
        ):
            raise HTTPException(404, f"there never was a {kind.value} {key}")
        return {"versions": [shown_version(version, principal) for version in versions]}


def _rotation_route(routes: APIRouter, editor: Editor, authenticator: Authenticator) -> None:
    """A new origid for an access."""
    write = requires(authenticator, Thing.ACCESSES, Action.PUT)

    @routes.post(
        "/accesses/{key}/origid",
        summary="Rotate an access's origid",
        operation_id="rotate_origid",
        responses=problems(
            c404="No such access.",
            c409="The idempotency key was used for another request.",
            c412="Not at the version of If-Match.",
        )
        | answered("The access with its new origid.", answers.RECORDS[Kind.ACCESS]),
    )
    async def rotate(
        principal: Annotated[Principal, write],
        response: Response,
        key: Key,
        reason: Reason,
        once: OnceOnly,
        if_match: IfMatch = None,
    ) -> dict[str, Any]:
        entry = editor.registry.records.get(Kind.ACCESS, key)
        wanted = expected(if_match, None)
        if entry is None or not isinstance(entry[1], Access):
            raise HTTPException(404 if wanted is None else 412, f"there is no access {key}")
        fresh = replace(entry[1], origid=str(uuid.uuid4()))
        change = put(fresh, entry[0] if wanted in (None, EXISTING) else wanted)
        commit = await editor.commit([change], principal, reason, once, None)
        if not commit.changes:  # done before, under the same key
            version, record = editor.registry.records.get(Kind.ACCESS, key) or (commit.seq, fresh)
        else:
            version, record = commit.seq, commit.changes[0].value or fresh
        response.headers["etag"] = f'"{version}"'
        return shown(record, principal, version)


def _one(kind: Kind) -> str:
    return f"{'an' if kind.value[0] in 'aeiou' else 'a'} {kind.value}"
