"""What the management routes share: who may ask, how problems are answered, health, metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from starlette.datastructures import Headers
from starlette.types import Scope

from zhenxian.api.auth import ADMITTED, PEER, Authenticator, Principal
from zhenxian.api.management.answers import HealthAnswer, Problem, ReadinessAnswer
from zhenxian.api.permissions import Action, Thing, needs, roles_of
from zhenxian.api.schema import answered, content
from zhenxian.core.errors import ConfigError, ParseError, StoreUnavailableError, ZhenxianError
from zhenxian.core.pace import Pace
from zhenxian.registry.journal import RegistryConflictError, VersionConflictError
from zhenxian.registry.orders import OrderFault, OrderRefusedError
from zhenxian.telemetry.metrics import Metrics

PROBLEM_JSON = "application/problem+json"  # RFC 9457
UNKNOWN: Final = "missing or unknown API credentials"
CHALLENGE: Final = {"www-authenticate": "Bearer"}
INTERNAL: Final = "an error of this service, which its log tells"

MAX_REMARKS = 20  # told on /readyz; the log has all


def problems(of: Any = Problem, /, **texts: str) -> dict[int | str, dict[str, Any]]:
    """Documented problem answers, by c404="text"; `of`: a type with more members."""
    return {
        int(code.removeprefix("c")): {
            "content": content(of, media=PROBLEM_JSON),
            "description": text,
        }
        for code, text in texts.items()
    }


ALWAYS: Final = problems(
    c421="Without credentials only names of this machine are answered.",
    c500="An error of this service, which its log tells.",
)


def problem(status: int, title: str, detail: str) -> JSONResponse:
    """An RFC 9457 problem document."""
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "detail": detail},
        status,
        media_type=PROBLEM_JSON,
    )


def asking(authenticator: Authenticator, scope: Scope) -> Principal | None:
    """Who makes a request, by its head alone; remembered with it. None for nobody known."""
    state = scope.get("state", {})
    known: Principal | None = state.get(ADMITTED)
    if known is None:
        headers = Headers(scope=scope)
        known = authenticator.principal(
            _octets(headers.get("authorization")),
            _octets(headers.get("x-api-key")),
            state.get(PEER),
        )
        state[ADMITTED] = known
    return known


def requires(authenticator: Authenticator, thing: Thing, action: Action) -> Any:
    """A dependency that lets those pass whom api.permissions names."""
    roles = roles_of(thing, action)
    may = frozenset(roles)

    @needs(thing, action)
    async def check(request: Request) -> Principal:  # no coroutine would need a thread
        principal = asking(authenticator, request.scope)
        if principal is None:
            raise HTTPException(401, UNKNOWN, CHALLENGE)
        if not principal.roles & may:
            names = " or ".join(role.value for role in roles)
            raise HTTPException(403, f"this request needs the role {names}")
        return principal

    return Depends(check)


def _octets(value: str | None) -> bytes | None:
    return value.encode("latin-1") if value is not None else None


def health_router(
    ready: Callable[[], list[str]], remarks: Callable[[], list[str]] = list
) -> APIRouter:
    """Liveness and readiness; need no credentials and tell no secrets.

    Remarks are told beside the problems, and leave the service ready.
    """
    routes = APIRouter(tags=["Health"])

    @routes.options("/healthz", include_in_schema=False)
    @routes.options("/readyz", include_in_schema=False)
    @needs(Thing.HEALTH, Action.READ)
    async def methods() -> Response:
        return Response(status_code=204, headers={"allow": "GET, HEAD, OPTIONS"})

    @routes.get(
        "/healthz",
        summary="Is the process alive?",
        operation_id="healthz",
        responses=answered("It is.", HealthAnswer),
    )
    @needs(Thing.HEALTH, Action.READ)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get(
        "/readyz",
        summary="Can it sign and verify?",
        operation_id="readyz",
        responses=answered("It can.", ReadinessAnswer)
        | {
            503: {
                "description": "Not ready; problems says why.",
                "content": content(ReadinessAnswer),
            }
        },
    )
    @needs(Thing.HEALTH, Action.READ)
    async def readyz() -> JSONResponse:
        problems, told = ready(), remarks()
        body: ReadinessAnswer = {
            "status": "ok" if not problems else "not ready",
            "problems": problems,
        }
        if told:
            body["remarks"] = told[:MAX_REMARKS]
        return JSONResponse(body, 503 if problems else 200)

    return routes


def metrics_router(metrics: Metrics, authenticator: Authenticator) -> APIRouter:
    """Prometheus exposition."""
    routes = APIRouter(tags=["Metrics"])

    @routes.get(
        "/metrics",
        dependencies=[requires(authenticator, Thing.METRICS, Action.READ)],
        response_class=Response,
        responses={
            200: {
                "description": "The text format of Prometheus.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **problems(c401="Missing or unknown credentials.", c403="The role does not permit it."),
        },
        summary="Prometheus metrics",
        operation_id="metrics",
    )
    async def exposition() -> Response:
        text = await asyncio.to_thread(lambda: generate_latest(_Paced(metrics.collected())))
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return routes


class _Paced(CollectorRegistry):
    """The series of another registry, told with rests between."""

    def __init__(self, told: CollectorRegistry) -> None:
        super().__init__()
        self._told = told

    def collect(self) -> Iterator[Metric]:
        return Pace(time.perf_counter, time.sleep).through(self._told.collect())


def error_response(error: ZhenxianError) -> JSONResponse:
    """How administration speaks our errors."""
    if isinstance(error, OrderRefusedError) and error.kind is OrderFault.MALFORMED:
        return problem(422, "Malformed order", str(error))  # nobody's word: none to forge
    for kind, status, title in _ERRORS:
        if isinstance(error, kind):
            return problem(status, title, str(error))
    return problem(500, "Internal error", INTERNAL)


_ERRORS: Final[tuple[tuple[type[ZhenxianError], int, str], ...]] = (
    (RegistryConflictError, 409, "Conflict"),
    (VersionConflictError, 412, "Version conflict"),
    (OrderRefusedError, 403, "Order refused"),
    (StoreUnavailableError, 503, "Store unavailable"),
    (ParseError, 422, "Invalid value"),
    (ConfigError, 422, "Invalid value"),
)
