"""The redress contact of rejected calls, published for whoever was rejected (RFC 8688).

RFC 8688 section 6 has the JWS made when it is fetched, from one address for all calls. Here it is
signed on a fetch, and that one is given out for a few seconds: neither a rejected call nor a flood
of fetches costs a signature each, and `iat` is far from the minute at which it would be stale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Request, Response
from msgspec import Struct

from zhenxian.api.permissions import Action, Thing, needs
from zhenxian.certs.keys import Credential
from zhenxian.certs.x5u import X5uPolicy, check_x5u
from zhenxian.core.errors import ConfigError
from zhenxian.core.reasons import SipStatus
from zhenxian.verifier.redress import Contact, Rejection, call_info, sign_contact

PATH: Final = "/stir/v1/redress/contact.jws"
MEDIA_TYPE: Final = "application/jose"  # compact serialisation, RFC 7515 section 9.2.1
FRESH_FOR: Final = 15  # seconds a JWS is given out; a quarter of what RFC 8688 section 3.3 allows


class Signed(Struct, frozen=True):
    """A JWS and what it was made with and when."""

    credential: Credential
    iat: int
    jws: bytes


class Redress:
    """What a rejected call is answered, and the contact that goes with it."""

    def __init__(
        self,
        contact: Contact | None,
        *,
        declines: bool,
        base: str,
        credential: Callable[[], Credential | None],
        clock: Callable[[], float],
    ) -> None:
        """Take the contact, or None for a service that names none.

        Args:
            declines: answer 603 in place of 608; then no contact is given.
            base: public base URL of this service.

        Raises:
            ConfigError: the base is not https, and not loopback.
        """
        self._contact = contact
        self._credential = credential
        self._clock = clock
        self._signed: Signed | None = None
        self._without = Rejection()
        self._with: Rejection | None = None
        if contact is not None and not declines:
            self._with = Rejection(SipStatus.REJECTED, call_info(_checked(base.rstrip("/") + PATH)))

    def rejection(self) -> Rejection:
        """How calls are rejected now. Without a usable key there is no contact, so no 608."""
        if self._with is None or self._credential() is None:
            return self._without
        return self._with

    def card(self) -> tuple[bytes, int] | None:
        """The JWS and the seconds it may be kept; None without a contact or a usable key."""
        credential = self._credential()
        if self._with is None or self._contact is None or credential is None:
            return None
        now = int(self._clock())
        signed = self._signed
        if (
            signed is None
            or signed.credential is not credential
            or not signed.iat <= now < signed.iat + FRESH_FOR
        ):
            jws = sign_contact(self._contact, credential, now)
            signed = self._signed = Signed(credential, now, jws)
        return signed.jws, signed.iat + FRESH_FOR - now


def _checked(uri: str) -> str:
    """The URI, if strangers can fetch from it: what holds for x5u holds for the contact."""
    refused = check_x5u(uri, X5uPolicy(allow_http_loopback=True))
    if refused is not None:
        raise ConfigError(
            f"callers would fetch the redress contact from {uri}: {refused.detail}; set"
            " signer.publish_base to the public https base of this service"
        )
    return uri


def router(redress: Redress) -> APIRouter:
    """The public route of the contact; needs no credentials."""
    routes = APIRouter(tags=["Redress"])

    @routes.head(PATH, include_in_schema=False)
    @routes.get(
        PATH,
        response_class=Response,
        summary="Whom to write to about a rejected call (RFC 8688)",
        operation_id="read_redress_contact",
        responses={
            200: {
                "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
                "description": "A compact JWS, ES256, x5u in its header; claims iat and jcard.",
            },
            404: {"description": "This service names no contact."},
        },
    )
    @needs(Thing.CONTACT, Action.READ)
    async def contact(_: Request) -> Response:
        card = redress.card()
        if card is None:
            return Response(status_code=404, headers={"cache-control": "no-store"})
        jws, seconds = card
        headers = {"cache-control": f"public, max-age={seconds}"}
        return Response(jws, media_type=MEDIA_TYPE, headers=headers)

    return routes
