"""Interactive API documentation that needs no network: carriers' rooms have none."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import fastapi_offline
from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from zhenxian.api.calls.routes import schemas
from zhenxian.api.permissions import Action, Thing, needs

_STATIC: Final = Path(fastapi_offline.__file__).parent / "static"
_FILES: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application, with the call bodies' schemas."""
    described = app.openapi()
    components = described.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas())
    # A key is needed only where auth.keys is set, hence the empty alternative.
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "As `zhenxian key add` printed."}
    }
    described["security"] = [{}, {"key": []}]
    return described


def router(app: FastAPI) -> APIRouter:
    """The page, its files, and the document of `app`."""
    routes = APIRouter(include_in_schema=False)
    described = lru_cache(maxsize=1)(lambda: document(app))

    @routes.get("/openapi.json")
    @needs(Thing.DOCUMENTS, Action.READ)
    def openapi() -> dict[str, Any]:
        return described()

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
