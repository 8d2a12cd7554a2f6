"""The two per-call routes in ASGI form, and in the OpenAPI document with schemas and examples."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from zhenxian.api.auth import ADDRESS, ADMITTED, PEER
from zhenxian.api.calls.messages import (
    SIGNING,
    VERIFICATION,
    Answer,
    Headers,
    Incoming,
)
from zhenxian.api.calls.requests import SigningBody, VerificationBody
from zhenxian.api.calls.service import LATER, Calls
from zhenxian.verifier.verdict import Label

_OTHER_METHODS: Final = ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]

_SIGN_ATIS: Final = {
    "signingRequest": {
        "attest": "A",
        "orig": {"tn": "12155550100"},
        "dest": {"tn": ["12155550113"]},
        "iat": 1795500000,
        "origid": "123e4567-e89b-12d3-a456-426655440000",
    }
}
_SIGN_3GPP: Final = {
    "signingRequest": {
        "ppt": "shaken",
        "attest": "A",
        "orig": {"tn": "12155550100"},
        "dest": {"tn": ["12155550113"]},
        "iat": 1795500000,
        "profileId": "trunk-7",
        "requestId": "12378",
    }
}
_IDENTITY: Final = (
    "eyJhbGciOiJFUzI1NiIsInBwdCI6InNoYWtlbiIsInR5cCI6InBhc3Nwb3J0IiwieDV1Ijoi…"
    ";info=<https://cert.example.com/1234.pem>;alg=ES256;ppt=shaken"
)
_VERIFY_ATIS: Final = {
    "verificationRequest": {
        "from": {"tn": "12155550100"},
        "to": {"tn": ["12155550113"]},
        "time": 1795500000,
        "identity": _IDENTITY,
    }
}
_VERIFY_3GPP: Final = {
    "verificationRequest": {
        "from": {"tn": "12155550100"},
        "to": {"tn": "12155550113"},
        "time": 1795500000,
        "identityHeader": _IDENTITY,
        "requestId": "45690",
    }
}
_HEALTH: Final = {
    "verificationRequest": {
        "from": {"tn": "12155550100"},
        "to": {"tn": ["12155550113"]},
        "time": 1795500000,
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


def _json(schema: dict[str, Any], **examples: Any) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": schema}
    if examples:
        media["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"application/json": media}


_EXCEPTION: Final = {
    "type": "object",
    "required": ["messageId", "text", "variables"],
    "properties": {
        "messageId": {"type": "string"},
        "text": {"type": "string"},
        "variables": {"type": "array", "items": {"type": "string"}},
    },
}
_ERROR: Final = {
    "oneOf": [
        {
            "type": "object",
            "required": ["requestError"],
            "properties": {
                "requestError": {
                    "type": "object",
                    "properties": {
                        "serviceException": _EXCEPTION,
                        "policyException": _EXCEPTION,
                    },
                }
            },
        },
        {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "string"}},
        },
    ]
}
_TEXTS: Final = {
    400: "A member is missing, unknown or has an unusable value; the text names it.",
    401: "Missing or unknown API credentials.",
    403: "Signing refused: the reason and a sentence are the variables. Or: the role permits"
    " no calls.",
    405: "Only POST.",
    406: "Only application/json is answered.",
    411: "Content-Length is missing.",
    413: "The body is larger than is accepted.",
    415: "Only application/json is read.",
    500: "An error of ours.",
    503: "No usable signing key and certificate are loaded.",
}


def _responses(ok: dict[str, Any], text: str, *codes: int) -> dict[int | str, dict[str, Any]]:
    responses: dict[int | str, dict[str, Any]] = {200: {"description": text, "content": ok}}
    for code in codes:
        example = {"refused": _REFUSED} if code == 403 else {}
        responses[code] = {"description": _TEXTS[code], "content": _json(_ERROR, **example)}
    return responses


def _string(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


_LABELS: Final = {
    "type": "array",
    "items": {"enum": [label.value for label in Label]},
    "description": "What a policy that only labels says about the call.",
}
_SIGNED: Final = {
    "type": "object",
    "required": ["signingResponse"],
    "properties": {
        "signingResponse": {
            "type": "object",
            "properties": {
                "identity": _string(description="Identity header value (ATIS-1000082)."),
                "identityHeader": _string(description="Identity header value (3GPP)."),
                "requestId": _string(),
                "attest": _string(enum=["A", "B", "C"], description="What was signed."),
                "ppt": _string(enum=["div", "div-o"], description="Of a diverted call."),
                "decision": _string(description="Why: a member of the table of reasons."),
                "decisionText": _string(description="Why, as a sentence."),
                "labels": _LABELS,
            },
        }
    },
}
_JUDGED: Final = {
    "type": "object",
    "required": ["verificationResponse"],
    "properties": {
        "verificationResponse": {
            "type": "object",
            "properties": {
                "verstat": _string(description="Verification status (ATIS-1000082)."),
                "verstatValue": _string(description="Verification status (3GPP)."),
                "reasoncode": {"type": "integer", "description": "SIP code, RFC 8224."},
                "reasontext": _string(description="SIP reason phrase."),
                "reasondesc": _string(description="The first check that failed, as a sentence."),
                "verifyResults": {"type": "array", "items": {"type": "object"}},
                "requestId": _string(),
                "displayName": _string(),
                "divResult": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["div", "verstatValue"],
                        "properties": {
                            "div": {"type": "object", "additionalProperties": _string()},
                            "verstatValue": _string(),
                        },
                    },
                    "description": "Of each div token: who diverted the call, and whether that"
                    " is verified.",
                },
                "reason": _string(description="A member of the table of reasons."),
                "reasonHeader": _string(description="SIP Reason header value, RFC 9410."),
                "failedCheck": _string(),
                "attest": _string(),
                "origid": _string(),
                "spc": _string(description="Service provider code of the signer."),
                "notes": {"type": "array", "items": _string()},
                "sipResponse": {
                    "type": "object",
                    "description": "How a proxy rejects a call that is genuine but not wanted.",
                    "properties": {
                        "code": {"enum": [603, 607, 608]},
                        "phrase": _string(),
                        "callInfo": _string(description="Call-Info header value, RFC 8688."),
                    },
                },
                "labels": _LABELS,
                "kind": {"enum": ["messaging", "privacy"], "description": "Of the display."},
                "checks": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
}


def schemas() -> dict[str, Any]:
    """JSON schemas of the request bodies, for the document's components."""
    (_, components) = msgspec.json.schema_components(
        [SigningBody, VerificationBody], ref_template="#/components/schemas/{name}"
    )
    return components


def calls_router(calls: Calls) -> APIRouter:
    """The routes for everything the protocol does not answer itself."""
    routes = APIRouter(tags=["Calls"])

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
        " A proxy may get less than it asks for, never more.",
        responses=_responses(
            _json(_SIGNED), "Signed.", 400, 401, 403, 405, 406, 411, 413, 415, 500, 503
        ),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": _json(
                    {"$ref": "#/components/schemas/SigningBody"},
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
            _json(_JUDGED), "Judged.", 400, 401, 403, 405, 406, 411, 413, 415, 500
        ),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": _json(
                    {"$ref": "#/components/schemas/VerificationBody"},
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
    return Response(answer.body, answer.status, headers, "application/json")
