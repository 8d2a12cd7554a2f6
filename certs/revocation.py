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
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from certs.reading import UNREADABLE
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
        points: names of the distribution point it is the list of; where there are any, it covers
            only certificates that point to one of them (RFC 5280 section 6.3.3, step b.2.i).
        number: the CRL number, -1 where it has none.
        revoked: pairs of certificate issuer's name in DER and serial number.
        this_update, next_update: epoch seconds; next_update 0 where it is not stated.
    """

    crl: x509.CertificateRevocationList
    digest: str
    issuer: bytes
    indirect: bool
    only_users: bool
    only_authorities: bool
    points: frozenset[x509.GeneralName]
    number: int
    revoked: frozenset[tuple[bytes, int]]
    this_update: int
    next_update: int

    @property
    def scope(self) -> tuple[object, ...]:
        """What a list must share with another to take its place (RFC 5280 section 5.2.3)."""
        return (self.issuer, self.indirect, self.only_users, self.only_authorities, self.points)

    @property
    def rank(self) -> tuple[int, int]:
        """Orders the lists of one scope by age."""
        return (self.this_update, self.number)


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
    except UNREADABLE as error:
        raise _malformed(f"not a revocation list: {str(error)[:120]}") from None


def _read(crl: x509.CertificateRevocationList) -> RevocationList:
    indirect = only_users = only_authorities = False
    points: frozenset[x509.GeneralName] = frozenset()
    number = -1
    for extension in crl.extensions:
        if isinstance(extension.value, x509.DeltaCRLIndicator):
            raise _malformed("a delta list")
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            point = extension.value
            if point.only_some_reasons or point.only_contains_attribute_certs:
                raise _malformed("a list for some reasons or attribute certificates only")
            if point.relative_name is not None:
                raise _malformed("a distribution point named relative to the issuer")
            points = frozenset(point.full_name or ())
            indirect = point.indirect_crl
            only_users = point.only_contains_user_certs
            only_authorities = point.only_contains_ca_certs
        elif isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
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
        points,
        number,
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

    __slots__ = ("_issuers", "_lists", "_roots", "policy", "version")

    def __init__(
        self,
        lists: Sequence[RevocationList],
        issuers: Mapping[bytes, tuple[x509.Certificate, ...]],
        roots: Mapping[bytes, tuple[x509.Certificate, ...]],
        policy: RevocationPolicy,
    ) -> None:
        self._lists = tuple(lists)
        self._issuers = issuers
        self._roots = roots
        self.policy = policy
        digest = hashlib.sha256("".join(sorted(item.digest for item in lists)).encode())
        self.version = f"{policy.value}:{digest.hexdigest()}"

    @property
    def issued(self) -> tuple[int, ...]:
        """When each list was issued, epoch seconds."""
        return tuple(item.this_update for item in self._lists)

    def status(self, certificate: x509.Certificate, issuer: x509.Certificate, now: int) -> Status:
        """What the lists say of a certificate that `issuer` issued.

        Good only by a list in force that covers the certificate. Revoked by any authentic list
        that no newer one of its scope has replaced, also when it is stale, not valid yet, of
        another distribution point, or when its signer's certificate has expired since: each of
        these could take back a revocation otherwise. For the same reason only a list that has
        begun and whose signer's certificate is valid replaces older ones.
        """
        key = (certificate.issuer.public_bytes(), certificate.serial_number)
        points = _points(certificate)
        authentic: list[tuple[RevocationList, int]] = []
        newest: dict[tuple[object, ...], tuple[int, int]] = {}
        for item in self._lists:
            until = self._vouched(item, certificate, issuer, points, now)
            if until is None:
                continue
            authentic.append((item, until))
            if item.this_update <= now <= until:
                newest[item.scope] = max(newest.get(item.scope, item.rank), item.rank)
        good = 0
        stale = False
        for item, until in authentic:
            if item.rank < newest.get(item.scope, item.rank):
                continue
            if key in item.revoked:
                return Status(State.REVOKED, now, f"serial {certificate.serial_number:x} is listed")
            if not _covers(item, certificate, points):
                continue
            # A certificate is valid in its last second, a list is not (RFC 5280, 4.1.2.5, 5.1.2.5).
            if item.this_update <= now < item.next_update and now <= until:
                good = max(good, min(item.next_update, until))
            else:
                stale = True
        if good:
            return Status(State.GOOD, good, "not listed")
        why = "the list that covers it is stale or not valid yet" if stale else "no list covers it"
        return Status(State.UNKNOWN, now, why)

    def _vouched(
        self,
        item: RevocationList,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        points: Sequence[x509.DistributionPoint],
        now: int,
    ) -> int | None:
        """Until when somebody who may speak of the certificate vouches for the list.

        None when it is not authentic or its signer may not speak of the certificate. That is the
        certificate's issuer; for an indirect list whoever the operator trusts with lists, and a
        root that the certificate names: one root's list does not revoke what another issued.
        """
        candidates = self._issuers.get(item.issuer, ())
        if item.issuer == certificate.issuer.public_bytes():
            candidates = (*candidates, issuer, *self._roots.get(item.issuer, ()))
        elif not item.indirect:
            return None
        elif any(item.issuer in _directory_names(point.crl_issuer) for point in points):
            candidates = (*candidates, *self._roots.get(item.issuer, ()))
        return max(
            (
                int(candidate.not_valid_after_utc.timestamp())
                for candidate in candidates
                if candidate.not_valid_before_utc.timestamp() <= now
                and _signed(item.crl, candidate)
            ),
            default=None,
        )


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        key = issuer.public_key()
        if not usage.crl_sign or not isinstance(key, EllipticCurvePublicKey | RSAPublicKey):
            return False
        return crl.is_signature_valid(key)
    except (x509.ExtensionNotFound, InvalidSignature, *UNREADABLE):
        return False


def _points(certificate: x509.Certificate) -> tuple[x509.DistributionPoint, ...]:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return ()
    return tuple(points)


def _directory_names(names: Sequence[x509.GeneralName] | None) -> set[bytes]:
    return {
        general.value.public_bytes()
        for general in names or ()
        if isinstance(general, x509.DirectoryName)
    }


def _covers(
    item: RevocationList, certificate: x509.Certificate, points: Sequence[x509.DistributionPoint]
) -> bool:
    """True when absence from the list means that the certificate is good."""
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        authority = basic.ca
    except x509.ExtensionNotFound:
        authority = False
    except UNREADABLE:
        return False
    if (item.only_users and authority) or (item.only_authorities and not authority):
        return False
    own = item.issuer == certificate.issuer.public_bytes()
    if own and not item.points:
        return True
    for point in points:
        speaker = item.issuer in _directory_names(point.crl_issuer) or (
            own and point.crl_issuer is None
        )
        # A point for some reasons only says nothing of the others.
        if not speaker or point.reasons is not None:
            continue
        names = point.full_name or point.crl_issuer or ()
        if not item.points or not item.points.isdisjoint(names):
            return True
    return False


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
        issuers: who may sign indirect lists, for whatever certificates.
        trust: the roots, who sign lists about what they issued and about certificates that name
            them as issuer of their lists.

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
    return (
        RevocationView(read, _by_name(issuers), _by_name(trust), policy),
        tuple(problems),
    )


def _by_name(listed: TrustList) -> dict[bytes, tuple[x509.Certificate, ...]]:
    found: dict[bytes, tuple[x509.Certificate, ...]] = {}
    for certificate in listed.roots:
        name = certificate.subject.public_bytes()
        found[name] = (*found.get(name, ()), certificate)
    return found
