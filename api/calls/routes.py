"""The two per-call routes in ASGI form, and in the OpenAPI document with schemas and examples."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from zhenxian.api.auth import ADDRESS, ADMITTED, PEER
from zhenxian.api.calls.answers import (
    AtisError,
    AtisSigningAnswer,
    AtisVerificationAnswer,
    ThreegppError,
    ThreegppSigningAnswer,
    ThreegppVerificationAnswer,
)
from zhenxian.api.calls.members import SigningBody, VerificationBody
from zhenxian.api.calls.messages import (
    SIGNING,
    VERIFICATION,
    Answer,
    Headers,
    Incoming,
)
from zhenxian.api.calls.service import LATER, Calls
from zhenxian.api.examples import CALLEE, DISPLAY, EXAMPLE_TIME, IDENTITY, ORIGID
from zhenxian.api.permissions import Action, Thing, needs
from zhenxian.api.schema import JSON, answered, content

_OTHER_METHODS: Final = ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]

_SIGN_ATIS: Final = {
    "signingRequest": {
        "attest": "A",
        "orig": {"tn": DISPLAY},
        "dest": {"tn": [CALLEE]},
        "iat": EXAMPLE_TIME,
        "origid": ORIGID,
    }
}
_SIGN_3GPP: Final = {
    "signingRequest": {
        "ppt": "shaken",
        "attest": "A",
        "orig": {"tn": DISPLAY},
        "dest": {"tn": [CALLEE]},
        "iat": EXAMPLE_TIME,
        "profileId": "trunk-7",
        "requestId": "12378",
    }
}
_VERIFY_ATIS: Final = {
    "verificationRequest": {
        "from": {"tn": DISPLAY},
        "to": {"tn": [CALLEE]},
        "time": EXAMPLE_TIME,
        "identity": IDENTITY,
        "callId": "a84b4c76e66710@192.0.2.1",
    }
}
_VERIFY_3GPP: Final = {
    "verificationRequest": {
        "from": {"tn": DISPLAY},
        "to": {"tn": CALLEE},
        "time": EXAMPLE_TIME,
        "identityHeader": IDENTITY,
        "callId": "a84b4c76e66710@192.0.2.1",
        "requestId": "45690",
    }
}
_HEALTH: Final = {
    "verificationRequest": {
        "from": {"tn": DISPLAY},
        "to": {"tn": [CALLEE]},
        "time": EXAMPLE_TIME,
    }
}
_REFUSED: Final = {
    "requestError": {
        "policyException": {
            "messageId": "POL4030",
            "text": "Error: Signing refused by policy: %1: %2.",
            "variables": ["DISPLAY_OF_ANOTHER", "the number is held by another subject"],
        }
    }
}


_TEXTS: Final = {
    400: "A member is missing, unknown or has an unusable value; the text names it.",
    401: "Missing or unknown API credentials.",
    403: "Signing refused: the reason and a sentence are the variables. Or: the role permits"
    " no calls.",
    405: "Only POST.",
    409: "Not signed, and to go on without a signature: the call is one for help by To or by its"
    " Request-URI alone.",
    406: "Only application/json is answered.",
    411: "Content-Length is missing.",
    413: "The body is larger than is accepted.",
    415: "Only application/json is read.",
    421: "Without credentials only names of this machine are answered.",
    500: "An error of ours.",
    503: "No usable signing key and certificate are loaded; or more calls wait than can be answered"
    " soon.",
}


_CODES: Final = (400, 401, 403, 405, 406, 411, 413, 415, 421, 500)


def _responses(ok: dict[int | str, dict[str, Any]], *codes: int) -> dict[int | str, dict[str, Any]]:
    responses = dict(ok)
    for code in codes:
        body = content(AtisError, ThreegppError)
        if code == 403:
            body[JSON]["examples"] = {"refused": {"value": _REFUSED}}
        responses[code] = {"description": _TEXTS[code], "content": body}
    return responses


def calls_router(calls: Calls) -> APIRouter:
    """The routes for everything the protocol does not answer itself."""
    routes = APIRouter(tags=["Calls"])

    @needs(Thing.CALLS, Action.ASK)
    async def handle(request: Request) -> Response:
        path = request.scope["path"]
        headers = Headers.of(request.scope["headers"])
        state = request.scope.get("state", {})
        headers.peer = state.get(PEER)
        headers.address = state.get(ADDRESS, "")
        waiting = state.get("waiting")
        if isinstance(waiting, LATER):
            return _response(await calls.go_on(waiting))
        body = b""
        if headers.content_length is not None and calls.reads_body(headers):
            try:
                async for part in request.stream():
                    body += part
                    if len(body) > calls.policy.max_body:
                        break
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it
        method = request.method.encode()
        incoming = Incoming(path, method, headers, body)
        answer = await calls.answer_waiting(incoming)
        state[ADMITTED] = answer.status != HTTPStatus.UNAUTHORIZED
        return _response(answer)

    def documented(path: str, name: str, summary: str, **more: Any) -> None:
        routes.add_api_route(
            path,
            handle,
            methods=["POST"],
            summary=summary,
            operation_id=name,
            response_class=Response,
            **more,
        )
        routes.add_api_route(path, handle, methods=_OTHER_METHODS, include_in_schema=False)

    documented(
        SIGNING,
        "signing",
        "Sign a call (STI-AS)",
        description="Decides the attestation from the registry and signs a shaken PASSporT."
        " `access` (or profileId) names the access the call came in by; a known origid does, too."
        " A proxy may get less than it asks for, never more. A forwarded call gets a div where"
        " `identity` holds the Identity headers that it came with, `div` who forwards, and `dest`"
        " its new destination (RFC 8946). `requestUri` is the Request-URI beside `dest`, who To"
        " names: a call goes where it says.",
        responses=_responses(
            answered("Signed.", AtisSigningAnswer, ThreegppSigningAnswer), *_CODES, 409, 503
        ),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": content(
                    SigningBody,
                    ATIS=_SIGN_ATIS,
                    ThreeGPP=_SIGN_3GPP,
                ),
            }
        },
    )
    documented(
        VERIFICATION,
        "verification",
        "Verify a call (STI-VS)",
        description="Verifies the Identity headers of a call. A body without one is answered with"
        " No-TN-Validation, unless an order or a rule for calls that are not signed says"
        " otherwise. `callId` tells a repeated question about one call from a replay, as does the"
        " same body with the same X-RequestID: for the same asker, for two seconds. `explain`"
        " lists every check.",
        responses=_responses(
            answered("Judged.", AtisVerificationAnswer, ThreegppVerificationAnswer), *_CODES, 503
        ),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": content(
                    VerificationBody,
                    ATIS=_VERIFY_ATIS,
                    ThreeGPP=_VERIFY_3GPP,
                    Health=_HEALTH,
                ),
            }
        },
    )
    return routes


def _response(answer: Answer) -> Response:
    headers = {"x-requestid": answer.request_id.decode("latin-1")}
    if answer.status == 405:
        headers["allow"] = "POST"
    if answer.status == 401:
        headers["www-authenticate"] = "Bearer"
    if answer.status == 503:
        headers["retry-after"] = "1"
    return Response(answer.body, answer.status, headers, "application/json")
