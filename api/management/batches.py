"""Many records in one request of the management API: all of them, or each by itself."""

# Annotations name variables of the functions around them: they are not postponed here.
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException
from fastapi.responses import JSONResponse

from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.management.answers import BatchAnswer, BatchProblem
from zhenxian.api.management.bodies import ROWS
from zhenxian.api.management.common import PROBLEM_JSON, problem, problems, requires
from zhenxian.api.management.editing import Editor, check_own
from zhenxian.api.management.parameters import ModeOf, Reason
from zhenxian.api.once import Once, OnceOnly
from zhenxian.api.permissions import RECORDS, Action
from zhenxian.api.schema import answered
from zhenxian.core.errors import ConfigError
from zhenxian.registry.forms import record_of
from zhenxian.registry.imports import MAX_BATCH, Mode
from zhenxian.registry.journal import Change, KeyReusedError, RegistryConflictError, put
from zhenxian.registry.model import NAMES, Kind


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
                record = record_of(kind, row, editor.reading)
                check_own(principal, record)
                changes.append((index, put(record)))
            except (ConfigError, HTTPException) as error:
                detail = error.detail if isinstance(error, HTTPException) else str(error)
                rejected.append({"row": index, "detail": detail})
        if rejected and mode == Mode.ALL_OR_NOTHING.value:
            answer = problem(422, "Invalid value", f"{len(rejected)} rows are unusable")
            refused = {**json.loads(bytes(answer.body)), "rejected": rejected}
            return JSONResponse(refused, 422, media_type=PROBLEM_JSON)
        accepted, version = 0, None
        apart = mode == Mode.BEST_EFFORT.value and await by_rows(once, principal, changes)
        try:
            if changes and not apart:
                commit = await editor.commit(
                    [change for _, change in changes], principal, reason, once, rows
                )
                accepted, version = len(changes), commit.seq
        except (RegistryConflictError, ConfigError) as error:
            if mode == Mode.ALL_OR_NOTHING.value or isinstance(error, KeyReusedError):
                raise
            apart = True
        for index, change in changes if apart else ():
            one = once.row(index) if once is not None else None
            try:
                commit = await editor.commit([change], principal, reason, one, rows)
                accepted, version = accepted + 1, commit.seq
            except KeyReusedError:
                raise
            except (RegistryConflictError, ConfigError) as error:
                rejected.append({"row": index, "detail": str(error)})
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
        return await done(names)

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
                list[row],  # type: ignore[valid-type]
                Body(min_length=1, max_length=MAX_BATCH),
            ],
            reason: Reason,
            once: OnceOnly,
            mode: ModeOf = Mode.ALL_OR_NOTHING.value,
        ) -> JSONResponse:
            plain = [row.model_dump() for row in rows]  # type: ignore[attr-defined]
            return await batch(kind, plain, principal, reason, mode, once)

    for kind in ROWS:
        route(kind)
