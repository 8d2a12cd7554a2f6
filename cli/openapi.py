"""`zhenxian openapi`: print the OpenAPI document without a running service."""

from __future__ import annotations

import typer

from zhenxian.cli.common import print_json
from zhenxian.service.document import openapi_document


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def openapi() -> None:
        """Print the OpenAPI document, from which clients are generated.

        A running service serves the same at /openapi.json, and a page to try it at /docs.

        Example: zhenxian openapi > openapi.json
        """
        print_json(openapi_document())
