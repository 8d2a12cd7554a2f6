"""What a file of keys, requests, certificates or revocation lists holds, in plain words.

Of private keys nothing is told but what their public half tells.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
)
from msgspec import Struct
from rich.console import Console
from rich.text import Text

from zhenxian.certs.chain import parse_chain
from zhenxian.certs.crl import parse_crl
from zhenxian.certs.profile import key_text
from zhenxian.certs.reading import UNREADABLE
from zhenxian.certs.tnauthlist import OID as TNAUTHLIST
from zhenxian.certs.tnauthlist import parse_tnauthlist
from zhenxian.cli.explain import explain_chain, explain_path
from zhenxian.core.errors import ParseError

_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \1-----", re.DOTALL)
_CERTIFICATES: Final = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
_REQUESTS: Final = frozenset({"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"})
_BESIDE: Final = frozenset({"EC PARAMETERS", "DH PARAMETERS"})  # stand before keys and tell nothing
_UNUSABLE: Final = (*UNREADABLE, UnsupportedAlgorithm)


class Material(Struct):
    """What was found.

    Attributes:
        certificates: as explain_chain tells them.
        path: as explain_path does.
        objects: anything else, each with its kind, a sentence, and whether it is good for use.
    """

    certificates: list[dict[str, Any]]
    objects: list[dict[str, Any]]
    path: dict[str, Any] | None = None

    @property
    def bad(self) -> bool:
        """True when something in it cannot be used."""
        return (
            any(item["state"] == "bad" for item in self.objects)
            or (self.path is not None and self.path["bad"])
            or any(
                violation["must"]
                for entry in self.certificates
                for violation in entry["violations"]
            )
        )


def is_material(data: bytes) -> bool:
    """True for PEM, and for what is one value of DER from end to end."""
    return b"-----BEGIN " in data or (data[:1] == b"\x30" and _length(data) == len(data))


def _length(data: bytes) -> int:
    """How long the DER value is that the octets begin with, by its own head."""
    first = data[1] if len(data) > 1 else 0
    if first < 0x80:
        return 2 + first
    octets = first & 0x7F
    return 2 + octets + int.from_bytes(data[2 : 2 + octets], "big")


def explain_material(data: bytes, now: int) -> Material:
    """Say what the octets are.

    Raises:
        ParseError: CERT_MALFORMED: certificates that cannot be read, or nothing that is known.
    """
    blocks = [(match[1].decode(), match[0]) for match in _PEM.finditer(data)]
    if not blocks:
        return _der(data, now)
    objects = [
        _pem(label, block)
        for label, block in blocks
        if label not in _CERTIFICATES and label not in _BESIDE
    ]
    certificates = b"\n".join(block for label, block in blocks if label in _CERTIFICATES)
    if not certificates:
        return Material([], objects)
    return _chain(certificates, now, objects)


def _chain(data: bytes, now: int, objects: list[dict[str, Any]]) -> Material:
    chain = parse_chain(data)
    return Material(explain_chain(chain, now), objects, explain_path(chain, now))


def _pem(label: str, block: bytes) -> dict[str, Any]:
    try:
        if label in _REQUESTS:
            return _request(x509.load_pem_x509_csr(block))
        if label == "X509 CRL":
            return _list(block)
        if label.endswith("PUBLIC KEY"):
            return _public(load_pem_public_key(block))
        if label.endswith("PRIVATE KEY"):
            if label.startswith("ENCRYPTED") or b"\nProc-Type: 4,ENCRYPTED" in block:
                return _encrypted()
            load = load_ssh_private_key if label.startswith("OPENSSH") else load_pem_private_key
            return _private(load(block, None))
    except (ParseError, *_UNUSABLE):
        # Not even the library's words: they might hold octets of a key.
        return _object(label.lower(), "bad", f"a PEM block of {label} that cannot be read")
    return _object(label.lower(), "bad", f"a PEM block of {label}, which nothing here reads")


def _der(data: bytes, now: int) -> Material:
    readers: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: _request(x509.load_der_x509_csr(data)),
        lambda: _list(data),
        lambda: _public(load_der_public_key(data)),
    )
    for reader in readers:
        try:
            return Material([], [reader()])
        except (ParseError, *_UNUSABLE):
            continue
    try:
        return Material([], [_private(load_der_private_key(data, None))])
    except TypeError:  # what the library says of a password that it was not given
        return Material([], [_encrypted()])
    except _UNUSABLE:
        pass
    return _chain(data, now, [])


def _object(kind: str, state: str, text: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "state": state, "text": text, **more}


def _encrypted() -> dict[str, Any]:
    return _object(
        "private key",
        "bad",
        "a private key under a password, which the service does not ask for: a file of mode 0600"
        " without one belongs there",
    )


def _told(key: Any) -> dict[str, Any]:
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {"key": key_text(key), "spki_sha256": hashlib.sha256(spki).hexdigest()}


def _use(key: Any) -> str:
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "it fits ES256, which signs calls (RFC 8225 section 8)"
    return "it signs no calls: those are signed by ES256, with a P-256 key (RFC 8225 section 8)"


def _public(key: Any) -> dict[str, Any]:
    told = _told(key)
    return _object("public key", "info", f"a public key ({told['key']}); {_use(key)}", **told)


def _private(key: Any) -> dict[str, Any]:
    public = key.public_key()
    told = _told(public)
    return _object(
        "private key",
        "info",
        f"a private key ({told['key']}); {_use(public)}; nothing of the private half is shown",
        **told,
    )


def _request(request: x509.CertificateSigningRequest) -> dict[str, Any]:
    key = request.public_key()
    told = _told(key)
    try:
        good = request.is_signature_valid
    except (InvalidSignature, *_UNUSABLE):
        good = False
    asked = []
    numbers = None
    for extension in request.extensions:
        asked.append(extension.oid.dotted_string + (", critical" if extension.critical else ""))
        if extension.oid == TNAUTHLIST and isinstance(extension.value, x509.UnrecognizedExtension):
            try:
                numbers = str(parse_tnauthlist(extension.value.value))
            except ParseError as error:
                numbers = f"unreadable: {error.detail}"
    return _object(
        "certificate request",
        "info" if good else "bad",
        f"a certificate request (CSR) for {request.subject.rfc4514_string()[:200]} with a key of"
        f" {told['key']}; {_use(key)}; its signature {'verifies' if good else 'does not verify'}",
        **told,
        subject=request.subject.rfc4514_string(),
        extensions=asked,
        tnauthlist=numbers,
    )


def _list(data: bytes) -> dict[str, Any]:
    found = parse_crl(data)
    issuer = found.called[:200]
    begin = datetime.fromtimestamp(found.this_update, UTC)
    end = datetime.fromtimestamp(found.next_update, UTC)
    return _object(
        "revocation list",
        "info",
        f"{'an indirect' if found.indirect else 'a'} revocation list of {issuer}, of"
        f" {begin:%F %T} UTC,"
        + (f" replaced by {end:%F %T} UTC" if found.next_update else " without an end")
        + f", with {len(found.revoked)} entries",
        issuer=issuer,
        indirect=found.indirect,
        entries=len(found.revoked),
    )


def print_objects(console: Console, objects: list[dict[str, Any]]) -> None:
    """What stands beside certificates, for people."""
    for entry in objects:
        console.print(Text.assemble((entry["kind"], "bold"), f": {entry['text']}"))
        if "spki_sha256" in entry:
            console.print(f"  SHA-256 of the public key {entry['spki_sha256']}")
        for asked in entry.get("extensions", ()):
            console.print(f"  asks for the extension {asked}")
        if entry.get("tnauthlist") is not None:
            console.print(f"  asks to speak for {entry['tnauthlist']}")
