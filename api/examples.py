"""Examples in the OpenAPI document, and how they are brought to the present as it is served.

They are written as of EXAMPLE_TIME, with IDENTITY where an Identity header stands, so that a reader
who sends one as it is shown gets the answer of a call that is made now.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from zhenxian.certs.ca import key_pem, new_key
from zhenxian.certs.keys import Credential
from zhenxian.core.tn import TN
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import IdentityHeader
from zhenxian.passport.jws import SigningKey, Token, b64url_encode
from zhenxian.passport.ppt.shaken import Attestation, Shaken

EXAMPLE_TIME: Final = 1_795_500_000  # seconds since the epoch
IDENTITY: Final = "Identity header value"
DISPLAY: Final = "12155550100"  # kept for fiction, as is the callee's
CALLEE: Final = "12155550113"
ORIGID: Final = "123e4567-e89b-12d3-a456-426655440000"

_TIME: Final = range(EXAMPLE_TIME - 10**8, EXAMPLE_TIME + 10**8)  # what is a time in an example
_TIME_IN_ID: Final = re.compile(rf"^0{EXAMPLE_TIME}(?=-)")
_NOWHERE: Final = "https://cert.example.com/1234.pem"


def at_present(document: Any, now: int, credential: Credential | None) -> Any:
    """The document with its examples as of now.

    Args:
        now: seconds since the epoch.
        credential: signs the examples of Identity headers with C, which vouches for no number;
            without one they are signed with a key that nobody certifies.
    """
    if isinstance(document, list):
        return [at_present(each, now, credential) for each in document]
    if isinstance(document, dict):
        return {
            name: _moved(value, now, credential)
            if name in ("example", "examples")
            else at_present(value, now, credential)
            for name, value in document.items()
        }
    return document


def _moved(value: Any, now: int, credential: Credential | None) -> Any:
    if isinstance(value, list):
        return [_moved(each, now, credential) for each in value]
    if isinstance(value, dict):
        return {name: _moved(each, now, credential) for name, each in value.items()}
    if isinstance(value, int) and value in _TIME:
        return value - EXAMPLE_TIME + now
    if value == IDENTITY:
        return identity(now, credential)
    if isinstance(value, str):
        return _TIME_IN_ID.sub(f"{now:011d}", value)
    return value


def identity(now: int, credential: Credential | None) -> str:
    """An Identity header of the call in the examples."""
    key, x5u = (credential.key, credential.x5u) if credential is not None else (_key(), _NOWHERE)
    passport = PASSporT(
        Header(x5u, "shaken"),
        TN(DISPLAY),
        Destination((TN(CALLEE),)),
        now,
        Shaken(Attestation.C, ORIGID),
    )
    header, payload = b64url_encode(passport.header.dumps()), b64url_encode(passport.payload())
    signature = b64url_encode(key.sign(header + b"." + payload))
    return IdentityHeader(Token(header, payload, signature), x5u, "ES256", "shaken").dumps()


@lru_cache(maxsize=1)
def _key() -> SigningKey:
    return SigningKey.from_pem(key_pem(new_key()))


_SUBJECT: Final = "example-clinic"
_RANGE: Final = {"first": "12155550100", "last": "12155550149"}
_PRIVACY_RANGE: Final = {"first": "12155550150", "last": "12155550199", "use": "privacy"}
_HOLDING: Final = {
    "subject": _SUBJECT,
    "verification": "verified",
    "reseller": "example-mvno",
    "evidence": "file 2026-117",
    "verified_on": EXAMPLE_TIME,
}
_BINDING: Final = {
    "platform": _SUBJECT,
    "model": "axb",
    "x": "12155550150",
    "a": CALLEE,
    "b": "12155550114",
    "since": EXAMPLE_TIME,
    "until": EXAMPLE_TIME + 3_600,
}
_REFUSAL: Final = {"since": EXAMPLE_TIME, "scopes": ["marketing"], "source": "callee, hotline"}

# In this order each builds on those before it. A holder, its numbers and its access are those of
# the calls in the examples.
RECORDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "reseller": ("example-mvno", {"name": "Example Mobile", "role": "mvno"}),
    "subject": (
        _SUBJECT,
        {
            "name": "Example Clinic",
            "document_kind": "business-licence",
            "document_number": "91440300EXAMPLE0",
        },
    ),
    "holding": ("12155550100-12155550149", _HOLDING),
    "access": ("example-trunk", {"origid": ORIGID, "subject": _SUBJECT}),
    "exemption": (
        "example-exemption",
        {
            "kind": "subject",
            "target": _SUBJECT,
            "reason": "recalls of patients by many extensions",
            "since": EXAMPLE_TIME,
            "until": EXAMPLE_TIME + 30 * 86_400,
            "measures": ["spread"],
        },
    ),
    "customer": (
        "example-bakery",
        {"access": "example-trunk", "names": ["t17"], "numbers": ["12155550110-12155550119"]},
    ),
    "declaration": (
        "example-branches",
        {
            "subject": _SUBJECT,
            "numbers": ["12155550100-12155550149"],
            "cities": ["Philadelphia"],
            "purpose": "recalls of patients",
        },
    ),
    "refusal": (CALLEE, _REFUSAL),
    "binding": ("example-binding", _BINDING),
}
BODIES: Final[dict[str, Any]] = {
    **{f"put_{kind}": body for kind, (_, body) in RECORDS.items()},
    "put_many_holdings": [_RANGE | _HOLDING, _PRIVACY_RANGE | _HOLDING],
    "put_many_bindings": [{"id": "example-binding"} | _BINDING],
    "put_many_refusals": [{"first": CALLEE} | _REFUSAL],
    "import_records": "id,name,role\nexample-reseller,Example Telecom,call centre\n",
}
PARAMETERS: Final[dict[str, dict[str, str]]] = {
    **{
        operation: {"key": key}
        for kind, (key, _) in RECORDS.items()
        for operation in (f"read_{kind}", f"put_{kind}", f"end_{kind}", f"read_{kind}_history")
    },
    "rotate_origid": {"key": RECORDS["access"][0]},
    "read_number": {"number": DISPLAY},
    "trace_origid": {"origid": ORIGID},
    "import_records": {"records": "resellers"},
    "export_records": {"records": "resellers"},
    "read_picture": {"key": "access:example-trunk"},
}
_SUMMARIES: Final = {
    "put_binding": "X is one of the privacy numbers in the example of /v1/holdings/batch",
    "put_many_bindings": "X is one of the privacy numbers in the example of /v1/holdings/batch",
}
_REASON: Final = "as in the documentation"


def exemplify(operation: dict[str, Any]) -> None:
    """Put the examples of an operation of administration into its description."""
    name = operation["operationId"]
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "reason":
            parameter["example"] = _REASON
        elif parameter["name"] in PARAMETERS.get(name, {}):
            parameter["example"] = PARAMETERS[name][parameter["name"]]
    if name in BODIES:
        for media in operation["requestBody"]["content"].values():
            example = {"summary": _SUMMARIES[name]} if name in _SUMMARIES else {}
            media["examples"] = {"example": example | {"value": BODIES[name]}}
