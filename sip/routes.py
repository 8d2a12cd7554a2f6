"""The INVITE over HTTP: a proxy posts the request as it came, and is told what to do with it.

Answers are lines, which a proxy's script takes without a reader of JSON:

    continue
    P-Asserted-Identity|P-Attestation-Indicator
    P-Asserted-Identity: <tel:+8675588880001;verstat=TN-Validation-Passed>
    P-Attestation-Indicator: A

The first is the action, `continue` or `reject CODE PHRASE`. The second has the names of the header
fields to remove from the INVITE, joined by a bar. Each further one is a header field: to be added
to the INVITE, or to the final response. With Accept: application/json they are members.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, NotRequired, Protocol, TypedDict

import msgspec
from fastapi import APIRouter, HTTPException, Query, Request, Response
from msgspec import Meta, Struct
from starlette.requests import ClientDisconnect

from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.passport.ppt.shaken import Attestation
from zhenxian.sip.access import AccessRules
from zhenxian.sip.advice import Action, Advice
from zhenxian.sip.answering import Later, Question, SipCalls
from zhenxian.sip.message import MAX_MESSAGE, parse
from zhenxian.verifier.verdict import Label

ORIGINATING: Final = "/sip/v1/originating"
TERMINATING: Final = "/sip/v1/terminating"
MESSAGE: Final = "message/sip"
LINES: Final = "text/plain"
JSON: Final = "application/json"
_TYPES: Final = frozenset({MESSAGE, "application/sip", "application/octet-stream"})
_RANGES: Final = {"*/*": LINES, "text/*": LINES, LINES: LINES, "application/*": JSON, JSON: JSON}
_SIGN = re.compile(r"[^A-Za-z0-9_\-]")  # in a field's name, but of meaning in an expression
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode

_EXAMPLE: Final = (
    "INVITE sip:+8613800000001@b.example SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds\r\n"
    "From: <sip:+8675588880001@a.example>;tag=1928301774\r\n"
    "To: <sip:+8613800000001@b.example>\r\n"
    "Call-ID: a84b4c76e66710@192.0.2.1\r\n"
    "CSeq: 314159 INVITE\r\n"
    "Content-Length: 0\r\n\r\n"
)
LONGEST: Final = {"access": 128, "customer": 128, "source": 64}  # characters of what the query says
_REMEMBERED: Final = 256  # characters of an Accept; nobody fills the memory with what is longer
WAITING: Final = "waiting"  # of a request's state: what the connection's protocol has begun
Access = Annotated[
    str | None,
    Query(max_length=LONGEST["access"], description="The access the call came in by."),
]
Customer = Annotated[
    str | None,
    Query(
        max_length=LONGEST["customer"],
        description="Whose call it is of those who share the access.",
    ),
]
Source = Annotated[
    str | None,
    Query(
        max_length=LONGEST["source"],
        description="The address the INVITE came from, for sip.trunks that are told by it.",
    ),
]


class AdviceAnswer(TypedDict):
    """What to do with an INVITE."""

    action: Annotated[Literal["continue", "reject"], Meta(title="AdviceAction")]
    reason: Annotated[
        str,
        Meta(
            title="AdviceReason",
            description="A member of the table of reasons.",
            extra_json_schema={"enum": [one.code for one in Reason]},
        ),
    ]
    text: Annotated[str, Meta(description="It, as a sentence.")]
    remove: Annotated[
        list[str], Meta(description="Header fields to remove from the INVITE before any is added.")
    ]
    headers: Annotated[
        list[str], Meta(description="Whole lines, for the INVITE or for what rejects it.")
    ]
    code: NotRequired[Annotated[int, Meta(description="Of the final response that rejects.")]]
    phrase: NotRequired[str]
    replies: NotRequired[
        Annotated[list[str], Meta(description="Whole lines for the responses (RFC 9410).")]
    ]
    attest: NotRequired[Attestation]
    verstat: NotRequired[Verstat]
    orig: NotRequired[Annotated[str, Meta(description="The display in canonical form.")]]
    dest: NotRequired[list[str]]
    labels: NotRequired[list[Label]]
    spc: NotRequired[Annotated[str, Meta(description="Whose the token is that passed.")]]
    origid: NotRequired[Annotated[str, Meta(description="That token's.")]]


class Asker(Protocol):
    """Who asks, as the service knows it."""

    @property
    def id(self) -> str:
        """Its name."""
        ...


class Delayed(Struct, frozen=True):
    """A question that waits, and the media type of its answer."""

    later: Later
    media: str


def asker_of(name: str, host: str) -> bytes:
    """Who asks; without credentials, all of one address are one asker."""
    return f"http {name} {host if name == 'local' else ''}".encode()


def is_message(content_type: str) -> bool:
    """Whether a Content-Type may be that of a SIP request."""
    return content_type.partition(";")[0].strip().lower() in _TYPES


def wanted(accept: str | None) -> str | None:
    """The media type of the answer; None where neither is accepted (RFC 9110 section 12.5.1)."""
    if accept is None or len(accept) <= _REMEMBERED:
        return _wanted(accept)
    return _wanted.__wrapped__(accept)


@lru_cache(256)
def _wanted(accept: str | None) -> str | None:
    if accept is None or not accept.strip(" \t,"):
        return LINES
    best: tuple[float, int, str] | None = None
    for at, part in enumerate(accept.split(",")):
        media, *parameters = (text.strip().lower() for text in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if media in _RANGES and weight > 0 and (best is None or weight > best[0]):
            best = (weight, at, _RANGES[media])
    return best[2] if best is not None else None


def as_lines(advice: Advice) -> bytes:
    """Action, what to remove, what to add: one a line."""
    action = advice.action.value
    if advice.action is Action.REJECT:
        action = f"{action} {advice.code} {advice.phrase}"
    names = "|".join(_SIGN.sub(r"[\g<0>]", name) for name in advice.remove)
    return "\n".join((action, names, *advice.headers, "")).encode()


def as_json(advice: Advice) -> bytes:
    """The advice with its reason; members that say nothing are left out."""
    members = msgspec.to_builtins(advice)
    members.setdefault("remove", [])
    members.setdefault("headers", [])
    return _encode(members)


def written(advice: Advice, media: str) -> tuple[str, bytes]:
    """Content-Type and body of an answer."""
    if media == JSON:
        return JSON, as_json(advice)
    return f"{LINES}; charset=utf-8", as_lines(advice)


def _response(advice: Advice, media: str) -> Response:
    kind, body = written(advice, media)
    return Response(body, media_type=kind)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_MESSAGE:
            raise HTTPException(413, f"the message is larger than {MAX_MESSAGE} bytes")
    return bytes(body)


def sip_router(
    calls: SipCalls,
    rules: AccessRules,
    admitted: Any,
    responses: dict[int | str, dict[str, Any]],
) -> APIRouter:
    """The two routes.

    Args:
        admitted: a dependency that gives the Asker, or refuses it.
        responses: what the OpenAPI document says of the answers.
    """
    routes = APIRouter(tags=["SIP"])

    async def asked(
        request: Request,
        asker: Asker,
        source: str | None,
        access: str | None,
        customer: str | None = None,
        *,
        signing: bool,
    ) -> Response:
        begun = request.scope.get("state", {}).get(WAITING)
        if isinstance(begun, Delayed):
            return _response(await calls.within(begun.later), begun.media)
        kind = request.headers.get("content-type")
        if kind is not None and not is_message(kind):
            raise HTTPException(415, f"the body is the SIP request, {MESSAGE}")
        media = wanted(",".join(request.headers.getlist("accept")))
        if media is None:
            raise HTTPException(406, f"the answer is {LINES} or {JSON}")
        try:
            invite = parse(await _body(request))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except ParseError as error:
            raise HTTPException(400, f"{error.where}: {error.detail}") from None
        host = request.client.host if request.client is not None else ""
        if signing:
            access = access or rules.access(invite, source or "")
            customer = customer or rules.customer(invite, source or "", access)
        question = Question(
            request=invite,
            signing=signing,
            by=asker_of(asker.id, host),
            access=access,
            customer=customer,
        )
        (found,) = calls.answer_all((question,))
        calls.answered()
        return _response(found if isinstance(found, Advice) else await calls.within(found), media)

    described: dict[str, Any] = {
        "response_class": Response,
        "responses": responses,
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {MESSAGE: {"schema": {"type": "string"}, "example": _EXAMPLE}},
            }
        },
    }

    @routes.post(
        ORIGINATING,
        summary="Sign an INVITE (STI-AS)",
        description="Takes the INVITE as it came; tells what to add, or how to reject it.",
        operation_id="originating",
        **described,
    )
    async def originating(
        request: Request,
        access: Access = None,
        source: Source = None,
        customer: Customer = None,
        asker: Any = admitted,
    ) -> Response:
        return await asked(request, asker, source, access, customer, signing=True)

    @routes.post(
        TERMINATING,
        summary="Verify an INVITE (STI-VS)",
        description="Takes the INVITE as it came; tells what to add, or how to reject it.",
        operation_id="terminating",
        **described,
    )
    async def terminating(request: Request, asker: Any = admitted) -> Response:
        return await asked(request, asker, None, None, signing=False)

    return routes
