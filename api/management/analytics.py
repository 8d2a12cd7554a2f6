"""Conduct for people and proxies: the picture of a key, who is found, ends of calls, objections."""

# Annotations name variables of the functions around them: they are not postponed here.
import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final, Literal, Protocol

from fastapi import APIRouter, Body, HTTPException, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from zhenxian.analytics.counted import Contact
from zhenxian.analytics.detector import Detector
from zhenxian.analytics.model import (
    Assessment,
    Finding,
    Key,
    KeyKind,
    Picture,
    Sample,
    State,
    agent,
)
from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.calls.answers import FOUND_STATES
from zhenxian.api.calls.responses import finding_told
from zhenxian.api.management.answers import (
    ClearedCaller,
    ClearingAnswer,
    ClearingsPage,
    EndedAnswer,
    FindingsPage,
    MeasureAnswer,
    PictureAnswer,
    SampleAnswer,
)
from zhenxian.api.management.common import ALWAYS, problems, requires
from zhenxian.api.permissions import Action, Thing
from zhenxian.api.reading import PlainRoute
from zhenxian.api.schema import answered, content
from zhenxian.core.errors import ParseError, StoreUnavailableError
from zhenxian.core.reading import Reading
from zhenxian.passport.ppt.shaken import MAX_ORIGID_LENGTH
from zhenxian.registry.callers import keys_of
from zhenxian.registry.forms import AS_WRITTEN, row_of
from zhenxian.registry.journal import put
from zhenxian.registry.model import MOST_AHEAD, Clearing, Kind, Use, clearing_id
from zhenxian.registry.store import RegistryStore
from zhenxian.signer.analytics import gateway
from zhenxian.signer.analytics import keys as caller_keys

MAX_ENDED: Final = 1_000  # ends of calls in one request
_AT_ONCE: Final = 50
_MAX_TN: Final = 64  # characters, separators included
_MAX_SECONDS: Final = 7 * 86_400
_MAX_KEY: Final = 264  # characters: "access:", two ids of 128, and "/" between them

_logger = logging.getLogger("zhenxian")

_ENDED_EXAMPLE: Final = [
    {
        "access": "bank-trunk",
        "orig": "8675588880001",
        "dest": "8613900139000",
        "answered": True,
        "seconds": 64,
    },
    {"spc": "1001", "origid": "b0000000-0000-4000-8000-000000000001"},
]

KeyText = Annotated[
    str,
    Path(
        max_length=_MAX_KEY,
        description="access:ID, access:ID/CUSTOMER, subject:ID, reseller:ID, signer:SPC/ORIGID,"
        " spc:SPC or"
        " agent:PLATFORM/NUMBER.",
        examples=["access:bank-trunk"],
    ),
]
Reason = Annotated[str, Query(min_length=1, max_length=500, description="Why; it is on record.")]
ClearingId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=128,
        description="As listed.",
        examples=["01795500000-0a1b2c3d"],
    ),
]


class Keeper(Protocol):
    """What keeps the conduct of this process."""

    @property
    def conduct(self) -> Detector:
        """Counts and findings."""
        ...

    def clear(self, clearing: Clearing) -> None:
        """Apply a clearing that is on record."""
        ...

    async def picture(self, key: Key, now: int) -> Picture:
        """All figures of a key, wherever it is counted."""
        ...


class EndedCall(BaseModel):
    """One call that is over: by its access where we signed it, by its signer where we verified."""

    model_config = ConfigDict(extra="forbid")

    access: str | None = Field(None, max_length=128, description="As in the signing request.")
    customer: str | None = Field(None, max_length=128, description="As in the signing request.")
    spc: str | None = Field(None, max_length=64, description="As in the verification's answer.")
    origid: str | None = Field(None, max_length=MAX_ORIGID_LENGTH, description="Of the token.")
    orig: str | None = Field(None, max_length=_MAX_TN, description="The display.")
    dest: str | None = Field(None, max_length=_MAX_TN, description="The callee's number.")
    answered: bool | None = Field(None, description="Somebody did; with `orig` and `dest`.")
    seconds: int | None = Field(
        None, ge=0, le=_MAX_SECONDS, description="Of talk; with `answered`.", examples=[64]
    )


def displays_router(
    keeper: Keeper,
    registry: RegistryStore,
    authenticator: Authenticator,
    *,
    clock: Callable[[], float],
    logged: Callable[[str], str],
    reading: Reading = AS_WRITTEN,
    contact: str = "",
) -> APIRouter:
    """The routes below /v1/displays.

    Args:
        contact: whom a caller may turn to against whom something stands.
        logged: a text as it is logged; the key of an agent names a number.
        reading: how the numbers of calls are read.
    """
    conduct = keeper.conduct
    routes = APIRouter(
        route_class=PlainRoute,
        prefix="/v1/displays",
        tags=["Displays"],
        responses=ALWAYS
        | problems(
            c400="The body is not JSON text.",
            c401="Missing or unknown credentials.",
            c403="The role does not permit it.",
            c404="Conduct is not counted here: settings displays.*.",
            c422="A value is missing or unusable; the detail names it.",
        ),
    )
    read = requires(authenticator, Thing.DISPLAYS, Action.READ)
    clear = requires(authenticator, Thing.DISPLAYS, Action.CLEAR)
    tell = requires(authenticator, Thing.DISPLAYS, Action.REPORT)

    @routes.get(
        "",
        summary="Who is found suspected or pooled",
        operation_id="list_findings",
        responses=answered("A page of the findings.", FindingsPage),
        dependencies=[read],
    )
    async def standing(
        case: Annotated[
            str | None, Query(max_length=32, description="Only the one with this case number.")
        ] = None,
        state: Annotated[
            str | None,
            Query(
                pattern="^(suspected|pooled)$",
                description="Only these.",
                json_schema_extra={"enum": ["suspected", "pooled"]},
            ),
        ] = None,
        kind: Annotated[KeyKind | None, Query(description="Only keys of this kind.")] = None,
        after: Annotated[str, Query(max_length=_MAX_KEY, description="`following` before.")] = "",
        limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
    ) -> dict[str, Any]:
        found = _asked_for(conduct.standing(int(clock())), case, state, kind)
        rest = [entry for entry in found if entry[0] > after]
        page = rest[:limit]
        return {
            "findings": [finding_told(one, contact) for _, one in page],
            "following": page[-1][0] if len(rest) > limit else None,
        }

    @routes.post(
        "/ended",
        summary="Tell that calls are over",
        operation_id="tell_ended_calls",
        responses=problems(c413="The body is too large.")
        | answered("What was taken.", EndedAnswer),
        dependencies=[tell],
    )
    async def ended(
        calls: Annotated[
            list[EndedCall],
            Body(min_length=1, max_length=MAX_ENDED, examples=[_ENDED_EXAMPLE]),
        ],
    ) -> dict[str, int]:
        """Without these reports calls at a time (并发) are not judged.

        `orig`, `dest` and `answered` tell who had called whom, and whether anybody answered. Where
        they come with nine in ten calls, whom a caller knows is judged by answered calls alone.
        `seconds` tells how long the talk was: with it, a pool is told from a business that has as
        many numbers within some 250 calls; without it, nobody is refused for how its numbers
        spread before they were seen on two days.

        `taken` counts the keys that were told: two for a call signed here (access and subject; the
        reseller too, where `orig` came by one) or verified here (signer and SPC), one for a
        customer of a shared access, none for an access that is not registered; and one more for
        who calls behind a privacy number, as long as its binding is in force.
        """
        return {"taken": await _count_ended(calls, conduct, registry, reading, int(clock()))}

    @routes.get(
        "/{key:path}",
        summary="All figures of a key",
        operation_id="read_picture",
        dependencies=[read],
        responses=problems(c404="A line break is part of no key. Or: conduct is not counted here.")
        | answered("What is known of it.", PictureAnswer),
    )
    async def picture(key: KeyText) -> dict[str, Any]:
        return {**_told(await keeper.picture(Key.parse(key), int(clock())), contact)}

    @routes.delete(
        "/{key:path}",
        status_code=204,
        summary="Clear a key after an objection",
        operation_id="clear_key",
        responses=problems(
            c404="The key is neither suspected nor pooled, or conduct is not counted here.",
            c503="It cannot be put on record; nothing is cleared.",
        ),
    )
    async def clear_one(
        principal: Annotated[Principal, clear], response: Response, key: KeyText, reason: Reason
    ) -> None:
        """On record first (Location), then it counts no more, on any node.

        This key alone: POST /v1/clearings clears everything of its caller. The same conduct is
        found again. To leave a caller alone for longer, exempt it.
        """
        now = int(clock())
        found = conduct.finding(Key.parse(key), now)
        if found is None:
            raise HTTPException(404, f"{key} is neither suspected nor pooled")
        author = f"{principal.name} ({principal.id})"
        clearing = clearing_of(found, conduct.confirmed(found), author, reason, now)
        await registry.write([put(clearing, 0)], author=author, reason=reason, now=now)
        keeper.clear(clearing)
        response.headers["location"] = f"/v1/clearings/{clearing.id}"
        _logger.warning(
            "%s cleared by %s: %s (was: %s)",
            logged(key),
            principal.name,
            logged(reason),
            logged(found.sentence),
        )

    return routes


def _asked_for(
    standing: Iterable[Finding], case: str | None, state: str | None, kind: KeyKind | None
) -> list[tuple[str, Finding]]:
    """The findings of a case, state and kind, behind the texts of their keys, in that order."""
    found = [
        (str(one.key), one)
        for one in standing
        if (state is None or one.state is State[state.upper()])
        and (kind is None or one.key.kind is kind)
        and (case is None or one.case == case.upper())
    ]
    return sorted(found, key=lambda entry: entry[0])


async def _count_ended(
    calls: Sequence[EndedCall],
    conduct: Detector,
    registry: RegistryStore,
    reading: Reading,
    at: int,
) -> int:
    """Count calls that are over, at seconds since the epoch. Returns how many keys were told."""
    told: list[tuple[Key, Contact | None, tuple[Key, ...]]] = []
    for index, call in enumerate(calls):
        if index % _AT_ONCE == 0:
            await asyncio.sleep(0)  # accesses may have to be read; calls go first
        met = _met(call, conduct, reading)
        keys = _ended_keys(call, registry, reading)
        behind = _behind(call, conduct, registry, reading, at) if keys and met else None
        if behind is not None:
            told.append((*behind, (*keys, behind[0])))
        told += [(key, met, keys) for key in keys]
    for key, met, keys in told:
        conduct.ended(key, at, met, keys)
    return len(told)


class Objection(BaseModel):
    """Whose caller is cleared, and why."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=_MAX_KEY, examples=["subject:bank"], description="As in displays.")
    reason: str = Field(min_length=1, max_length=500, description="Why; it is on record.")


def clearing_router(
    keeper: Keeper,
    registry: RegistryStore,
    authenticator: Authenticator,
    *,
    clock: Callable[[], float],
    spc: Callable[[], str | None],
    logged: Callable[[str], str],
) -> APIRouter:
    """Clears everything of a caller in one action. Args: spc: that calls are signed with here."""
    conduct = keeper.conduct
    routes = APIRouter(
        route_class=PlainRoute,
        prefix="/v1/clearings",
        tags=["Displays"],
        responses=ALWAYS
        | problems(
            c400="The body is not JSON text.",
            c401="Missing or unknown credentials.",
            c403="The role does not permit it.",
            c404="Nothing stands against any of it.",
            c422="A value is missing or unusable; the detail names it.",
            c503="It cannot be put on record; nothing is cleared.",
        ),
    )
    clear = requires(authenticator, Thing.DISPLAYS, Action.CLEAR)

    @routes.post(
        "",
        status_code=201,
        summary="Clear everything of a caller after an objection",
        operation_id="clear_caller",
        responses={
            201: {
                "description": "They are on record, and count no more.",
                "content": content(ClearedCaller),
            }
        },
    )
    async def clear_caller(
        principal: Annotated[Principal, clear], objection: Objection
    ) -> dict[str, Any]:
        """The subject, all of its accesses and their origids, by any key of theirs.

        What speaks for the caller stays. It is refused again only for what comes after this, where
        that would do by itself; what was marked or complained of before counts no more.
        """
        key, now, own = Key.parse(objection.key), int(clock()), spc()
        keys = await registry.read(lambda records: keys_of(records, key, own))
        platforms = {one.id for one in keys if one.kind is KeyKind.SUBJECT}
        standing = {one.key: one for one in conduct.standing(now)}
        keys += [
            one
            for one in standing
            if one.kind is KeyKind.AGENT and one.id.rpartition("/")[0] in platforms
        ]
        if standing.keys().isdisjoint(keys):
            raise HTTPException(404, f"nothing stands against {key}, nor the rest of its caller")
        author = f"{principal.name} ({principal.id})"
        made = []
        for one in keys:
            found = standing.get(one)
            confirmed = conduct.confirmed(found) if found is not None else now
            made.append(clearing_of(found, confirmed, author, objection.reason, now, key=one))
        changes = [put(clearing, 0) for clearing in made]
        await registry.write(changes, author=author, reason=objection.reason, now=now)
        for clearing in made:
            keeper.clear(clearing)
        _logger.warning(
            "%s cleared with %d keys by %s: %s",
            logged(objection.key), len(made), principal.name, logged(objection.reason),
        )  # fmt: skip
        return {"clearings": [_recorded(clearing) for clearing in made]}

    return routes


def clearings_router(registry: RegistryStore, authenticator: Authenticator) -> APIRouter:
    """What was cleared, for whoever oversees; also where conduct is not counted any more."""
    routes = APIRouter(
        route_class=PlainRoute,
        prefix="/v1/clearings",
        tags=["Displays"],
        responses=ALWAYS
        | problems(
            c401="Missing or unknown credentials.",
            c403="The role does not permit it.",
            c422="A value is missing or unusable; the detail names it.",
            c503="The registry cannot be asked.",
        ),
        dependencies=[requires(authenticator, Thing.CLEARINGS, Action.READ)],
    )

    @routes.get(
        "",
        summary="What was cleared after objections, by whom and why",
        operation_id="list_clearings",
        responses=answered("A page of the clearings.", ClearingsPage),
    )
    async def listed(
        limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
        after: Annotated[str, Query(max_length=200, description="`following` before.")] = "",
    ) -> dict[str, Any]:
        """The earliest first."""
        page = await registry.read(
            lambda records: records.page(Kind.CLEARING, after=after, limit=limit)
        )
        rows = [_recorded(record) for _, record in page.rows if isinstance(record, Clearing)]
        return {"clearings": rows, "following": page.following}

    @routes.get(
        "/{key}",
        summary="Read a clearing",
        operation_id="read_clearing",
        responses=problems(c404="No such clearing.") | answered("As recorded.", ClearingAnswer),
    )
    async def one(key: ClearingId) -> dict[str, Any]:
        found = await registry.read(lambda records: records.get(Kind.CLEARING, key))
        if found is None or not isinstance(found[1], Clearing):
            raise HTTPException(404, f"there is no clearing {key}")
        return _recorded(found[1])

    return routes


def clearing_of(
    found: Finding | None, confirmed: int, by: str, reason: str, now: int, *, key: Key | None = None
) -> Clearing:
    """The record of a clearing that is made now, of a finding as it stands.

    Args:
        key: whose it is; for one against whom nothing stands, which is cleared with others.
    """
    # What is cleared may come from a node whose clock is ahead.
    at = min(max(now, confirmed), now + MOST_AHEAD)
    if found is None:
        whose = key if key is not None else Key(KeyKind.SUBJECT, "")
        return Clearing(
            id=clearing_id(at, secrets.token_hex(4)),
            kind=whose.kind,
            target=whose.id,
            at=at,
            by=by,
            reason=reason,
            state="watching",
            since=at,
            measures=(),
            sentence="nothing stood against it; cleared with its caller",
        )
    return Clearing(
        id=clearing_id(at, secrets.token_hex(4)),
        kind=found.key.kind,
        target=found.key.id,
        at=at,
        by=by,
        reason=reason,
        state=found.state.name.lower(),
        since=found.since,
        measures=found.measures,
        sentence=found.sentence,
    )


def _recorded(clearing: Clearing) -> dict[str, Any]:
    row = row_of(clearing)
    return {"id": row.pop("id"), "key": f"{row.pop('kind')}:{row.pop('target')}", **row}


def _met(call: EndedCall, conduct: Detector, reading: Reading) -> Contact | None:
    if call.orig is None and call.dest is None and call.answered is None:
        if call.seconds is not None:
            raise HTTPException(422, "seconds belong to orig, dest and answered")
        return None
    if call.orig is None or call.dest is None or call.answered is None:
        raise HTTPException(422, "orig, dest and answered belong together")
    try:
        display, callee = reading.number(call.orig, "orig"), reading.number(call.dest, "dest")
    except ParseError as error:
        raise HTTPException(422, str(error)) from None
    return conduct.met(display, callee, answered=call.answered, seconds=call.seconds)


def _ended_keys(call: EndedCall, registry: RegistryStore, reading: Reading) -> tuple[Key, ...]:
    if call.spc is not None and call.origid is not None:
        return Key(KeyKind.SIGNER, f"{call.spc}/{call.origid}"), Key(KeyKind.SPC, call.spc)
    if call.access is None and call.origid is None:
        raise HTTPException(422, "access, or origid, or spc and origid expected")
    try:
        access = registry.access(call.access, call.origid)
        if access is None:
            return gateway(call.origid) if call.origid else ()
        display = reading.number(call.orig, "orig") if call.orig is not None else None
        customer = None
        if access.id in registry.shared:
            customer = registry.customer(access.id, call.customer, display)
        holding = registry.holding(display) if display is not None else None
    except (StoreUnavailableError, ParseError):
        return ()
    return caller_keys(access, holding, customer.id if customer is not None else None)


def _behind(
    call: EndedCall, conduct: Detector, registry: RegistryStore, reading: Reading, now: int
) -> tuple[Key, Contact] | None:
    """Who called behind a privacy number, and how the callee took it; None where nobody did.

    Its calls are counted by the own number, and so are their ends.
    """
    if call.orig is None or call.dest is None or call.answered is None:
        return None
    try:
        display, callee = reading.number(call.orig, "orig"), reading.number(call.dest, "dest")
        holding = registry.holding(display)
        if holding is None or holding.use is not Use.PRIVACY:
            return None
        binding = registry.shown(display, callee, float(now))
    except (StoreUnavailableError, ParseError):
        return None
    caller = binding.caller(display, callee) if binding is not None else None
    if binding is None or caller is None or binding.platform != holding.subject:
        return None
    met = conduct.met(caller, callee, answered=call.answered, seconds=call.seconds)
    return agent(binding.platform, caller), met


_STATES: Final[dict[State, Literal["watching", "suspected", "pooled"]]] = {
    State.WATCHING: "watching",
    **FOUND_STATES,
}


def _told(picture: Picture, contact: str) -> PictureAnswer:
    finding = picture.finding
    return {
        "key": str(picture.key),
        "state": _STATES[picture.state],
        "calls": picture.calls,
        "counted": picture.counted,
        "first": picture.first,
        "last": picture.last,
        "measures": [_measured(one) for one in picture.measures],
        "finding": finding_told(finding, contact) if finding is not None else None,
        "samples": [_sample(one) for one in finding.samples] if finding is not None else [],
    }


def _measured(assessment: Assessment) -> MeasureAnswer:
    return {
        "measure": assessment.measure,
        "strength": round(assessment.strength, 4),
        "figures": {name: round(value, 4) for name, value in assessment.figures.items()},
        "thresholds": assessment.thresholds,
        "suspicion": None if assessment.suspicion is None else round(assessment.suspicion, 4),
        "wouldTell": list(assessment.would_tell),
    }


def _sample(sample: Sample) -> SampleAnswer:
    return {"at": sample.at, "display": sample.display, "callee": sample.callee}
