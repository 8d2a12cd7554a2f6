"""The OpenAPI document, and a page to try it that needs no network: carriers' rooms have none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from zhenxian.api.auth import Authenticator
from zhenxian.api.examples import at_present, exemplify
from zhenxian.api.management.common import asking
from zhenxian.api.permissions import ANYBODY, Action, Thing, needs, roles_of
from zhenxian.api.schema import JSON, components
from zhenxian.certs.keys import Credential

TAGS: Final = [
    {"name": "Calls", "description": "Signing (STI-AS) and verification (STI-VS) of calls."},
    {"name": "SIP", "description": "Signing and verification of calls, by the INVITE itself."},
    {"name": "STI-CR", "description": "The certificates that this service signs with."},
    {"name": "Redress", "description": "Whom a caller can write to whose call was rejected."},
    {
        "name": "Registry",
        "description": "Who may show what: subjects, resellers, holdings, accesses, bindings,"
        " exemptions, callees' refusals, customers, declarations and orders, with their history.",
    },
    {"name": "Bulk", "description": "Many records at once, as CSV."},
    {
        "name": "Displays",
        "description": "How the numbers that are shown are used: findings, their figures, ends of"
        " calls, and clearings after objections.",
    },
    {"name": "Node", "description": "What the operator of a single node sees and decides there."},
    {"name": "Metrics", "description": "Figures of the running service, for Prometheus."},
    {"name": "Health", "description": "Whether the service is alive and ready."},
]

_STATIC: Final = Path(fastapi_offline.__file__).parent / "static"
_FILES: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
_FRESH_FOR: Final = 10  # seconds that examples are given out; their iat is good for a minute
_FRAMEWORK: Final = ("HTTPValidationError", "ValidationError")  # how FastAPI would answer 422


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application; its examples are as of EXAMPLE_TIME."""
    described: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    anybodys = set(_anybodys(app.routes))
    for item in described["paths"].values():
        for operation in item.values():
            _answers_as_declared(operation["responses"])
            exemplify(operation)
            if operation["operationId"] in anybodys:
                operation["security"] = []
    parts = described.setdefault("components", {})
    schemas = parts.get("schemas", {})
    for name in _FRAMEWORK:
        schemas.pop(name, None)
    parts["schemas"] = schemas | components()
    # A key is needed only where auth.keys is set, hence the empty alternative.
    parts["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "As `zhenxian key add` printed."}
    }
    described["security"] = [{}, {"key": []}]
    return described


def _anybodys(routes: Sequence[BaseRoute]) -> Iterator[str | None]:
    """The operations that ask for no credentials, by the table of permissions."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from _anybodys(included.routes)
        elif isinstance(route, APIRoute):
            about = route.endpoint.__dict__.get("permission")
            if about is not None and roles_of(*about) == ANYBODY:
                yield route.operation_id


def _answers_as_declared(responses: dict[str, Any]) -> None:
    """Leave out what the framework adds to declared answers, and answers that are never given."""
    for status, response in list(responses.items()):
        schema = response.get("content", {}).get(JSON, {}).get("schema", {})
        if any(schema.get("$ref", "").endswith(f"/{name}") for name in _FRAMEWORK):
            del responses[status]
        for reference in ("$ref", "anyOf"):
            if reference in schema:
                response["content"][JSON]["schema"] = {reference: schema[reference]}


def router(
    app: FastAPI,
    authenticator: Authenticator,
    credential: Callable[[], Credential | None],
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """The page, its files, and the document of `app`.

    Args:
        credential: what this service signs with now. Who may sign gets examples that verify.
    """
    routes = APIRouter(include_in_schema=False)
    described = lru_cache(maxsize=1)(lambda: document(app))

    @lru_cache(maxsize=4)
    def text(period: int, signs: bool) -> str:
        return json.dumps(
            at_present(described(), period * _FRESH_FOR, credential() if signs else None)
        )

    @routes.get("/openapi.json")
    @needs(Thing.DOCUMENTS, Action.READ)
    def openapi(request: Request) -> Response:
        principal = asking(authenticator, request.scope)
        signs = principal is not None and not principal.roles.isdisjoint(
            roles_of(Thing.CALLS, Action.ASK)
        )
        return Response(text(int(clock()) // _FRESH_FOR, signs), media_type=JSON)

    @routes.get("/docs")
    @needs(Thing.DOCUMENTS, Action.READ)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{app.title}: API",
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
        )

    for name in _FILES:
        routes.add_api_route(f"/docs/{name}", _file(_STATIC / name), response_class=FileResponse)
    return routes


def _file(path: Path) -> Any:
    @needs(Thing.DOCUMENTS, Action.READ)
    def serve() -> FileResponse:
        return FileResponse(path)

    return serve
