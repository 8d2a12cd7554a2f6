"""Many records in one request of the management API: all of them, or each by itself."""

# Annotations name variables of the functions around them: they are not postponed here.
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, HTTPException, Response
from fastapi.exceptions import RequestValidationError
from msgspec import Struct
from pydantic import Field, SkipValidation, TypeAdapter, ValidationError

from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.idempotency import Once, OnceOnly
from zhenxian.api.management.answers import BatchAnswer, BatchProblem
from zhenxian.api.management.bodies import ROWS
from zhenxian.api.management.common import PROBLEM_JSON, problem, problems, requires
from zhenxian.api.management.editing import Editor, check_own
from zhenxian.api.management.pages import AT_ONCE, emptied, page_of, rows_of
from zhenxian.api.management.parameters import ModeOf, Reason, TakeOut
from zhenxian.api.permissions import RECORDS, Action
from zhenxian.api.schema import answered
from zhenxian.core.errors import ConfigError
from zhenxian.core.pace import Pace
from zhenxian.core.reading import Reading
from zhenxian.registry.forms import record_of
from zhenxian.registry.imports import MAX_BATCH, Mode
from zhenxian.registry.journal import (
    Change,
    KeyReusedError,
    Nested,
    RegistryConflictError,
    put,
)
from zhenxian.registry.model import NAMES, Kind

_CHECKED: Final = 20  # rows that are checked before others have a turn


def batch_routes(
    routes: APIRouter,
    editor: Editor,
    authenticator: Authenticator,
    done: Callable[[Sequence[bytes]], Awaitable[bool]],
) -> None:
    """The routes of batches.

    Args:
        done: whether any of these requests (see Commit.request) was committed before.
    """

    async def batch(
        kind: Kind,
        given: list[Any],
        principal: Principal,
        reason: str,
        mode: str,
        once: Once | None,
        nested: Nested,
    ) -> Response:
        read = await asyncio.to_thread(_read, kind, given, principal, editor.reading, once, mode)
        changes, rejected = read.changes, read.rejected
        if rejected and mode == Mode.ALL_OR_NOTHING.value:
            answer = problem(422, "Invalid value", f"{len(rejected)} rows are unusable")
            refused = {**json.loads(bytes(answer.body)), "rejected": await rows_of(rejected)}
            return page_of(refused, 422, PROBLEM_JSON)
        accepted, taken_out, version = 0, 0, None
        apart = mode == Mode.BEST_EFFORT.value and await by_rows(once, principal, changes)
        try:
            if changes and not apart:
                commit = await editor.commit(
                    [change for _, change in changes],
                    principal,
                    reason,
                    once,
                    read.fingerprint,
                    nested,
                )
                accepted, version = len(changes), commit.seq
                taken_out = commit.taken_out
        except (RegistryConflictError, ConfigError) as error:
            if mode == Mode.ALL_OR_NOTHING.value or isinstance(error, KeyReusedError):
                raise
            apart = True
        kept = {} if apart else {change.key: change for _, change in changes}
        for index, change in [*(changes if apart else ()), *read.again]:
            before = kept.get(change.key)
            if before is not None:  # an import's rule: again is nothing, otherwise is refused
                accepted += before == change
                if before != change:
                    rejected.append({"row": index, "detail": _twice(change)})
                continue
            one = once.row(index) if once is not None else None
            try:
                commit = await editor.commit(
                    [change], principal, reason, one, read.fingerprint, nested
                )
                kept[change.key] = change
                accepted, version = accepted + 1, commit.seq
                taken_out += commit.taken_out
            except KeyReusedError:
                raise
            except (RegistryConflictError, ConfigError) as error:
                rejected.append({"row": index, "detail": str(error)})
        rejected.sort(key=lambda entry: entry["row"])
        told = await rows_of(rejected)
        kept.clear()
        await emptied(changes)
        return page_of(
            {
                "accepted": accepted,
                "taken_out": taken_out,
                "rejected": told,
                "version": version,
            }
        )

    async def by_rows(
        once: Once | None, principal: Principal, changes: list[tuple[int, Change]]
    ) -> bool:
        """True when the request was made before, and each row was written by itself.

        Together they could be taken now, and would be written a second time.
        """
        if once is None:
            return False
        known = once

        def names() -> list[bytes]:
            return [known.row(index).request(principal) for index, _ in changes]

        return await done(await asyncio.to_thread(names))

    def route(kind: Kind) -> None:
        what = "callees' refusals" if kind is Kind.REFUSAL else NAMES[kind]
        row, may = ROWS[kind], requires(authenticator, RECORDS[kind], Action.PUT)

        @routes.post(
            f"/{NAMES[kind]}/batch",
            summary=f"Put many {what}",
            operation_id=f"put_many_{NAMES[kind]}",
            responses=problems(c409="A row contradicts what is registered; nothing was written.")
            | problems(BatchProblem, c422="A row is unusable, and nothing was written.")
            | answered("What became of the rows.", BatchAnswer),
        )
        async def put_many(
            principal: Annotated[Principal, may],
            rows: Annotated[
                SkipValidation[list[row]],  # type: ignore[valid-type]
                # `_checked` sees to it: here a body that is no list would have no length.
                Body(json_schema_extra={"minItems": 1, "maxItems": MAX_BATCH}),
            ],
            reason: Reason,
            once: OnceOnly,
            mode: ModeOf = Mode.ALL_OR_NOTHING.value,
            take_out: TakeOut = False,
        ) -> Response:
            nested = Nested.COUNTED if take_out else Nested.REFUSED
            return await batch(kind, rows, principal, reason, mode, once, nested)

    for kind in ROWS:
        route(kind)


class _Read(Struct):
    """The rows of a batch by their places: changes, those of a record again, and why not."""

    changes: list[tuple[int, Change]]
    again: list[tuple[int, Change]]
    rejected: list[dict[str, Any]]
    fingerprint: bytes


def _twice(change: Change) -> str:
    return f"{change.key} appears twice in this batch"


def _read(
    kind: Kind,
    given: list[Any],
    principal: Principal,
    reading: Reading,
    once: Once | None,
    mode: str,
) -> _Read:
    """Read rows as they came, in a thread: a few at a time, as each step holds the interpreter.

    Raises:
        RequestValidationError: there are too few or too many, or one is none by its form.
    """
    pace = Pace(time.perf_counter, time.sleep)
    rows = _checked(kind, given, pace)
    fingerprint = once.fingerprint(principal, rows, pace.through) if once is not None else b""
    found = _Read([], [], [], fingerprint)
    seen: dict[str, Change] = {}
    for index, row in enumerate(pace.through(rows)):
        try:
            record = record_of(kind, row, reading)
            check_own(principal, record)
            change = put(record)
            before = seen.setdefault(change.key, change)
            if before is change:
                found.changes.append((index, change))
            elif before == change or mode == Mode.BEST_EFFORT.value:
                found.again.append((index, change))
            else:
                found.rejected.append({"row": index, "detail": _twice(change)})
        except (ConfigError, HTTPException) as error:
            detail = error.detail if isinstance(error, HTTPException) else str(error)
            found.rejected.append({"row": index, "detail": detail})
    for _ in pace.through(range(0, len(rows), AT_ONCE)):  # freed at once they would hold up calls
        del rows[-AT_ONCE:], given[-AT_ONCE:]
    return found


_ADAPTERS: Final = {kind: TypeAdapter(list[row]) for kind, row in ROWS.items()}  # type: ignore[valid-type]
_LENGTH: Final = TypeAdapter(Annotated[list[Any], Field(min_length=1, max_length=MAX_BATCH)])


def _checked(kind: Kind, given: Any, pace: Pace) -> list[dict[str, Any]]:
    """The rows with the members that they leave out; as the framework would read them at once."""
    rows: list[dict[str, Any]] = []
    faults: list[Any] = []
    try:
        _LENGTH.validate_python(given)
        for start in pace.through(range(0, len(given), _CHECKED)):
            try:
                part = _ADAPTERS[kind].validate_python(given[start : start + _CHECKED])
                rows += [row.model_dump() for row in part]  # type: ignore[attr-defined]
            except ValidationError as error:
                for fault in error.errors(include_url=False):
                    place, *members = fault["loc"]
                    faults.append({**fault, "loc": ("body", int(place) + start, *members)})
    except ValidationError as error:
        faults = [{**f, "loc": ("body", *f["loc"])} for f in error.errors(include_url=False)]
    if faults:
        raise RequestValidationError(faults, body=given)
    return rows
