"""The OpenAPI document without a running service."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from zhenxian.api.examples import at_present
from zhenxian.api.openapi import document
from zhenxian.service.build import build, documented
from zhenxian.service.settings import Settings


def openapi_document() -> dict[str, Any]:
    """What a service with default settings describes at /openapi.json, examples as of now."""
    with tempfile.TemporaryDirectory() as folder:
        service = build(Settings(data=Path(folder) / "data"))
        try:
            described = document(documented(service))
        finally:
            asyncio.run(service.close())
    found: dict[str, Any] = at_present(described, int(time.time()), None)
    return found
