"""Administration: holdings and accesses, health, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.auth import Authenticator, Principal, Role
from gateway.metrics import Metrics
from passport.errors import ConfigError, ParseError, StoreUnavailableError, ZhenxianError
from passport.tn import TN
from registry.csvfile import access_of, access_row, holding_of, holding_row
from registry.model import Access, Holding
from registry.snapshot import RegistryConflictError
from stores.embedded import EmbeddedRegistry

PROBLEM_JSON = "application/problem+json"  # RFC 9457

MAX_BODY = 65_536  # bytes of a row; a hundred times what its members may hold

# Annotations are looked up in the module, so this stands here.
Page = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Offset = Annotated[int, Query(ge=0, le=10**9, description="How many to pass over.")]


class HoldingBody(BaseModel):
    """One number or range held by one subject."""

    model_config = ConfigDict(extra="forbid")

    first: str = Field(description="First number, canonical digits.", examples=["8675588880000"])
    last: str = Field(
        "", description="Last number; empty for a single one.", examples=["8675588889999"]
    )
    subject: str = Field(
        description="Opaque id of the real-name holder.", examples=["subject-bank"]
    )
    verification: str = Field(
        "unverified",
        description="unverified, verified, expired or withdrawn.",
        examples=["verified"],
    )
    use: str = Field("direct", description="direct or do-not-originate.", examples=["direct"])
    spcs: str = Field(
        "",
        description="Service provider codes that may sign for the numbers, separated by spaces.",
        examples=["1234"],
    )


class AccessBody(BaseModel):
    """The trunk, account or device a subject's calls come in by."""

    model_config = ConfigDict(extra="forbid")

    access: str = Field(description="How the proxy names it.", examples=["trunk-7"])
    origid: str = Field(
        description="Its opaque id in tokens (RFC 8588), a UUID.",
        examples=["123e4567-e89b-12d3-a456-426655440000"],
    )
    subject: str = Field(description="Whose calls these are.", examples=["subject-bank"])
    standing: str = Field("good", description="good or suspended.", examples=["good"])


_PROBLEM = {
    PROBLEM_JSON: {
        "schema": {
            "type": "object",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
            },
        }
    }
}


def _problems(**texts: str) -> dict[int | str, dict[str, Any]]:
    """Documented problem answers, by c404="text"."""
    return {
        int(code.removeprefix("c")): {"content": _PROBLEM, "description": text}
        for code, text in texts.items()
    }


def problem(status: int, title: str, detail: str) -> JSONResponse:
    """An RFC 9457 problem document."""
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "detail": detail},
        status,
        media_type=PROBLEM_JSON,
    )


def requires(authenticator: Authenticator, *roles: Role) -> Any:
    """A dependency that lets the given roles pass."""

    def check(request: Request) -> Principal:
        headers = request.headers
        principal = authenticator.principal(
            _octets(headers.get("authorization")), _octets(headers.get("x-api-key"))
        )
        if principal is None:
            raise HTTPException(
                401, "missing or unknown API credentials", {"www-authenticate": "Bearer"}
            )
        if not principal.roles & set(roles):
            names = " or ".join(role.value for role in roles)
            raise HTTPException(403, f"this request needs the role {names}")
        return principal

    return Depends(check)


def _octets(value: str | None) -> bytes | None:
    return value.encode("latin-1") if value is not None else None


def registry_router(registry: EmbeddedRegistry, authenticator: Authenticator) -> APIRouter:
    """Routes that read and change holdings and accesses.

    They are coroutines so that they run where the registry lives: its file is one thread's.
    """
    routes = APIRouter(
        prefix="/v1",
        tags=["Registry"],
        responses=_problems(
            c401="Missing or unknown credentials.",
            c403="The role does not permit it.",
            c422="A value is missing or unusable; the detail names it.",
        ),
    )
    read = requires(authenticator, Role.REGISTRAR, Role.OPERATOR)
    write = requires(authenticator, Role.REGISTRAR)
    conflict = _problems(
        c409="Contradicts another row and names both, or belongs to a CSV file.",
        c503="The disk does not take it; nothing was changed.",
    )
    unreadable = _problems(
        c400="The body is not JSON text.", c413=f"The body is larger than {MAX_BODY} bytes."
    )

    @routes.get("/holdings", dependencies=[read], summary="List holdings")
    async def holdings(
        number: Annotated[str | None, Query(description="Only the one that covers it.")] = None,
        limit: Page = 100,
        offset: Offset = 0,
    ) -> dict[str, Any]:
        if number is not None:
            found = registry.holding(TN.parse(number, where="number"))
            rows: tuple[Holding, ...] = (found,) if found is not None else ()
        else:
            rows = registry.snapshot.holdings
        part = rows[offset : offset + limit]
        return {"total": len(rows), "holdings": [holding_row(row) for row in part]}

    @routes.put(
        "/holdings", dependencies=[write], status_code=204, summary="Put a holding",
        responses=conflict | unreadable,
    )  # fmt: skip
    async def put_holding(body: HoldingBody) -> None:
        registry.change(put=[_own(registry, holding_of(body.model_dump()))])

    @routes.delete(
        "/holdings/{first}", dependencies=[write], status_code=204, summary="End a holding",
        responses=conflict | _problems(c404="No such holding."),
    )  # fmt: skip
    async def drop_holding(first: str) -> None:
        number = TN.parse(first, where="first")
        found = registry.holding(number)
        if found is None or found.numbers.first != number:
            raise HTTPException(404, f"no holding begins with {number}")
        registry.change(drop=[_own(registry, found)])

    @routes.get("/accesses", dependencies=[read], summary="List accesses")
    async def accesses(limit: Page = 100, offset: Offset = 0) -> dict[str, Any]:
        rows = registry.snapshot.accesses
        part = rows[offset : offset + limit]
        return {"total": len(rows), "accesses": [access_row(row) for row in part]}

    @routes.put(
        "/accesses", dependencies=[write], status_code=204, summary="Put an access",
        responses=conflict | unreadable,
    )  # fmt: skip
    async def put_access(body: AccessBody) -> None:
        access = access_of(body.model_dump())
        registry.change(put=[_own(registry, access)])

    @routes.delete(
        "/accesses/{access}", dependencies=[write], status_code=204, summary="End an access",
        responses=conflict | _problems(c404="No such access."),
    )  # fmt: skip
    async def drop_access(access: str) -> None:
        found = registry.access(access, None)
        if found is None:
            raise HTTPException(404, f"no access {access}")
        registry.change(drop=[_own(registry, found)])

    return routes


def _own(registry: EmbeddedRegistry, item: Holding | Access) -> Holding | Access:
    """Refuse to change what a CSV file owns."""
    if registry.listed(item):
        raise HTTPException(409, "this row comes from a CSV file; change it there")
    return item


def health_router(ready: Callable[[], list[str]]) -> APIRouter:
    """Liveness and readiness; need no credentials and tell no secrets."""
    routes = APIRouter(tags=["Health"])

    @routes.get("/healthz", summary="Is the process alive?")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get(
        "/readyz",
        summary="Can it sign and verify?",
        responses={503: {"description": "Not ready; problems says why."}},
    )
    async def readyz() -> JSONResponse:
        problems = ready()
        status = "ok" if not problems else "not ready"
        return JSONResponse({"status": status, "problems": problems}, 503 if problems else 200)

    return routes


def metrics_router(metrics: Metrics, authenticator: Authenticator) -> APIRouter:
    """Prometheus exposition."""
    routes = APIRouter(tags=["Metrics"])

    @routes.get(
        "/metrics",
        dependencies=[requires(authenticator, Role.OPERATOR)],
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {}}},
            **_problems(
                c401="Missing or unknown credentials.", c403="The role does not permit it."
            ),
        },
        summary="Prometheus metrics",
    )
    def exposition() -> Response:
        return Response(generate_latest(metrics.collected()), media_type=CONTENT_TYPE_LATEST)

    return routes


class BoundedBodies:
    """ASGI middleware: refuses large bodies of administration while they arrive.

    The framework reads a body before it asks for credentials.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise HTTPException(413, f"the body is larger than {MAX_BODY} bytes")
            return message

        await self._app(scope, bounded, send)


def error_response(error: ZhenxianError) -> JSONResponse:
    """How administration speaks our errors."""
    if isinstance(error, RegistryConflictError):
        return problem(409, "Conflict", str(error))
    if isinstance(error, StoreUnavailableError):
        return problem(503, "Store unavailable", str(error))
    if isinstance(error, ParseError | ConfigError):
        return problem(422, "Invalid value", str(error))
    return problem(500, "Internal error", type(error).__name__)
