"""Callees' complaints, as feeds pass them on: put on record, and counted as evidence."""

# Annotations name variables of the functions around them: they are not postponed here.
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.management.answers import ComplaintsPage, ComplaintsTaken
from zhenxian.api.management.common import ALWAYS, problems, requires
from zhenxian.api.permissions import Action, Thing
from zhenxian.api.reading import PlainRoute
from zhenxian.api.schema import answered
from zhenxian.core.errors import ParseError
from zhenxian.core.reading import Reading
from zhenxian.registry.complaint import Complaint, Grievance, complaint_id
from zhenxian.registry.forms import row_of
from zhenxian.registry.journal import VersionConflictError, put
from zhenxian.registry.model import MOST_AHEAD, Kind
from zhenxian.registry.store import Records, RegistryStore

MAX_COMPLAINTS: Final = 1_000  # in one request
MOST_AN_HOUR: Final = 20_000  # of one source, by each process
_OLDEST: Final = 366 * 86_400  # seconds
_HOUR: Final = 3_600
_ATTEMPTS: Final = 3
_MAX_TN: Final = 64

_EXAMPLE: Final = [
    {
        "orig": "8675588880001",
        "dest": "8613900139000",
        "at": 1795500000,
        "kind": "marketing",
        "id": "12321-20261129-4711",
    }
]


class Complained(BaseModel):
    """One callee's complaint of one call."""

    model_config = ConfigDict(extra="forbid")

    orig: str = Field(max_length=_MAX_TN, description="The number that was shown.")
    dest: str = Field(max_length=_MAX_TN, description="Who was called, and complains.")
    at: int = Field(ge=0, lt=2**40, description="When the call was: seconds since the epoch.")
    kind: Grievance = Field(Grievance.OTHER, description="What is complained of.")
    id: str = Field(
        "",
        max_length=128,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="How the source names it; the same complaint counts once.",
    )


class _Allowance:
    """How many complaints each source passed on within the hour. Bounded: sources have keys."""

    def __init__(self) -> None:
        self._hour = -1
        self._taken: dict[str, int] = {}

    def take(self, source: str, count: int, now: int) -> bool:
        """Tell whether so many more are taken."""
        if now // _HOUR != self._hour:
            self._hour, self._taken = now // _HOUR, {}
        taken = self._taken.get(source, 0) + count
        if taken > MOST_AN_HOUR:
            return False
        self._taken[source] = taken
        return True


def complaints_router(
    registry: RegistryStore,
    authenticator: Authenticator,
    *,
    clock: Callable[[], float],
    reading: Reading,
) -> APIRouter:
    """The routes below /v1/complaints. Args: reading: how the numbers of calls are read."""
    routes = APIRouter(
        route_class=PlainRoute,
        prefix="/v1/complaints",
        tags=["Displays"],
        responses=ALWAYS
        | problems(
            c400="The body is not JSON text.",
            c401="Missing or unknown credentials.",
            c403="The role does not permit it.",
            c422="A value is missing or unusable; the detail names it.",
            c503="It cannot be put on record, or the registry cannot be asked.",
        ),
    )
    report = requires(authenticator, Thing.COMPLAINTS, Action.REPORT)
    read = requires(authenticator, Thing.COMPLAINTS, Action.READ)
    allowance = _Allowance()

    @routes.post(
        "",
        summary="Pass on complaints of callees",
        operation_id="tell_complaints",
        responses=problems(
            c413="The body is too large.",
            c429="This source passed on 20,000 within the hour; Retry-After.",
        )
        | answered("They are on record.", ComplaintsTaken),
    )
    async def told(
        principal: Annotated[Principal, report],
        complaints: Annotated[
            Complained
            | Annotated[list[Complained], Field(min_length=1, max_length=MAX_COMPLAINTS)],
            Body(examples=[_EXAMPLE]),
        ],
    ) -> dict[str, Any]:
        """One complaint, or up to 1,000. Put on record, all or none; a repetition changes nothing.

        A complaint counts against whom the call came from if that call was seen here: one callee
        counts once against one caller within seven days and five times a day in all, and a source
        20 times a day against one caller. By themselves complaints label at most; they refuse
        where something else is suspected, too.
        """
        now = int(clock())
        given = complaints if isinstance(complaints, list) else [complaints]
        records = {one.id: one for one in (_record(each, principal.id, now) for each in given)}
        if not allowance.take(principal.id, len(given), now):
            wait = {"retry-after": str(_HOUR - now % _HOUR)}
            raise HTTPException(429, f"at most {MOST_AN_HOUR:,} complaints an hour", wait)
        author = f"{principal.name} ({principal.id})"
        for attempt in range(_ATTEMPTS):
            new = await registry.read(lambda file: _unknown(file, records))
            try:
                if new:
                    changes = [put(records[name], 0) for name in new]
                    await registry.write(changes, author=author, reason="complaints", now=now)
                return {"taken": len(new), "known": len(given) - len(new), "ids": list(records)}
            except VersionConflictError:  # passed on twice at a time
                if attempt + 1 == _ATTEMPTS:
                    raise
        raise AssertionError

    @routes.get(
        "",
        summary="Complaints on record",
        operation_id="list_complaints",
        responses=answered("A page of the complaints.", ComplaintsPage),
        dependencies=[read],
    )
    async def listed(
        limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
        after: Annotated[str, Query(max_length=200, description="`following` before.")] = "",
    ) -> dict[str, Any]:
        """In the order of the calls."""
        page = await registry.read(
            lambda records: records.page(Kind.COMPLAINT, after=after, limit=limit)
        )
        rows = [row_of(record) for _, record in page.rows]
        return {"complaints": rows, "following": page.following}

    def _record(told: Complained, source: str, now: int) -> Complaint:
        if not now - _OLDEST <= told.at <= now + MOST_AHEAD:
            raise HTTPException(422, "at: within the last 366 days")
        try:
            orig, dest = reading.number(told.orig, "orig"), reading.number(told.dest, "dest")
        except ParseError as error:
            raise HTTPException(422, str(error)) from None
        named = told.id or f"{orig}\n{dest}\n{told.kind.value}"
        return Complaint(
            id=complaint_id(told.at, source, named),
            at=told.at,
            orig=orig,
            dest=dest,
            kind=told.kind,
            source=source,
            reference=told.id,
        )

    return routes


def _unknown(records: Records, wanted: dict[str, Complaint]) -> list[str]:
    return [name for name in wanted if records.get(Kind.COMPLAINT, name) is None]
