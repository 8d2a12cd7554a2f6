"""STI-CR: the service publishes its own certificate chains, each under the hash of its content.

A chain stays published after the key behind it was replaced, because tokens signed with it are
still on their way and others have cached its address.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from zhenxian.api.permissions import Action, Thing, needs
from zhenxian.certs.files import octets_of
from zhenxian.core.errors import ConfigError, StoreUnavailableError

PATH: Final = "/stir/v1/certificates/"
MEDIA_TYPE: Final = "application/pem-certificate-chain"  # RFC 8555 section 9.1
_MAX_AGE: Final = 86_400  # seconds; the content of an address never changes
_UNKEPT: Final = {"cache-control": "no-store"}
_NAME = re.compile(r"[0-9a-f]{64}\.pem\Z")


class Publisher:
    """A folder of published chains, shared by all workers."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError when the folder cannot be made."""
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: {error.strerror}") from None

    @staticmethod
    def name(chain_pem: bytes) -> str:
        """The last segment of the chain's address."""
        return f"{hashlib.sha256(chain_pem).hexdigest()}.pem"

    def publish(self, chain_pem: bytes) -> str:
        """Publish a chain; returns its name. Raises ConfigError when the disk does not take it."""
        name = self.name(chain_pem)
        target = self._folder / name
        if target.exists():
            return name
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(chain_pem)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        except OSError as error:
            raise ConfigError(f"{target}: {error.strerror}") from None
        return name

    def read(self, name: str) -> bytes | None:
        """The chain of that name, None when there is none.

        Raises:
            StoreUnavailableError: whether there is one cannot be said: the folder cannot be read,
                or no descriptor is left.
        """
        if _NAME.match(name) is None:
            return None
        try:
            return octets_of(self._folder / name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailableError(f"published chains: {error.strerror}") from None


def router(publisher: Publisher) -> APIRouter:
    """The public route that serves chains; needs no credentials."""
    routes = APIRouter(tags=["STI-CR"])

    @routes.head(PATH + "{name}", include_in_schema=False)
    @routes.get(
        PATH + "{name}",
        response_class=Response,
        summary="A published certificate chain",
        operation_id="read_certificate_chain",
        responses={
            200: {
                "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
                "description": "The chain, leaf first.",
            },
            304: {"description": "Not modified."},
            404: {"description": "No such chain."},
            503: {"description": "Chains cannot be read now."},
        },
    )
    @needs(Thing.CERTIFICATES, Action.READ)
    async def chain(name: str, request: Request) -> Response:
        try:
            body = await asyncio.to_thread(publisher.read, name)
        except StoreUnavailableError:
            # Not 404: whoever verifies our calls would take that for the answer, and not ask again.
            return Response(status_code=503, headers=_UNKEPT | {"retry-after": "1"})
        if body is None:
            return Response(status_code=404, headers=_UNKEPT)
        etag = f'"{name.removesuffix(".pem")}"'
        headers = {"etag": etag, "cache-control": f"public, max-age={_MAX_AGE}, immutable"}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=MEDIA_TYPE, headers=headers)

    return routes
