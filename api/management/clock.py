"""What contradicts this node's clock, and that an operator says it is right."""

# Annotations name variables of the functions around them: they are not postponed here.
import logging
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter

from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.management.answers import ClockAnswer
from zhenxian.api.management.common import ALWAYS, problems, requires
from zhenxian.api.management.parameters import Reason
from zhenxian.api.permissions import Action, Thing
from zhenxian.api.reading import PlainRoute
from zhenxian.api.schema import answered
from zhenxian.registry.store import RegistryStore

_logger = logging.getLogger("zhenxian")


def clock_router(
    registry: RegistryStore,
    authenticator: Authenticator,
    clock: Callable[[], float],
    logged: Callable[[str], str],
) -> APIRouter:
    """The routes of /v1/clock.

    Args:
        logged: a text as it is logged; a reason may name numbers.
    """
    routes = APIRouter(
        route_class=PlainRoute,
        prefix="/v1/clock",
        tags=["Node"],
        responses=ALWAYS
        | problems(
            c401="Missing or unknown credentials.",
            c403="The role does not permit it.",
            c422="A value is missing or unusable; the detail names it.",
            c503="The registry's file does not take it.",
        ),
    )
    accept = requires(authenticator, Thing.CLOCK, Action.ACCEPT)

    def told() -> dict[str, Any]:
        return {"time": int(clock()), "doubts": registry.clock_doubts()}

    @routes.get(
        "",
        summary="This node's clock",
        operation_id="read_clock",
        responses=answered("The time here, and what contradicts it.", ClockAnswer),
        dependencies=[requires(authenticator, Thing.CLOCK, Action.READ)],
    )
    async def read() -> dict[str, Any]:
        """Each node has its own clock, and answers for itself."""
        return told()

    @routes.post(
        "/acceptance",
        summary="Accept this node's clock",
        operation_id="accept_clock",
        responses=answered("What contradicts it still.", ClockAnswer),
    )
    async def accepted(principal: Annotated[Principal, accept], reason: Reason) -> dict[str, Any]:
        """Ends the present doubts; commits are dated by this clock again."""
        doubts = registry.clock_doubts()
        await registry.accept_clock()
        for text in doubts:
            _logger.warning(
                "%s (%s) accepted the clock although %s: %s",
                principal.name,
                principal.id,
                text,
                logged(reason),
            )
        return told()

    return routes
