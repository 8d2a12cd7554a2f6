"""One call answered on the spot, as the running service would answer it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from zhenxian.api.calls.messages import SIGNING, VERIFICATION, Answer, Headers, Incoming
from zhenxian.service.build import build
from zhenxian.service.service import Service
from zhenxian.service.settings import Settings


def signed(settings: Settings, request: dict[str, Any]) -> Answer:
    """Sign one call.

    Args:
        request: a signingRequest of ATIS-1000082, as decoded from JSON.

    Raises:
        ZhenxianError: the service cannot be built from these settings.
    """
    return _answer(_quiet(settings), SIGNING, {"signingRequest": request})


def verified(settings: Settings, request: dict[str, Any]) -> Answer:
    """Verify one call.

    Args:
        request: a verificationRequest of ATIS-1000082, as decoded from JSON.

    Raises:
        ZhenxianError: the service cannot be built from these settings.
    """
    return _answer(_quiet(settings), VERIFICATION, {"verificationRequest": request})


def _quiet(settings: Settings) -> Service:
    quiet = settings.log.model_copy(update={"level": "error"})
    local = settings.auth.model_copy(update={"keys": None})
    server = settings.server.model_copy(update={"dialect": "atis", "tls_client_ca": None})
    return build(settings.model_copy(update={"log": quiet, "auth": local, "server": server}))


def _answer(service: Service, path: str, body: dict[str, Any]) -> Answer:
    encoded = json.dumps(body).encode()
    headers = Headers(content_length=str(len(encoded)).encode())

    async def asked() -> Answer:
        try:
            if service.keeper is not None:
                service.keeper.restore()  # who was found pooled is so here
            return await service.calls.answer_waiting(Incoming(path, b"POST", headers, encoded))
        finally:
            await service.close()

    return asyncio.run(asked())
