"""From a chain as it was served to a signer that is trusted, or the reason why not.

Paths are found by certs.path; here is what path validation does not know: revocation, the SHAKEN
profile, TNAuthList, delegation (RFC 9060).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct
from msgspec.structs import replace

from zhenxian.certs.constraints import ClaimConstraints, constraints_of
from zhenxian.certs.crl import Named
from zhenxian.certs.enforced import by_reference
from zhenxian.certs.path import MAX_CERTIFICATES, NoPath, dates, find_path
from zhenxian.certs.profile import (
    ProfilePolicy,
    Violation,
    check_profile,
    extension,
    issuing_role,
    signing_role,
)
from zhenxian.certs.reading import UNREADABLE, described
from zhenxian.certs.revocation import (
    RevocationPolicy,
    RevocationView,
    State,
    Status,
    anchor,
    delegates,
)
from zhenxian.certs.tnauthlist import TNAuthList, tnauthlist_of
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.errors import ConfigError, ParseError
from zhenxian.core.reasons import Reason
from zhenxian.passport.jws import VerifyingKey

MAX_LENGTH: Final = 64 * 1024  # octets of one chain
UNCHECKED: Final = "revocation was not checked: no fresh list, and the policy permits that"
_DEFAULT_PROFILE: Final = ProfilePolicy()
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


class Chain(Struct, frozen=True, kw_only=True):
    """Certificates as they were served, the signer's first; nothing believed.

    Attributes:
        digest: SHA-256 over the certificates, in hex: what validation results are kept by.
        public_key_der: the signer's SubjectPublicKeyInfo.
        spc: the first service provider code the signer's certificate claims.
        not_after: epoch second from which on some certificate has expired.
    """

    certificates: tuple[x509.Certificate, ...]
    digest: str
    public_key_der: bytes
    spc: str | None
    not_after: int


class Departure(Struct, frozen=True):
    """What a trusted certificate does otherwise than the profile has it.

    Attributes:
        role, code: from a small fixed set, to be counted by.
        text: a sentence for people, with the certificate in it.
    """

    role: str
    code: str
    text: str


class TrustedSigner(Struct, frozen=True, kw_only=True):
    """Who signs, and for whom: the result of a validation that succeeded.

    Attributes:
        valid_from, valid_until: epoch seconds between which the result may be used again: all
            certificates of the path are valid then, and the lists it rests on are fresh.
        revocation_unchecked: no fresh list covered some certificate, and the policy permits that.
        delegated: serial number of the highest certificate of the path that names numbers and no
            code: whoever was given it makes certificates below it as it likes (RFC 9060).
        statuses: what the lists say of each certificate of the path, the signer's first and the
            root left out.
        departures: in what the path departs from the profile, none of which bears on trust.
        notes: what a verdict that rests on this says of it, for people.
    """

    chain_digest: str
    key: VerifyingKey
    spc: str | None
    tnauthlist: TNAuthList
    constraints: tuple[ClaimConstraints, ...]
    serial: int
    subject: str
    issuer: str
    valid_from: int
    valid_until: int
    revocation_unchecked: bool = False
    delegated: int = 0
    statuses: tuple[Status, ...] = ()
    departures: tuple[Departure, ...] = ()
    notes: tuple[str, ...] = ()


class Untrusted(Struct, frozen=True):
    """Why a chain is not trusted: the certificate at fault and a sentence for people."""

    reason: Reason
    where: str
    detail: str


def _malformed(why: str) -> ParseError:
    return ParseError(Reason.CERT_MALFORMED, "chain", why)


def parse_chain(data: bytes) -> Chain:
    """Read what x5u serves: PEM certificates (RFC 8555 section 9.1), or one in DER.

    The first is the signer's; the order of the others does not matter, and a root among them
    does no harm.

    Raises:
        ParseError: CERT_MALFORMED (436).
    """
    if len(data) > MAX_LENGTH:
        raise _malformed(f"larger than {MAX_LENGTH} octets")
    count = data.count(_PEM)
    if count > MAX_CERTIFICATES:
        raise _malformed(f"{count} certificates, more than {MAX_CERTIFICATES}")
    try:
        if count:
            certificates = tuple(x509.load_pem_x509_certificates(data))
        else:
            certificates = (x509.load_der_x509_certificate(data),)
        ders = [certificate.public_bytes(Encoding.DER) for certificate in certificates]
        for certificate in certificates:
            # Read now, so that none fails later.
            certificate.subject, certificate.issuer, certificate.extensions  # noqa: B018
            if certificate.serial_number <= 0:
                raise _malformed("a serial number that is not positive (RFC 5280 section 4.1.2.2)")
        leaf = certificates[0]
        key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        not_after = min(int(c.not_valid_after_utc.timestamp()) for c in certificates)
    except UNREADABLE as error:
        raise _malformed(f"not a certificate chain: {described(error)}") from None
    try:
        listed = tnauthlist_of(leaf)
    except ParseError:  # validate tells
        listed = None
    spcs = listed.spcs if listed is not None else ()
    return Chain(
        certificates=tuple(map(x509.load_der_x509_certificate, ders)),  # see `unread`
        digest=hashlib.sha256(b"".join(ders)).hexdigest(),
        public_key_der=key,
        spc=spcs[0] if spcs else None,
        not_after=not_after,
    )


def unread(chain: Chain) -> Chain:
    """A chain equal to this one, to be looked into and let go.

    A certificate keeps what was read of it: 5 KB of extensions, where it takes 1 KB itself. Chains
    that are kept by the thousand stay unread.
    """
    ders = [certificate.public_bytes(Encoding.DER) for certificate in chain.certificates]
    return replace(chain, certificates=tuple(map(x509.load_der_x509_certificate, ders)))


def uncovered(
    chain: Chain, *, now: int, trust: TrustList, revocation: RevocationView
) -> tuple[Named, ...]:
    """Where the certificates of a chain's path say their lists are, of those that none covers.

    Empty without a path to a trusted root. The other certificates of the chain, which anybody can
    put there, do not count.
    """
    path = find_path(chain.certificates[0], chain.certificates[1:], now, trust.roots)
    if isinstance(path, NoPath):
        return ()
    statuses = revocation.statuses(path, now)
    unknown = [status.state is State.UNKNOWN for status in statuses]
    return tuple(itertools.compress(_named(path), unknown))


def named(chain: Chain, *, now: int, trust: TrustList) -> tuple[Named, ...]:
    """As `uncovered`, of all certificates of the path."""
    path = find_path(chain.certificates[0], chain.certificates[1:], now, trust.roots)
    return () if isinstance(path, NoPath) else tuple(_named(path))


def _named(path: Sequence[x509.Certificate]) -> Iterator[Named]:
    """Of each certificate of a path, the root left out, where it says that its lists are."""
    anchors = [anchor(certificate) for certificate in path]
    for index, certificate in enumerate(path[:-1]):
        name, key = anchors[max(index + 1, len(path) - 2)]
        authority = hashlib.sha256(name.encode() + key).hexdigest()
        delegated = any(map(delegates, path[index + 1 :]))
        keys = (base64.b64encode(key).decode() for _, key in anchors[index + 1 :])
        yield Named(tuple(_crl_urls(certificate)), authority, delegated, tuple(keys))


def _crl_urls(certificate: x509.Certificate) -> list[str]:
    points = extension(certificate, x509.CRLDistributionPoints)
    return [
        general.value
        for point in points or ()
        for general in point.full_name or ()
        if isinstance(general, x509.UniformResourceIdentifier)
    ]


def validate(
    chain: Chain,
    *,
    now: int,
    trust: TrustList,
    revocation: RevocationView,
    profile: ProfilePolicy = _DEFAULT_PROFILE,
) -> TrustedSigner | Untrusted:
    """Validate a chain at a time.

    The first of these that fails is the reason:

    1. the signer's certificate is within its dates            CERT_EXPIRED, CERT_NOT_YET_VALID
    2. a path leads to a trusted root                          CERT_UNTRUSTED, or the dates of
                                            a CA on the way    CERT_EXPIRED, CERT_NOT_YET_VALID
    3. no certificate of the path is revoked                   CERT_REVOKED
    4. the profile is kept                                     CERT_PROFILE
    5. the signer's TNAuthList can be read                     TNAUTHLIST_MISSING, _INVALID
    6. each keeps within every TNAuthList above it             TNAUTHLIST_NOT_COVERED
    7. claim constraints can be read                           CERT_PROFILE
    8. a fresh list covers every certificate of the path       CRL_UNAVAILABLE

    Args:
        now: seconds since the epoch.

    Not checked: that TNAuthList covers a number, and that claims keep to the constraints.
    """
    leaf = chain.certificates[0]
    late = dates(leaf, now)
    if late is not None:
        return _untrusted(late.reason, late.certificate, late.why)
    path = find_path(leaf, chain.certificates[1:], now, trust.roots)
    if isinstance(path, NoPath):
        return _untrusted(path.reason, path.certificate, path.why)
    unknown = ""
    until = min(int(c.not_valid_after_utc.timestamp()) for c in path)
    statuses = revocation.statuses(path, now)
    for certificate, status in zip(path[:-1], statuses, strict=True):
        if status.state is State.REVOKED:
            return _untrusted(Reason.CERT_REVOKED, certificate, status.detail)
        if status.state is State.UNKNOWN:
            unknown = unknown or f"{_subject(certificate)}: {status.detail}"
        else:
            until = min(until, status.until)
    authority = _authority(path, profile)
    if isinstance(authority, Untrusted):
        return authority
    listed, delegated, departures = authority
    constraints: list[ClaimConstraints] = []
    for certificate in path:
        try:
            constraints.extend(constraints_of(certificate))
        except ParseError as error:
            return _untrusted(Reason.CERT_PROFILE, certificate, error.detail)
    if unknown and revocation.policy is RevocationPolicy.REQUIRE:
        return Untrusted(Reason.CRL_UNAVAILABLE, unknown, unknown)
    key = leaf.public_key()
    try:
        verifying = VerifyingKey(key) if isinstance(key, EllipticCurvePublicKey) else None
    except ConfigError:
        verifying = None
    if verifying is None:
        return _untrusted(Reason.CERT_PROFILE, leaf, "a P-256 key is expected")
    return TrustedSigner(
        chain_digest=chain.digest,
        key=verifying,
        spc=listed.spcs[0] if listed.spcs else None,
        tnauthlist=listed,
        constraints=tuple(constraints),
        serial=leaf.serial_number,
        subject=_subject(leaf),
        issuer=leaf.issuer.rfc4514_string(),
        valid_from=max(int(c.not_valid_before_utc.timestamp()) for c in path),
        valid_until=until,
        revocation_unchecked=bool(unknown),
        delegated=delegated,
        statuses=statuses,
        departures=departures,
        notes=(
            *((UNCHECKED,) if unknown else ()),
            *(status.note for status in statuses if status.note),
            *(departure.text for departure in departures),
        ),
    )


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:200]


def _untrusted(reason: Reason, certificate: x509.Certificate, why: str) -> Untrusted:
    where = _subject(certificate)
    return Untrusted(reason, where, f"{reason.text}: {where}: {why}")


def _authority(
    path: list[x509.Certificate], profile: ProfilePolicy
) -> tuple[TNAuthList, int, tuple[Departure, ...]] | Untrusted:
    """Steps 4 to 6: the profile, the root left out, and TNAuthList along the whole path.

    With the list: the serial number of the highest certificate that names numbers alone, and the
    departures from the profile that the policy permits.

    A CA without a TNAuthList limits nothing (STI-CAs have none) and frees of nothing: what is
    below it must keep within the lists above it. Else whoever was delegated one number would
    make a CA without a list, and that one certificates for every number. A CA whose list is given
    by reference is refused, for that list limits too (RFC 8226 section 10.1), and is not fetched.
    """
    lists: list[TNAuthList | None] = []
    departures: list[Departure] = []
    for index, certificate in enumerate(path):
        # Roots are trusted as they are. A missing or unreadable TNAuthList has reasons of its
        # own, below.
        if index < len(path) - 1:
            role = issuing_role(certificate) if index else signing_role(certificate)
            for violation in check_profile(certificate, role):
                if violation.code == "TNAUTHLIST":
                    continue
                if violation.must or profile.strict:
                    return _untrusted(Reason.CERT_PROFILE, certificate, violation.text)
                departures.append(_departure(certificate, role.value, violation))
        try:
            listed = tnauthlist_of(certificate)
        except ParseError as error:
            return _untrusted(Reason.TNAUTHLIST_INVALID, certificate, error.detail)
        place = by_reference(certificate)
        if place is not None and listed is None:
            return _untrusted(
                Reason.TNAUTHLIST_MISSING,
                certificate,
                f"it is given by reference ({place}), and such lists are not fetched: the list"
                " itself belongs in the certificate",
            )
        lists.append(listed)
    own = lists[0]
    if own is None:
        return _untrusted(Reason.TNAUTHLIST_MISSING, path[0], "none found")
    child, delegated = own, path[0].serial_number
    for certificate, listed in zip(path[1:], lists[1:], strict=True):
        if listed is None:
            continue
        if not listed.encompasses(child):
            return _untrusted(
                Reason.TNAUTHLIST_NOT_COVERED,
                certificate,
                f"the certificate below it claims {str(child)[:100]}, it has {str(listed)[:100]}",
            )
        child = listed
        if not listed.spcs:
            delegated = certificate.serial_number
    return own, delegated, tuple(departures)


def _departure(certificate: x509.Certificate, role: str, violation: Violation) -> Departure:
    return Departure(
        role, violation.code, f"{_subject(certificate)} departs from the profile: {violation.text}"
    )
