"""Reading revocation lists (RFC 5280 section 5)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from zhenxian.certs.list_signature import ListSignature, list_signature
from zhenxian.certs.names import general_key, name_key
from zhenxian.certs.reading import UNREADABLE
from zhenxian.certs.revoked import Collected, Revoked
from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason

_Entries: TypeAlias = Iterable[x509.RevokedCertificate]
Through: TypeAlias = Callable[[_Entries], _Entries]
Reader: TypeAlias = Callable[[bytes], "RevocationList"]  # raises what parse_crl does

MAX_LENGTH: Final = 8 * 1024 * 1024  # octets of one list
_KNOWN_CRITICAL: Final = {x509.IssuingDistributionPoint.oid, x509.DeltaCRLIndicator.oid}
_KNOWN_ENTRY: Final = {
    x509.CertificateIssuer.oid,
    x509.CRLReason.oid,
    x509.InvalidityDate.oid,
}


class HeldList(Struct, frozen=True):
    """A list as it is held.

    Attributes:
        data: PEM or DER.
        url: where it was fetched from; None when somebody put it there by hand.
        sure: nobody on the way could have put another list in its place (https), or the operator
            names this address.
        name: what to call it when it cannot be read.
    """

    data: bytes
    url: str | None = None
    sure: bool = False
    name: str = ""


class Named(Struct, frozen=True):
    """Where a certificate says that its lists are.

    Attributes:
        authority: who shares places with whom: the CA below the root that the path goes through,
            or the root for what it issued itself.
        delegated: somebody issued the certificate to whom numbers were delegated.
        keys: of the CAs above the certificate, who may sign its lists: SubjectPublicKeyInfo in
            base64.
    """

    urls: tuple[str, ...]
    authority: str = ""
    delegated: bool = False
    keys: tuple[str, ...] = ()


class RevocationList(Struct, frozen=True, kw_only=True):
    """One list as read; its signature is not checked yet.

    It consists of plain values, so that another process can read it.

    Attributes:
        called: its issuer's name, for people (RFC 4514).
        signature: None when nobody can have made it.
        issuer: the name in its normal form (certs.names).
        indirect: it speaks for certificates of other issuers (RFC 5280 section 5.2.5).
        only_users, only_authorities: what kind of certificates it covers.
        points: names, in their normal form, of the distribution point it is the list of; where
            there are any, it covers only certificates that point to one of them (RFC 5280 section
            6.3.3, step b.2.i).
        number: the CRL number, -1 where it has none.
        this_update, next_update: epoch seconds; next_update 0 where it is not stated.
        source: SHA-256 over the octets that were read.
        url, address: where it was fetched from, as written and in its normal form; empty when it
            was put there by hand.
        sure: as of HeldList.
        reasons: why it revokes, where it is for some reasons only.
        delta: it tells what changed since a complete list.
    """

    called: str
    signature: ListSignature | None
    digest: str
    issuer: str
    indirect: bool
    only_users: bool
    only_authorities: bool
    points: frozenset[str]
    number: int
    revoked: Revoked
    this_update: int
    next_update: int
    address: str = ""
    url: str = ""
    source: bytes = b""
    sure: bool = False
    reasons: frozenset[x509.ReasonFlags] | None = None
    delta: bool = False

    @property
    def partial(self) -> bool:
        """True when absence from it says nothing: what it lists is revoked all the same."""
        return self.delta or self.reasons is not None

    @property
    def scope(self) -> tuple[object, ...]:
        """What a list must share with another to take its place (RFC 5280 section 5.2.3).

        Also the address, where the list itself tells no point: two parts of one issuer's list
        that fail to say so must not take each other's revocations back.
        """
        points = self.points or self.address
        kind = (self.indirect, self.only_users, self.only_authorities, self.reasons, self.delta)
        return (self.issuer, *kind, points)

    @property
    def rank(self) -> tuple[int, int]:
        """Orders the lists of one scope by age."""
        return (self.this_update, self.number)


def malformed(why: str) -> ParseError:
    """What is raised for a list that cannot be used."""
    return ParseError(Reason.CRL_UNAVAILABLE, "CRL", why)


def parse_crl(data: bytes, pace: Through = iter) -> RevocationList:
    """Read a list, PEM or DER. The signature is not looked at.

    Args:
        pace: what its entries come through.

    Raises:
        ParseError: CRL_UNAVAILABLE; also for what this reader does not support and therefore must
            not use: lists of attribute certificates, unknown critical extensions.
    """
    if len(data) > MAX_LENGTH:
        raise malformed(f"larger than {MAX_LENGTH} octets")
    try:
        if data[:1] != b"\x30":  # a SEQUENCE in DER; before PEM there may be text
            crl = x509.load_pem_x509_crl(data)
            return _read(crl, crl.public_bytes(Encoding.DER), pace)
        # Writing it again would give the same octets, and hold up calls while it does.
        return _read(x509.load_der_x509_crl(data), data, pace)
    except ParseError:
        raise
    except x509.InvalidVersion:
        raise malformed("a revocation list of a version that there is not") from None
    except UNREADABLE:
        raise malformed("not a revocation list in DER or PEM, or one that is damaged") from None


def _read(crl: x509.CertificateRevocationList, der: bytes, pace: Through) -> RevocationList:
    indirect = only_users = only_authorities = delta = False
    reasons = None
    points: frozenset[str] = frozenset()
    number = -1
    for extension in crl.extensions:
        if isinstance(extension.value, x509.DeltaCRLIndicator):
            delta = True
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            point = extension.value
            if point.only_contains_attribute_certs:
                raise malformed("a list of attribute certificates only")
            reasons = point.only_some_reasons
            if point.relative_name is not None:
                raise malformed("a distribution point named relative to the issuer")
            points = frozenset(general_key(name) for name in point.full_name or ())
            indirect = point.indirect_crl
            only_users = point.only_contains_user_certs
            only_authorities = point.only_contains_ca_certs
        elif isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
        elif extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise malformed(f"unknown critical extension {extension.oid.dotted_string}")
    issuer = name_key(crl.issuer)
    current = [issuer]
    collected = Collected()
    for entry in pace(crl):
        removed = False
        for extension in entry.extensions:
            if isinstance(extension.value, x509.CertificateIssuer):
                if not indirect:
                    raise malformed("a direct list names another certificate issuer")
                # It holds for this entry and all after it (RFC 5280 section 5.3.3).
                current = _names(extension.value)
            elif isinstance(extension.value, x509.CRLReason):
                removed = extension.value.reason is x509.ReasonFlags.remove_from_crl
                if removed and not delta:
                    raise malformed("removeFromCRL in a complete list")
            elif extension.critical and extension.oid not in _KNOWN_ENTRY:
                raise malformed("an entry with an unknown critical extension")
        if not removed:  # what a complete list says of it holds until the next
            collected.add(current, entry.serial_number)
    following = crl.next_update_utc
    return RevocationList(
        called=crl.issuer.rfc4514_string(),
        signature=list_signature(crl, der),
        digest=hashlib.sha256(der).hexdigest(),
        issuer=issuer,
        indirect=indirect,
        only_users=only_users,
        only_authorities=only_authorities,
        points=points,
        number=number,
        revoked=collected.revoked(),
        this_update=int(crl.last_update_utc.timestamp()),
        next_update=int(following.timestamp()) if following is not None else 0,
        reasons=reasons,
        delta=delta,
    )


def _names(extension: x509.CertificateIssuer) -> list[str]:
    """All that the certificates' issuer is called (RFC 5280 section 5.3.3)."""
    names = [name_key(g.value) for g in extension if isinstance(g, x509.DirectoryName)]
    if not names:
        raise malformed("an entry whose certificate issuer has no directory name")
    return names
