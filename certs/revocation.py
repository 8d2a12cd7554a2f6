"""Revocation lists: whose they are, whether they are fresh, and what they say (RFC 5280 section 5).

A list is used only when its own signature verifies with the key of whoever may issue it: for a
direct list the certificate's issuer, for an indirect one (ATIS-1000080: the STI-PA's) an issuer
that the operator trusts with that. Serial numbers are compared by value, together with the name
of the certificate's issuer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from certs.trustlist import TrustList
from passport.errors import ParseError
from passport.reasons import Reason

MAX_LENGTH: Final = 8 * 1024 * 1024  # octets of one list
_KNOWN_CRITICAL: Final = {x509.IssuingDistributionPoint.oid}
_KNOWN_ENTRY: Final = {
    x509.CertificateIssuer.oid,
    x509.CRLReason.oid,
    x509.InvalidityDate.oid,
}


class RevocationPolicy(str, Enum):
    """What follows when no fresh list covers a certificate. A revoked one never passes."""

    REQUIRE = "require"
    PREFER = "prefer"


class State(Enum):
    """What the lists say of one certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class Status(Struct, frozen=True):
    """What the lists say, and until which epoch second that may be relied on."""

    state: State
    until: int
    detail: str


class RevocationList(Struct, frozen=True):
    """One list as read; its signature is not checked yet.

    Attributes:
        issuer: the name in DER.
        indirect: it speaks for certificates of other issuers (RFC 5280 section 5.2.5).
        only_users, only_authorities: what kind of certificates it covers.
        revoked: pairs of certificate issuer's name in DER and serial number.
        this_update, next_update: epoch seconds; next_update 0 where it is not stated.
    """

    crl: x509.CertificateRevocationList
    digest: str
    issuer: bytes
    indirect: bool
    only_users: bool
    only_authorities: bool
    revoked: frozenset[tuple[bytes, int]]
    this_update: int
    next_update: int


def _malformed(why: str) -> ParseError:
    return ParseError(Reason.CRL_UNAVAILABLE, "CRL", why)


def parse_crl(data: bytes) -> RevocationList:
    """Read a list, PEM or DER. The signature is not looked at.

    Raises:
        ParseError: CRL_UNAVAILABLE; also for what this reader does not support and therefore must
            not use: delta lists, lists for some reasons only, unknown critical extensions.
    """
    if len(data) > MAX_LENGTH:
        raise _malformed(f"larger than {MAX_LENGTH} octets")
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            crl = x509.load_pem_x509_crl(data)
        else:
            crl = x509.load_der_x509_crl(data)
        return _read(crl)
    except ParseError:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise _malformed(f"not a revocation list: {str(error)[:120]}") from None


def _read(crl: x509.CertificateRevocationList) -> RevocationList:
    indirect = only_users = only_authorities = False
    for extension in crl.extensions:
        if isinstance(extension.value, x509.DeltaCRLIndicator):
            raise _malformed("a delta list")
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            point = extension.value
            if point.only_some_reasons or point.only_contains_attribute_certs:
                raise _malformed("a list for some reasons or attribute certificates only")
            indirect = point.indirect_crl
            only_users = point.only_contains_user_certs
            only_authorities = point.only_contains_ca_certs
        elif extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise _malformed(f"unknown critical extension {extension.oid.dotted_string}")
    issuer = crl.issuer.public_bytes()
    current = issuer
    revoked: set[tuple[bytes, int]] = set()
    for entry in crl:
        for extension in entry.extensions:
            if isinstance(extension.value, x509.CertificateIssuer):
                if not indirect:
                    raise _malformed("a direct list names another certificate issuer")
                # It holds for this entry and all after it (RFC 5280 section 5.3.3).
                current = _name(extension.value)
            elif isinstance(extension.value, x509.CRLReason):
                if extension.value.reason is x509.ReasonFlags.remove_from_crl:
                    raise _malformed("removeFromCRL in a complete list")
            elif extension.critical and extension.oid not in _KNOWN_ENTRY:
                raise _malformed("an entry with an unknown critical extension")
        revoked.add((current, entry.serial_number))
    following = crl.next_update_utc
    return RevocationList(
        crl,
        hashlib.sha256(crl.public_bytes(Encoding.DER)).hexdigest(),
        issuer,
        indirect,
        only_users,
        only_authorities,
        frozenset(revoked),
        int(crl.last_update_utc.timestamp()),
        int(following.timestamp()) if following is not None else 0,
    )


def _name(extension: x509.CertificateIssuer) -> bytes:
    for general in extension:
        if isinstance(general, x509.DirectoryName):
            return general.value.public_bytes()
    raise _malformed("an entry whose certificate issuer has no directory name")


class RevocationView:
    """The lists in force, immutable. What they say of a certificate is worked out when asked."""

    __slots__ = ("_issuers", "_lists", "policy", "version")

    def __init__(
        self,
        lists: Sequence[RevocationList],
        issuers: Mapping[bytes, tuple[x509.Certificate, ...]],
        policy: RevocationPolicy,
    ) -> None:
        self._lists = tuple(lists)
        self._issuers = issuers
        self.policy = policy
        digest = hashlib.sha256("".join(sorted(item.digest for item in lists)).encode())
        self.version = f"{policy.value}:{digest.hexdigest()}"

    def status(self, certificate: x509.Certificate, issuer: x509.Certificate, now: int) -> Status:
        """What the lists say of a certificate that `issuer` issued.

        Revoked by any list that is authentic, even one that is stale; good only by a fresh one
        that covers the certificate.
        """
        key = (certificate.issuer.public_bytes(), certificate.serial_number)
        until = 0
        stale = ""
        newest: dict[tuple[bytes, bool, bool, bool], RevocationList] = {}
        for item in self._lists:
            # Only authentic lists compete: a forged one that claims to be newer must not win.
            if self._speaks(item, certificate, issuer, now):
                scope = (item.issuer, item.indirect, item.only_users, item.only_authorities)
                present = newest.get(scope)
                if present is None or item.this_update > present.this_update:
                    newest[scope] = item
        for item in newest.values():
            if key in item.revoked:
                return Status(State.REVOKED, now, f"serial {certificate.serial_number:x} is listed")
            if not item.this_update <= now < item.next_update:
                stale = "the list that covers it is stale or not valid yet"
            elif _covers(item, certificate):
                until = max(until, item.next_update)
        if until:
            return Status(State.GOOD, until, "not listed")
        return Status(State.UNKNOWN, now, stale or "no list covers it")

    def _speaks(
        self,
        item: RevocationList,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        now: int,
    ) -> bool:
        """True when the list is authentic and from somebody who may speak of the certificate."""
        candidates = self._issuers.get(item.issuer, ())
        if item.issuer == certificate.issuer.public_bytes():
            candidates = (*candidates, issuer)
        elif not item.indirect:
            return False
        return any(_signed(item.crl, candidate, now) for candidate in candidates)


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate, now: int) -> bool:
    if not (
        issuer.not_valid_before_utc.timestamp() <= now <= issuer.not_valid_after_utc.timestamp()
    ):
        return False
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        key = issuer.public_key()
        if not usage.crl_sign or not isinstance(key, EllipticCurvePublicKey | RSAPublicKey):
            return False
        return crl.is_signature_valid(key)
    except (x509.ExtensionNotFound, ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False


def _covers(item: RevocationList, certificate: x509.Certificate) -> bool:
    """True when absence from the list means that the certificate is good."""
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        authority = basic.ca
    except x509.ExtensionNotFound:
        authority = False
    if (item.only_users and authority) or (item.only_authorities and not authority):
        return False
    if item.issuer == certificate.issuer.public_bytes():
        return True
    return item.issuer in _list_issuers(certificate)


def _list_issuers(certificate: x509.Certificate) -> set[bytes]:
    """Who the certificate says issues lists about it (cRLIssuer of its distribution points)."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return set()
    return {
        general.value.public_bytes()
        for point in points
        for general in point.crl_issuer or ()
        if isinstance(general, x509.DirectoryName)
    }


def build_view(
    lists: Sequence[bytes],
    *,
    issuers: TrustList,
    trust: TrustList,
    policy: RevocationPolicy,
) -> tuple[RevocationView, tuple[str, ...]]:
    """Read the lists and put them in force.

    Args:
        lists: their content, PEM or DER.
        issuers: who may sign indirect lists.
        trust: the roots, who sign lists about what they issued.

    Returns:
        The view, and a sentence for each list that cannot be used. Of two authentic lists of one
        issuer and scope the newer counts.
    """
    problems: list[str] = []
    read: list[RevocationList] = []
    for number, data in enumerate(lists, 1):
        try:
            read.append(parse_crl(data))
        except ParseError as error:
            problems.append(f"list {number}: {error.detail}")
    by_name: dict[bytes, tuple[x509.Certificate, ...]] = {}
    for certificate in (*issuers.roots, *trust.roots):
        name = certificate.subject.public_bytes()
        by_name[name] = (*by_name.get(name, ()), certificate)
    return RevocationView(read, by_name, policy), tuple(problems)
