"""The SHAKEN certificate profile (ATIS-1000080 section 6.4, RFC 8226, RFC 9060), explained.

What bears on trust is MUST and refuses the certificate under any policy. The rest binds issuers:
a departure from it refuses under `strict`; under `lenient` it is shown (`zhenxian inspect`,
`zhenxian pki`, the notes of a verdict) and counted.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID
from msgspec import Struct

from zhenxian.certs import constraints, tnauthlist
from zhenxian.certs.enforced import by_reference, unfit_constraints, unfit_purpose, unknown_critical
from zhenxian.certs.reading import UNREADABLE, described
from zhenxian.core.errors import ParseError

POLICY_ARC: Final = "2.16.840.1.114569.1.1."  # US certificate policy; its version follows
_COMMON_NAME = re.compile(r"SHAKEN ([A-Za-z0-9]{1,10})\Z")
_WORD = re.compile(r"[A-Za-z0-9]+")
_CODE = re.compile(r"[0-9]{3}[0-9A-Z]\Z")  # as the companies' codes of the field are
_SERIAL_OCTETS: Final = 20  # of its DER (RFC 5280 section 4.1.2.2); the library takes one more
_RSA_BITS: Final = 2048  # the least that the library takes
_CA_CURVES: Final = (SECP256R1, SECP384R1)
_ROOT_CURVES: Final = (*_CA_CURVES, SECP521R1)
_SIGNATURES: Final = frozenset(
    {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
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


_USAGES: Final = (("digital_signature", "digitalSignature"), *_OTHER_USAGES)
_CURVE_NAMES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_ALGORITHM_NAMES: Final = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: "ecdsa-with-SHA1",
    SignatureAlgorithmOID.ECDSA_WITH_SHA224: "ecdsa-with-SHA224",
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: "ecdsa-with-SHA256",
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: "ecdsa-with-SHA384",
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: "ecdsa-with-SHA512",
    SignatureAlgorithmOID.RSA_WITH_SHA1: "sha1WithRSAEncryption",
    SignatureAlgorithmOID.RSA_WITH_SHA256: "sha256WithRSAEncryption",
    SignatureAlgorithmOID.RSA_WITH_SHA384: "sha384WithRSAEncryption",
    SignatureAlgorithmOID.RSA_WITH_SHA512: "sha512WithRSAEncryption",
    SignatureAlgorithmOID.RSASSA_PSS: "RSASSA-PSS",
}
_EXTENSION_NAMES: Final = {
    x509.BasicConstraints.oid: "basicConstraints",
    x509.KeyUsage.oid: "keyUsage",
    x509.ExtendedKeyUsage.oid: "extKeyUsage",
    x509.SubjectAlternativeName.oid: "subjectAltName",
    x509.NameConstraints.oid: "nameConstraints",
    x509.CertificatePolicies.oid: "certificatePolicies",
    x509.PolicyConstraints.oid: "policyConstraints",
    x509.InhibitAnyPolicy.oid: "inhibitAnyPolicy",
    x509.CRLDistributionPoints.oid: "cRLDistributionPoints",
    x509.AuthorityKeyIdentifier.oid: "authorityKeyIdentifier",
    x509.SubjectKeyIdentifier.oid: "subjectKeyIdentifier",
    x509.AuthorityInformationAccess.oid: "authorityInfoAccess",
    tnauthlist.OID: "TNAuthList",
    constraints.OID: "JWTClaimConstraints",
    constraints.ENHANCED_OID: "EnhancedJWTClaimConstraints",
}
_NOT_FETCHED: Final = (
    "a TNAuthList in the certificate is expected, not one by reference ({}), which is not fetched"
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
    """How strictly the profile is kept. `strict` refuses every departure, `lenient` shows them."""

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


def signing_role(certificate: x509.Certificate) -> Role:
    """What a certificate is that stands first in a chain: it signs calls, whatever it says."""
    role = role_of(certificate)
    if role is Role.DELEGATE and not _is_ca(certificate):
        return role
    return Role.LEAF


def issuing_role(certificate: x509.Certificate) -> Role:
    """What a certificate is that stands between the first of a path and its root."""
    return Role.DELEGATE if role_of(certificate) is Role.DELEGATE else Role.INTERMEDIATE


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
        text = f"the certificate cannot be read: {described(error)}"
        return (Violation("UNREADABLE", True, text, "RFC 5280 section 4"),)
    root = role is Role.ROOT
    issues = root or role is Role.INTERMEDIATE or _is_ca(certificate)
    expect(
        version is x509.Version.v3,
        "VERSION",
        True,
        f"X.509 version 3 is expected, not {version.name[1:]}",
    )
    _key(key, role, issues=issues, expect=expect)
    algorithm = certificate.signature_algorithm_oid
    expect(
        algorithm == SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        "SIGNATURE_ALGORITHM",
        algorithm not in _SIGNATURES and not root,
        f"a signature by ecdsa-with-SHA256 is expected, not {algorithm_text(certificate)}",
        "RFC 8226 section 4" if algorithm in _SIGNATURES else atis,
    )
    octets = serial_octets(certificate)
    expect(
        octets <= _SERIAL_OCTETS,
        "SERIAL",
        octets > _SERIAL_OCTETS + 1,
        f"a serial number of {_SERIAL_OCTETS} octets at most is expected, not {octets}",
        "RFC 5280 section 4.1.2.2",
    )
    unknown = unknown_critical(certificate)
    expect(
        unknown is None,
        "CRITICAL_UNKNOWN",
        not root,
        f"the critical extension {extension_text(unknown) if unknown else ''} is not enforced here",
        "RFC 5280 section 4.2",
    )
    _limits(certificate, role, issues=issues, expect=expect)
    _subject(certificate, role, expect)
    _usage(certificate, role, expect)
    basic = _item(certificate, x509.BasicConstraints)
    expect(
        basic is not None and basic.critical,
        "BASIC_CONSTRAINTS",
        basic is None if root else issues,
        "basicConstraints are expected, which path validation needs of a root"
        if root and basic is None
        else "critical basicConstraints are expected, of a carrier's certificate too",
    )
    expect(
        extension(certificate, x509.SubjectKeyIdentifier) is not None,
        "SKI",
        False,
        "a subject key identifier is expected",
    )
    if role is not Role.ROOT:
        above = extension(certificate, x509.AuthorityKeyIdentifier)
        expect(
            above is not None and above.key_identifier is not None,
            "AKI",
            issues and above is not None,
            "an authority key identifier is expected"
            if above is None
            else "an authority key identifier without the identifier of a key",
        )
        policies = extension(certificate, x509.CertificatePolicies)
        expect(
            policies is not None
            and len(policies) == 1
            and policies[0].policy_identifier.dotted_string.startswith(POLICY_ARC),
            "POLICY",
            False,
            f"exactly one certificate policy, below {POLICY_ARC[:-1]}, is expected, not"
            f" {_policies(policies)}",
        )
        points = extension(certificate, x509.CRLDistributionPoints)
        named = [point for point in points or () if point.crl_issuer is not None]
        expect(
            points is not None and len(points) == 1 and len(named) == 1,
            "CRLDP",
            False,
            "exactly one CRL distribution point, that names its cRLIssuer, is expected, not"
            f" {len(points or ())}, of which {len(named)} do",
        )
    try:
        constraints.constraints_of(certificate)
    except ParseError as error:
        expect(False, "CONSTRAINTS", True, error.detail, "RFC 8226 section 8")
    if root or role is Role.INTERMEDIATE:
        listed = _has(certificate, tnauthlist.OID)
        place = None if listed else by_reference(certificate)
        expect(
            place is None, "TNAUTHLIST", True, _NOT_FETCHED.format(place), "RFC 8226 section 10.1"
        )
        try:
            tnauthlist.tnauthlist_of(certificate)
        except ParseError as error:  # a root's limits what is below it, too
            expect(False, "TNAUTHLIST", True, error.detail, "RFC 8226 section 9")
        expect(
            not listed,
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


def _is_ca(certificate: x509.Certificate) -> bool:
    basic = extension(certificate, x509.BasicConstraints)
    return basic is not None and basic.ca


def _signs(certificate: x509.Certificate, role: Role) -> bool:
    """True for what signs calls: a carrier's certificate, and a delegate's that is no CA."""
    return role is Role.LEAF or (role is Role.DELEGATE and not _is_ca(certificate))


def algorithm_text(certificate: x509.Certificate) -> str:
    """By what a certificate is signed, by the name that standards give it."""
    oid = certificate.signature_algorithm_oid
    return _ALGORITHM_NAMES.get(oid, oid.dotted_string)


def serial_octets(certificate: x509.Certificate) -> int:
    """Octets of the serial number in DER; a highest bit that is set takes one more."""
    return certificate.serial_number.bit_length() // 8 + 1


def extension_text(oid: x509.ObjectIdentifier) -> str:
    """An extension as standards name it, with its number."""
    name = _EXTENSION_NAMES.get(oid)
    return f"{name} ({oid.dotted_string})" if name is not None else oid.dotted_string


def _policies(policies: x509.CertificatePolicies | None) -> str:
    named = ", ".join(policy.policy_identifier.dotted_string for policy in policies or ())
    return named or "none"


def key_text(key: object) -> str:
    """A public key by its curve, or its kind and size."""
    if isinstance(key, EllipticCurvePublicKey):
        return _CURVE_NAMES.get(key.curve.name, key.curve.name)
    if isinstance(key, RSAPublicKey):
        return f"RSA of {key.key_size} bits"
    return type(key).__name__.removesuffix("PublicKey").lstrip("_")


def _key(key: object, role: Role, *, issues: bool, expect: _Expect) -> None:
    """P-256 alone signs calls. CAs may do otherwise, and roots may have whatever verifies."""
    if isinstance(key, EllipticCurvePublicKey):
        taken = isinstance(key.curve, _ROOT_CURVES if role is Role.ROOT else _CA_CURVES)
        good = isinstance(key.curve, SECP256R1)
    else:
        # RFC 8226 section 4: verifiers MUST support RSA PKCS #1 v1.5 for certificate signatures.
        taken = isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS
        good = False
    expect(
        good,
        "KEY",
        not (issues and taken),
        (
            "a root's key is expected to be P-256, P-384, P-521 or RSA of 2048 bits or more, not"
            if role is Role.ROOT
            else "a P-256 key is expected, not"
        )
        + f" {key_text(key)}",
        "RFC 8226 section 4",
    )


def _limits(certificate: x509.Certificate, role: Role, *, issues: bool, expect: _Expect) -> None:
    """Extensions that limit what a certificate is for, as far as they can be enforced."""
    usage = _item(certificate, x509.ExtendedKeyUsage)
    unfit = (
        unfit_purpose(usage.value, critical=usage.critical, issues=issues)
        if usage is not None
        else None
    )
    expect(
        unfit is None,
        "EXTENDED_KEY_USAGE",
        role is not Role.ROOT,
        unfit or "",
        "RFC 5280 section 4.2.1.12",
    )
    names = _item(certificate, x509.NameConstraints)
    wrong = unfit_constraints(names.value) if names is not None else None
    expect(
        wrong is None,
        "NAME_CONSTRAINTS",
        role is not Role.ROOT or (names is not None and names.critical),
        wrong or "",
        "RFC 5280 section 4.2.1.10",
    )


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
    match = _COMMON_NAME.match(common[0]) if len(common) == 1 else None
    if role is Role.LEAF:
        text = 'a CN of the form "SHAKEN <SPC>" is expected'
        expect(match is not None, "SUBJECT_CN", False, text)
    else:
        expect(len(common) == 1, "SUBJECT_CN", False, "the subject has exactly one CN")
    if not _signs(certificate, role):
        return
    try:
        listed = tnauthlist.tnauthlist_of(certificate)
    except ParseError:
        return
    claimed = {match[1]} if match is not None else _codes(common)
    if claimed and listed is not None and listed.spcs:
        expect(
            not claimed.isdisjoint(listed.spcs),
            "SPC_CONTRADICTION",
            True,
            f"the CN claims SPC {', '.join(sorted(claimed))}, the TNAuthList"
            f" {', '.join(listed.spcs)}",
        )


def _codes(common: list[str]) -> set[str]:
    """The codes that a CN of another form claims: after the word SHAKEN, or at its end."""
    found: set[str] = set()
    for text in common:
        words = _WORD.findall(text)
        if "SHAKEN" in words:
            after = words[words.index("SHAKEN") + 1 :]
            found.update(word for word in (*after[:1], *after[-1:]) if _CODE.match(word))
    return found


def _usage(certificate: x509.Certificate, role: Role, expect: _Expect) -> None:
    item = _item(certificate, x509.KeyUsage)
    usage = item.value if item is not None else None
    basic = _item(certificate, x509.BasicConstraints)
    expect(
        item is None or item.critical,
        "KEY_USAGE_CRITICAL",
        False,
        "the key usage is expected to be critical",
    )
    found = _usages(usage)
    authority = basic is not None and basic.value.ca
    if role in (Role.INTERMEDIATE, Role.ROOT) or (role is Role.DELEGATE and authority):
        expect(
            authority,
            "CA",
            True,
            "basicConstraints with cA true are expected of what issues certificates, not"
            f" {'cA false' if basic is not None else 'none'}",
        )
        expect(
            usage is not None and usage.key_cert_sign,
            "KEY_USAGE",
            role is not Role.ROOT,
            f"the key usage keyCertSign is expected of a CA, not {found}",
        )
        return
    expect(
        not authority,
        "CA",
        True,
        "a certificate that signs calls is no CA: it has cA true in its basicConstraints, where"
        " cA false belongs",
    )
    expect(
        usage is not None and usage.digital_signature,
        "KEY_USAGE",
        True,
        f"a certificate that signs calls needs the key usage digitalSignature; it has {found}",
    )
    others = [] if usage is None else [text for name, text in _OTHER_USAGES if getattr(usage, name)]
    expect(
        not others,
        "KEY_USAGE_OTHERS",
        False,
        f"the key usage digitalSignature alone is expected, found beside it: {', '.join(others)}",
    )


def _usages(usage: x509.KeyUsage | None) -> str:
    if usage is None:
        return "no key usage at all"
    named = [text for name, text in _USAGES if getattr(usage, name)]
    return ", ".join(named) or "an empty one"


def _tnauthlist(certificate: x509.Certificate, role: Role, expect: _Expect) -> None:
    try:
        listed = tnauthlist.tnauthlist_of(certificate)
    except ParseError as error:
        expect(False, "TNAUTHLIST", True, error.detail, "RFC 8226 section 9")
        return
    if listed is None:
        place = by_reference(certificate)
        text = "a TNAuthList is expected" if place is None else _NOT_FETCHED.format(place)
        expect(False, "TNAUTHLIST", True, text, "RFC 8226 section 9")
    elif role is Role.LEAF:
        expect(
            len(listed.entries) == 1 and len(listed.spcs) == 1,
            "TNAUTHLIST_SPC",
            True,
            f"a TNAuthList of exactly one SPC is expected, not {str(listed)[:80]}",
        )
    elif _signs(certificate, role):
        expect(
            len(listed.spcs) <= 1,
            "TNAUTHLIST_SPC",
            True,
            f"a TNAuthList of one SPC at most is expected, not {str(listed)[:80]}",
        )
