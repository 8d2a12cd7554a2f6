"""The SHAKEN certificate profile (ATIS-1000080 section 6.4, RFC 8226, RFC 9060), explained.

What bears on trust is MUST and refuses the certificate under the default policy; what is naming
and distribution is SHOULD here and is shown by `zhenxian inspect` and `zhenxian pki`.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID
from msgspec import Struct

from certs import constraints, tnauthlist
from certs.reading import UNREADABLE
from passport.errors import ParseError

POLICY_ARC: Final = "2.16.840.1.114569.1.1."  # US certificate policy; its version follows
_COMMON_NAME = re.compile(r"SHAKEN ([A-Za-z0-9]{1,10})\Z")
_UNDERSTOOD: Final = frozenset(
    {
        x509.BasicConstraints.oid,
        x509.KeyUsage.oid,
        x509.ExtendedKeyUsage.oid,
        x509.SubjectAlternativeName.oid,
        x509.CertificatePolicies.oid,
        x509.CRLDistributionPoints.oid,
        x509.NameConstraints.oid,
        tnauthlist.OID,
        constraints.OID,
        constraints.ENHANCED_OID,
    }
)


_OTHER_USAGES: Final = (
    ("content_commitment", "nonRepudiation"),
    ("key_encipherment", "keyEncipherment"),
    ("data_encipherment", "dataEncipherment"),
    ("key_agreement", "keyAgreement"),
    ("key_cert_sign", "keyCertSign"),
    ("crl_sign", "cRLSign"),
)


class _Expect(Protocol):
    def __call__(
        self, holds: bool, code: str, must: bool, text: str, source: str = ...
    ) -> None: ...


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class Role(str, Enum):
    """Where a certificate stands in a chain."""

    LEAF = "leaf"
    DELEGATE = "delegate"
    INTERMEDIATE = "intermediate"
    ROOT = "root"


class Violation(Struct, frozen=True):
    """One departure from the profile, in plain words.

    Attributes:
        must: it bears on trust.
    """

    code: str
    must: bool
    text: str
    source: str


class ProfilePolicy(Struct, frozen=True):
    """How strictly the profile is kept. `strict` refuses for SHOULD too."""

    strict: bool = False


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """The value of an extension, None when it is not there.

    Raises:
        ValueError: the certificate's extensions cannot be read.
    """
    item = _item(certificate, kind)
    return item.value if item is not None else None


def role_of(certificate: x509.Certificate) -> Role:
    """Where the certificate stands, by what it says of itself."""
    try:
        basic = extension(certificate, x509.BasicConstraints)
        if basic is not None and basic.ca:
            if certificate.issuer == certificate.subject:
                return Role.ROOT
            return Role.DELEGATE if _has(certificate, tnauthlist.OID) else Role.INTERMEDIATE
        listed = tnauthlist.tnauthlist_of(certificate)
    except (*UNREADABLE, ParseError):
        return Role.LEAF
    if listed is not None and (listed.ranges or listed.numbers):
        return Role.DELEGATE
    return Role.LEAF


def check_profile(certificate: x509.Certificate, role: Role) -> tuple[Violation, ...]:
    """All departures of a certificate from the profile of its role, in a fixed order."""
    found: list[Violation] = []
    atis = "ATIS-1000080 section 6.4.1"

    def expect(holds: bool, code: str, must: bool, text: str, source: str = atis) -> None:
        if not holds:
            found.append(Violation(code, must, text, source))

    try:
        certificate.extensions  # noqa: B018
        key = certificate.public_key()
        version = certificate.version
    except UNREADABLE as error:
        return (
            Violation("UNREADABLE", True, f"the certificate cannot be read: {error}", "RFC 5280"),
        )
    authority = role in (Role.INTERMEDIATE, Role.ROOT)
    expect(version is x509.Version.v3, "VERSION", True, "X.509 version 3 is expected")
    expect(
        isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1),
        "KEY",
        True,
        f"a P-256 key is expected, not {type(key).__name__}",
    )
    expect(
        certificate.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA256
        and isinstance(certificate.signature_hash_algorithm, hashes.SHA256),
        "SIGNATURE_ALGORITHM",
        True,
        "ecdsa-with-SHA256 is expected",
    )
    for item in certificate.extensions:
        expect(
            not item.critical or item.oid in _UNDERSTOOD,
            "CRITICAL_UNKNOWN",
            True,
            f"the critical extension {item.oid.dotted_string} is not understood",
            "RFC 5280 section 4.2",
        )
    _subject(certificate, role, expect)
    _usage(certificate, role, expect)
    basic = _item(certificate, x509.BasicConstraints)
    expect(
        basic is not None and basic.critical,
        "BASIC_CONSTRAINTS",
        False,
        "critical basicConstraints are expected, of a carrier's certificate too",
    )
    expect(
        extension(certificate, x509.SubjectKeyIdentifier) is not None,
        "SKI",
        False,
        "a subject key identifier is expected",
    )
    if role is not Role.ROOT:
        expect(
            extension(certificate, x509.AuthorityKeyIdentifier) is not None,
            "AKI",
            False,
            "an authority key identifier is expected",
        )
        policies = extension(certificate, x509.CertificatePolicies)
        expect(
            policies is not None
            and len(policies) == 1
            and policies[0].policy_identifier.dotted_string.startswith(POLICY_ARC),
            "POLICY",
            False,
            f"exactly one certificate policy, below {POLICY_ARC[:-1]}, is expected",
        )
        points = extension(certificate, x509.CRLDistributionPoints)
        expect(
            points is not None and len(points) == 1 and points[0].crl_issuer is not None,
            "CRLDP",
            False,
            "exactly one CRL distribution point, that names its cRLIssuer, is expected",
        )
    if authority:
        expect(
            not _has(certificate, tnauthlist.OID),
            "TNAUTHLIST_ON_CA",
            False,
            "a STI-CA's certificate has no TNAuthList",
        )
    else:
        expect(
            extension(certificate, x509.SubjectAlternativeName) is None,
            "SAN",
            False,
            "no subject alternative name is expected",
        )
        _tnauthlist(certificate, role, expect)
    return tuple(found)


def _item(
    certificate: x509.Certificate, kind: type[_Extension]
) -> x509.Extension[_Extension] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _has(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bool:
    return any(item.oid == oid for item in certificate.extensions)


def _subject(certificate: x509.Certificate, role: Role, expect: _Expect) -> None:
    subject = certificate.subject
    for oid, name in ((NameOID.COUNTRY_NAME, "C"), (NameOID.ORGANIZATION_NAME, "O")):
        expect(
            len(subject.get_attributes_for_oid(oid)) == 1,
            f"SUBJECT_{name}",
            False,
            f"the subject has exactly one {name}",
        )
    common = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if role is not Role.LEAF:
        expect(len(common) == 1, "SUBJECT_CN", False, "the subject has exactly one CN")
        return
    match = _COMMON_NAME.match(common[0]) if len(common) == 1 else None
    expect(match is not None, "SUBJECT_CN", False, 'a CN of the form "SHAKEN <SPC>" is expected')
    try:
        listed = tnauthlist.tnauthlist_of(certificate)
    except ParseError:
        return
    if match is not None and listed is not None and listed.spcs:
        expect(
            match[1] in listed.spcs,
            "SPC_CONTRADICTION",
            True,
            f"the CN claims SPC {match[1]}, the TNAuthList {', '.join(listed.spcs)}",
        )


def _usage(certificate: x509.Certificate, role: Role, expect: _Expect) -> None:
    basic = extension(certificate, x509.BasicConstraints)
    item = _item(certificate, x509.KeyUsage)
    usage = item.value if item is not None else None
    expect(
        item is None or item.critical,
        "KEY_USAGE_CRITICAL",
        False,
        "the key usage is expected to be critical",
    )
    delegates = role is Role.DELEGATE and basic is not None and basic.ca
    if delegates or role in (Role.INTERMEDIATE, Role.ROOT):
        expect(basic is not None and basic.ca, "CA", True, "basicConstraints CA is expected")
        expect(
            usage is not None and usage.key_cert_sign,
            "KEY_USAGE",
            True,
            "the key usage keyCertSign is expected",
        )
        return
    expect(basic is None or not basic.ca, "CA", True, "a certificate that signs calls is no CA")
    expect(
        usage is not None and usage.digital_signature,
        "KEY_USAGE",
        True,
        "the key usage digitalSignature is expected",
    )
    others = [] if usage is None else [text for name, text in _OTHER_USAGES if getattr(usage, name)]
    expect(
        not others,
        "KEY_USAGE_OTHERS",
        True,
        f"the key usage digitalSignature alone is expected, found beside it: {', '.join(others)}",
    )


def _tnauthlist(certificate: x509.Certificate, role: Role, expect: _Expect) -> None:
    try:
        listed = tnauthlist.tnauthlist_of(certificate)
    except ParseError as error:
        expect(False, "TNAUTHLIST", True, error.detail, "RFC 8226 section 9")
        return
    if listed is None:
        expect(False, "TNAUTHLIST", True, "a TNAuthList is expected", "RFC 8226 section 9")
    elif role is Role.LEAF:
        expect(
            len(listed.entries) == 1 and len(listed.spcs) == 1,
            "TNAUTHLIST_SPC",
            True,
            f"a TNAuthList of exactly one SPC is expected, not {str(listed)[:80]}",
        )
