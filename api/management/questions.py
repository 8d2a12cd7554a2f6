"""What the management API answers about numbers and changes: who holds, who held, what was done."""

# Annotations name variables of the functions around them: they are not postponed here.
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Response

from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.management.answers import ChangesAnswer, NumberNow, NumberThen
from zhenxian.api.management.common import requires
from zhenxian.api.management.editing import Editor, shown, shown_version
from zhenxian.api.management.pages import page_of, rows_of
from zhenxian.api.management.parameters import At, Key, Limit, instant
from zhenxian.api.permissions import Action, Thing
from zhenxian.api.schema import answered
from zhenxian.registry.kinds import Plan
from zhenxian.registry.model import Holding, Kind
from zhenxian.registry.parties import involved
from zhenxian.registry.store import Records

_COMMITS: Final = 10  # read at once; each may name a thousand records


def question_routes(
    routes: APIRouter, editor: Editor, authenticator: Authenticator, plan: Plan
) -> None:
    """The routes of numbers and of changes."""
    read = requires(authenticator, Thing.NUMBERS, Action.READ)
    audit = requires(authenticator, Thing.CHANGES, Action.READ)
    registry = editor.registry

    @routes.get(
        "/numbers/{number}",
        summary="Who may show a number, now or at a past instant",
        operation_id="read_number",
        responses=answered("Who holds it; with `at`, who held it.", NumberNow, NumberThen),
    )
    async def number(
        principal: Annotated[Principal, read], number: Key, at: At = None
    ) -> dict[str, Any]:
        tn = editor.reading.filed(number, "number")
        label = plan.label(tn)
        when = instant(at) if at is not None else None

        def ask(records: Records) -> dict[str, Any]:
            answer: dict[str, Any] = {
                "number": str(tn),
                "kind": label.kind.value,
                "label": label.text,
                "label_zh": label.text_zh,
            }
            if when is None:
                levels = records.levels(tn)
                answer["holdings"] = [shown(held, principal, v) for v, held in levels]
                answer["chain"] = _chain(records, levels[0][1], None) if levels else []
                holding = levels[0][1] if levels else None
                who = involved(tn, holding, tuple(answer["chain"]))
                order = records.stopped(who)
                answer["order"] = shown(order, principal) if order is not None else None
                return answer
            held_then = records.held_at(tn, when) if tn.isdecimal() else None
            answer["at"] = when
            answer["holding"] = (
                shown_version(held_then, principal) if held_then is not None else None
            )
            value = held_then.value if held_then is not None else None
            answer["chain"] = _chain(records, value, when) if isinstance(value, Holding) else []
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
    ) -> Response:
        parts: list[bytes] = []
        found, last = 0, after
        while found < limit:
            some, start = min(_COMMITS, limit - found), last
            rows = await registry.read(partial(_commits, after=start, limit=some))
            parts.append(bytes(await rows_of(rows))[1:-1])
            found += len(rows)
            if len(rows) < some:
                break
            last = rows[-1]["seq"]
        listed = msgspec.Raw(b"[" + b",".join(filter(None, parts)) + b"]")
        return page_of({"changes": listed, "following": last if found == limit else None})


def _commits(records: Records, after: int, limit: int) -> list[dict[str, Any]]:
    return records.commits(after, limit)


def _chain(records: Records, holding: Holding, at: int | None) -> list[str]:
    """The resellers of a holding, the carrier's side first."""
    chain: list[str] = []
    reseller = holding.reseller
    while reseller and reseller not in chain:
        chain.append(reseller)
        if at is None:
            entry = records.get(Kind.RESELLER, reseller)
            record = entry[1] if entry is not None else None
        else:
            version = records.at(Kind.RESELLER, reseller, at)
            record = version.value if version is not None else None
        reseller = getattr(record, "parent", "")
    return chain[::-1]
