"""Commits that a fleet's Redis lost, as this node knows of them, and that somebody has looked."""

# Annotations name variables of the functions around them: they are not postponed here.
import logging
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter

from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.management.answers import LossesAnswer
from zhenxian.api.management.common import ALWAYS, problems, requires
from zhenxian.api.management.parameters import Reason
from zhenxian.api.permissions import Action, Thing
from zhenxian.api.reading import PlainRoute
from zhenxian.api.schema import answered
from zhenxian.registry.store import RegistryStore
from zhenxian.registry.stricter import Losses

_logger = logging.getLogger("zhenxian")


def losses_router(
    registry: RegistryStore, authenticator: Authenticator, logged: Callable[[str], str]
) -> APIRouter:
    """The routes of /v1/losses.

    Args:
        logged: a text as it is logged; a reason may name numbers.
    """
    routes = APIRouter(
        route_class=PlainRoute,
        prefix="/v1/losses",
        tags=["Node"],
        responses=ALWAYS
        | problems(
            c401="Missing or unknown credentials.",
            c403="The role does not permit it.",
            c422="A value is missing or unusable; the detail names it.",
            c503="The registry's file does not take it.",
        ),
    )
    acknowledge = requires(authenticator, Thing.LOSSES, Action.ACKNOWLEDGE)

    @routes.get(
        "",
        summary="Commits that Redis lost",
        operation_id="read_losses",
        responses=answered("What this node knows of.", LossesAnswer),
        dependencies=[requires(authenticator, Thing.LOSSES, Action.READ)],
    )
    async def read() -> dict[str, Any]:
        """Each node has its own losses, and answers for itself."""
        return _told(registry.losses)

    @routes.delete(
        "",
        summary="Acknowledge that Redis lost commits",
        operation_id="acknowledge_losses",
        responses=answered("What was held until now.", LossesAnswer),
    )
    async def acknowledged(
        principal: Annotated[Principal, acknowledge], reason: Reason
    ) -> dict[str, Any]:
        """From now on this node follows Redis' records; orders stay until they are given again."""
        losses = await registry.acknowledge_losses()
        if losses.count:
            _logger.warning(
                "%s (%s) acknowledged %d lost commits, %d records are held no more: %s",
                principal.name,
                principal.id,
                losses.count,
                len(losses.held),
                logged(reason),
            )
        return _told(losses)

    return routes


def _told(losses: Losses) -> dict[str, Any]:
    return {
        "count": losses.count,
        "commits": [
            {
                "seq": one.seq,
                "time": one.time,
                "author": one.author,
                "reason": one.reason,
                "changed": [_record(kind.value, key) for kind, key in one.changed],
            }
            for one in losses.commits
        ],
        "held": [_record(one.kind.value, one.key) for one in losses.held],
        "beyond": losses.beyond,
    }


def _record(kind: str, key: str) -> dict[str, str]:
    return {"kind": kind, "key": key}
