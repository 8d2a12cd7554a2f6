"""What revocation lists say of certificates: whose they are, how fresh, and whom they cover.

A list is used only when its own signature verifies with the key of whoever may issue it: for a
direct list the certificate's issuer, for an indirect one (ATIS-1000080: the STI-PA's) an issuer
that the operator trusts with that. Serial numbers are compared by value, together with the name
of the certificate's issuer. All names are compared in their normal form (certs.names).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from msgspec import Struct, structs

from zhenxian.certs import tnauthlist
from zhenxian.certs.crl import HeldList, Reader, RevocationList, parse_crl
from zhenxian.certs.enforced import BY_REFERENCE
from zhenxian.certs.names import general_key, name_key, uri_key
from zhenxian.certs.reading import UNREADABLE
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.errors import ParseError, shown

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class RevocationPolicy(str, Enum):
    """What follows when no fresh list covers a certificate. A revoked one never passes."""

    REQUIRE = "require"
    PREFER = "prefer"


class State(Enum):
    """What the lists say of one certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class Ground(str, Enum):
    """Why a list covers a certificate. The first two are RFC 5280's, the others the operator's."""

    OWN = "own"  # the CA that issued the certificate issued the list
    NAMED = "named"  # the certificate names the list's issuer (cRLIssuer)
    ADDRESS = "address"  # it points to the list's address; the list's issuer speaks for its root
    ASSIGNED = "assigned"  # it points nowhere; the list's issuer speaks for its root


class Status(Struct, frozen=True, kw_only=True):
    """What the lists say of one certificate.

    Attributes:
        until: epoch second until which that may be relied on.
        ground: why the list covers it that makes it good.
        covered_by: that list, for people.
        note: what a verdict says of it; empty where RFC 5280 alone makes the list cover it.
    """

    state: State
    until: int
    detail: str
    ground: Ground | None = None
    covered_by: str = ""
    note: str = ""


class ListIssuer(Struct, frozen=True):
    """Somebody whom the operator trusts with indirect lists.

    Attributes:
        roots: the trusted roots (`anchor`) below which they may speak. None: below all, but only
            for certificates that name them as cRLIssuer.
        addresses: where their lists are, in normal form, for lists that do not tell.
    """

    certificate: x509.Certificate
    roots: frozenset[tuple[str, bytes]] | None = None
    addresses: frozenset[str] = frozenset()


class Assignment(Struct, frozen=True):
    """List issuers as the operator configures them.

    Attributes:
        roots: whose certificates their lists are about; None: not stated.
        addresses: URLs of their lists.
    """

    issuers: TrustList
    roots: TrustList | None = None
    addresses: tuple[str, ...] = ()


class _Asked(Struct, frozen=True, kw_only=True):
    """A certificate that somebody asks about.

    Attributes:
        issuer: name of its issuer in normal form.
        signer: its issuer.
        points: None when they cannot be read.
        speakers: whom its points name as cRLIssuer.
        root: the trusted root it leads to; None when that is not known.
        direct: an STI-CA issued it, nobody to whom numbers were delegated.
    """

    certificate: x509.Certificate
    signer: x509.Certificate
    issuer: str
    points: tuple[x509.DistributionPoint, ...] | None
    speakers: frozenset[str]
    root: tuple[str, bytes] | None
    direct: bool


class _Vouched(Struct, kw_only=True):
    """Until when somebody vouches for a list, in epoch seconds; -1: nobody does.

    Attributes:
        anybody: of those who may revoke the certificate by it.
        letter: of those whose list may cover the certificate by RFC 5280.
        assigned: of those who may speak for the certificate's root.
        places: where their list is; None: wherever a certificate points to.
        unassigned: the certificate points to it, and it is of somebody assigned to no root.
        keys: with which its signature verifies.
    """

    anybody: int = -1
    letter: int = -1
    assigned: int = -1
    places: frozenset[str] | None = frozenset()
    unassigned: bool = False
    keys: frozenset[bytes] = frozenset()


class RevocationView:
    """The lists in force, immutable. What they say of a certificate is worked out when asked."""

    __slots__ = ("_anchors", "_issuers", "_lists", "_roots", "policy", "version")

    def __init__(
        self,
        lists: Sequence[RevocationList],
        issuers: Mapping[str, tuple[ListIssuer, ...]],
        roots: Mapping[str, tuple[x509.Certificate, ...]],
        policy: RevocationPolicy,
    ) -> None:
        self._lists = tuple(lists)
        self._issuers = issuers
        self._roots = roots
        self._anchors = frozenset(anchor(root) for named in roots.values() for root in named)
        self.policy = policy
        stated = (f"{item.digest} {item.address} {item.sure}" for item in lists)
        digest = hashlib.sha256("\n".join(sorted(stated)).encode())
        self.version = f"{policy.value}:{digest.hexdigest()}"

    @property
    def issued(self) -> tuple[int, ...]:
        """When each list was issued, epoch seconds."""
        return tuple(item.this_update for item in self._lists)

    def by_source(self) -> dict[bytes, RevocationList]:
        """The lists, by what they were read from."""
        return {item.source: item for item in self._lists}

    def signed(self, item: RevocationList, keys: Iterable[str] = ()) -> bool:
        """True when somebody signed a list who may: for whom, and how fresh, is another matter.

        That is an issuer of lists or a root of its issuer's name; or else one of these keys, given
        as SubjectPublicKeyInfo in base64.
        """
        known = (entry.certificate for entry in self._issuers.get(item.issuer, ()))
        if any(_signed(item, c) for c in (*known, *self._roots.get(item.issuer, ()))):
            return True
        return any(_verifies(item, key) for key in keys)

    def without_fresh(self, urls: Iterable[str], now: int) -> tuple[str, ...]:
        """Those of some addresses from which no list is held that is valid now by its dates."""
        fresh = {
            item.address
            for item in self._lists
            if item.this_update <= now < item.next_update and not item.partial
        }
        return tuple(url for url in urls if f"uri:{uri_key(url)}" not in fresh)

    def statuses(self, path: Sequence[x509.Certificate], now: int) -> tuple[Status, ...]:
        """What the lists say of each certificate of a validated path, the root left out.

        The path begins at the signer's certificate and ends at a trusted root.
        """
        return tuple(
            self.status(certificate, issuer, now, tuple(path[index + 2 :]))
            for index, (certificate, issuer) in enumerate(itertools.pairwise(path))
        )

    def status(
        self,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        now: int,
        above: Sequence[x509.Certificate] = (),
    ) -> Status:
        """What the lists say of a certificate that `issuer` issued, `above` being its issuers.

        Good only by a list in force that covers the certificate. Revoked by any authentic list
        that no newer one of its scope has replaced, also when it is stale, not valid yet, of
        another distribution point, or when its signer's certificate has expired since: each of
        these could take back a revocation otherwise. For the same reason only a list that has
        begun and whose signer's certificate is valid replaces older ones, and only those that the
        same key signed: whoever is named like another does not take that one's word back.
        """
        asked = self._asked(certificate, issuer, above)
        key = (asked.issuer, certificate.serial_number)
        authentic: list[tuple[RevocationList, _Vouched]] = []
        newest: dict[tuple[object, ...], tuple[int, int]] = {}
        for item in self._lists:
            vouched = self._vouched(item, asked, now)
            if vouched.anybody < 0:
                continue
            authentic.append((item, vouched))
            if item.this_update <= now <= vouched.anybody:
                scope = (*item.scope, vouched.keys)
                newest[scope] = max(newest.get(scope, item.rank), item.rank)
        good: dict[Ground, tuple[int, RevocationList, _Vouched]] = {}
        stale = False
        for item, vouched in authentic:
            if item.rank < newest.get((*item.scope, vouched.keys), item.rank):
                continue
            if key in item.revoked:
                return Status(
                    state=State.REVOKED,
                    until=now,
                    detail=f"serial {certificate.serial_number:x} is listed",
                )
            ground = _ground(item, asked, vouched)
            if ground is None:
                continue
            by_letter = ground in (Ground.OWN, Ground.NAMED)
            until = vouched.letter if by_letter else vouched.assigned
            # A certificate is valid in its last second, a list is not (RFC 5280, 4.1.2.5, 5.1.2.5).
            if item.this_update <= now < item.next_update and now <= until:
                until = min(item.next_update, until)
                if ground not in good or good[ground][0] < until:
                    good[ground] = (until, item, vouched)
            else:
                stale = True
        for ground in Ground:
            if ground in good:
                until, item, vouched = good[ground]
                note = _note(ground, asked, item, vouched)
                return Status(
                    state=State.GOOD,
                    until=until,
                    detail="not listed",
                    ground=ground,
                    covered_by=_called(item),
                    note=note,
                )
        why = "the list that covers it is stale or not valid yet" if stale else "no list covers it"
        if not stale and any(vouched.unassigned for _, vouched in authentic):
            why += ": trust.crl_issuers does not say that the issuer of that at its address speaks"
            why += " for its root"
        return Status(state=State.UNKNOWN, until=now, detail=why)

    def _asked(
        self,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        above: Sequence[x509.Certificate],
    ) -> _Asked:
        points = _points(certificate)
        root = anchor((issuer, *above)[-1])
        return _Asked(
            certificate=certificate,
            signer=issuer,
            issuer=name_key(certificate.issuer),
            points=points,
            speakers=frozenset().union(
                *(_directory_names(point.crl_issuer) for point in points or ())
            ),
            root=root if root in self._anchors else None,
            direct=not any(delegates(authority) for authority in (issuer, *above)),
        )

    def _vouched(self, item: RevocationList, asked: _Asked, now: int) -> _Vouched:
        """Until when somebody who may speak of the certificate vouches for the list.

        That is the certificate's issuer; for an indirect list whoever the operator trusts with
        lists below its root, and its root. A root of another path revokes it if it names that one,
        and covers nothing of it: the path of a list ends where the certificate's does (RFC 5280
        section 6.3.3, f). Roots are told apart by name and key.
        """
        found = _Vouched()
        own, named = item.issuer == asked.issuer, item.issuer in asked.speakers
        if not (own or item.indirect):
            return found
        for entry in self._issuers.get(item.issuer, ()):
            speaks = entry.roots is None or asked.root in entry.roots
            if not (speaks or named):
                continue
            until = _signed_until(item, entry.certificate, now)
            if until < 0:
                continue
            found.anybody = max(found.anybody, until)
            found.keys |= {anchor(entry.certificate)[1]}
            if not speaks:
                continue
            # Somebody to whom numbers were delegated names CAs as it likes, like this issuer too.
            if named or asked.direct:
                found.letter = max(found.letter, until)
            if asked.root is None:
                continue
            places = _places(item, entry)
            if entry.roots is not None or self._anchors == {asked.root}:
                found.assigned = max(found.assigned, until)
                found.places = (
                    None if places is None or found.places is None else found.places | places
                )
            elif places and _points_to(asked, places):
                found.unassigned = True
        others = [(asked.signer, True)] if own else []
        roots = self._roots.get(item.issuer, ()) if own or named else ()
        others.extend((root, anchor(root) == asked.root) for root in roots)
        for other, on_path in others:
            until = _signed_until(item, other, now) if on_path or named else -1
            if until < 0:
                continue
            found.anybody = max(found.anybody, until)
            found.keys |= {anchor(other)[1]}
            if on_path:
                found.letter = max(found.letter, until)
        return found


def anchor(root: x509.Certificate) -> tuple[str, bytes]:
    """What makes a root the one it is: name and key (RFC 5280 section 6.1.1, d)."""
    key = root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return (name_key(root.subject), key)


def _signed_until(item: RevocationList, signer: x509.Certificate, now: int) -> int:
    """The end of the signer's certificate; -1 when it did not sign the list, or begins later."""
    if signer.not_valid_before_utc.timestamp() <= now and _signed(item, signer):
        return int(signer.not_valid_after_utc.timestamp())
    return -1


def _signed(item: RevocationList, issuer: x509.Certificate) -> bool:
    try:
        usage = _extension(issuer, x509.KeyUsage)
        key = issuer.public_key()
    except UNREADABLE:
        return False
    # RFC 5280 section 6.3.3, step f: the key usage counts if it is present.
    if usage is not None and not usage.crl_sign:
        return False
    return item.signature is not None and item.signature.made_by(key)


def _verifies(item: RevocationList, key: str) -> bool:
    try:
        read = load_der_public_key(base64.b64decode(key))
    except UNREADABLE:
        return False
    return item.signature is not None and item.signature.made_by(read)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _points(certificate: x509.Certificate) -> tuple[x509.DistributionPoint, ...] | None:
    try:
        return tuple(_extension(certificate, x509.CRLDistributionPoints) or ())
    except UNREADABLE:
        return None


def delegates(authority: x509.Certificate) -> bool:
    """True for a CA to whom numbers were delegated (RFC 9060), by value or by reference."""
    try:
        if any(item.oid == tnauthlist.OID for item in authority.extensions):
            return True
        access = _extension(authority, x509.AuthorityInformationAccess)
    except UNREADABLE:
        return True
    return any(item.access_method == BY_REFERENCE for item in access or ())


def _directory_names(names: Sequence[x509.GeneralName] | None) -> set[str]:
    return {
        name_key(general.value)
        for general in names or ()
        if isinstance(general, x509.DirectoryName)
    }


def _places(item: RevocationList, issuer: ListIssuer) -> frozenset[str] | None:
    """The list's own addresses, as far as they can be relied on; None: all.

    They are what it says itself; else where it was fetched from, unless over http, where an
    issuer's list can be put in the place of another; else what the operator says. Where nobody
    says anything, the list was put there by hand to be used for whatever its issuer speaks for, and
    which no delegate issued.
    """
    if item.points:
        return item.points
    if item.address:
        known = item.sure or item.address in issuer.addresses
        return frozenset({item.address}) if known else frozenset()
    return issuer.addresses or None


def _ground(item: RevocationList, asked: _Asked, vouched: _Vouched) -> Ground | None:
    """Why absence from the list means that the certificate is good; None when it does not."""
    if item.partial:
        return None
    try:
        basic = _extension(asked.certificate, x509.BasicConstraints)
    except UNREADABLE:
        return None
    authority = basic is not None and basic.ca
    if (item.only_users and authority) or (item.only_authorities and not authority):
        return None
    if asked.points is None:
        return None
    if vouched.letter >= 0:
        ground = _ground_by_letter(item, asked, asked.points)
        if ground is not None:
            return ground
    if vouched.assigned < 0 or not item.indirect:
        return None
    if not asked.points:
        pointless = asked.direct and not _has_points(asked.certificate)
        return Ground.ASSIGNED if pointless else None
    # Below a delegate any address may stand: it covers nothing without being the list's own.
    if vouched.places is None and not asked.direct:
        return None
    return Ground.ADDRESS if _points_to(asked, vouched.places) else None


def _points_to(asked: _Asked, places: frozenset[str] | None) -> bool:
    """True when the certificate points to one of these addresses, to any for None."""
    for point in asked.points or ():
        named = [
            general_key(general)
            for general in point.full_name or ()
            if isinstance(general, x509.UniformResourceIdentifier)
        ]
        # A point for some reasons only says nothing of the others.
        if point.reasons is None and named and (places is None or not places.isdisjoint(named)):
            return True
    return False


def _ground_by_letter(
    item: RevocationList, asked: _Asked, points: Sequence[x509.DistributionPoint]
) -> Ground | None:
    """RFC 5280 section 6.3.3, steps b and d."""
    own = item.issuer == asked.issuer
    if own and not item.points:
        return Ground.OWN
    for point in points:
        named = item.issuer in _directory_names(point.crl_issuer)
        if not (named or (own and point.crl_issuer is None)) or point.reasons is not None:
            continue
        names = {general_key(general) for general in point.full_name or point.crl_issuer or ()}
        if not item.points or not item.points.isdisjoint(names):
            return Ground.NAMED if named else Ground.OWN
    return None


def _has_points(certificate: x509.Certificate) -> bool:
    return any(item.oid == x509.CRLDistributionPoints.oid for item in certificate.extensions)


def _called(item: RevocationList) -> str:
    issuer = item.called[:200]
    return f"{issuer} at {shown(item.url)}" if item.url else issuer


def _note(ground: Ground, asked: _Asked, item: RevocationList, vouched: _Vouched) -> str:
    if ground is Ground.ADDRESS:
        names = "names another issuer of it" if asked.speakers else "does not name its issuer"
        where = (
            "was put here by hand" if vouched.places is None else "is at the certificate's address"
        )
        why = f"{where}, and the certificate {names}"
    elif ground is Ground.ASSIGNED:
        why = "is taken because the certificate points to none"
    else:
        return ""
    subject = asked.certificate.subject.rfc4514_string()[:200]
    return f"revocation of {subject} rests on trust.crl_issuers: the list of {_called(item)} {why}"


def build_view(
    lists: Sequence[bytes | HeldList],
    *,
    issuers: TrustList,
    trust: TrustList,
    policy: RevocationPolicy,
    assigned: Sequence[Assignment] = (),
    before: RevocationView | None = None,
    read: Reader = parse_crl,
) -> tuple[RevocationView, tuple[str, ...]]:
    """Read the lists and put them in force.

    Args:
        lists: their content, PEM or DER.
        issuers: who may sign indirect lists, for whatever certificates name them. With a single
            trusted root they are assigned to it.
        trust: the roots, who sign lists about what they issued and about certificates that name
            them as issuer of their lists.
        assigned: who may sign indirect lists about what is below stated roots.
        before: the view so far, whose lists are not read again: hosts decide how large one is, and
            how often it changes.
        read: reads one that is new.

    Returns:
        The view, and a sentence for each list that cannot be used. Of two authentic lists of one
        issuer and scope the newer counts.
    """
    problems: list[str] = []
    found: list[RevocationList] = []
    known_already = before.by_source() if before is not None else {}
    for number, given in enumerate(lists, 1):
        held = HeldList(given) if isinstance(given, bytes) else given
        source = hashlib.sha256(held.data).digest()
        try:
            listed = known_already.get(source) or read(held.data)
        except ParseError as error:
            problems.append(f"{held.name or f'list {number}'}: {error.detail}")
            continue
        url = held.url or ""
        address = f"uri:{uri_key(url)}" if held.url is not None else ""
        told = {"source": source, "address": address, "url": url, "sure": held.sure}
        found.append(structs.replace(listed, **told))
    known: dict[str, tuple[ListIssuer, ...]] = {}
    for assignment in (Assignment(issuers), *assigned):
        roots = assignment.roots
        anchors = frozenset(map(anchor, roots.roots)) if roots is not None else None
        addresses = frozenset(f"uri:{uri_key(url)}" for url in assignment.addresses)
        for certificate in assignment.issuers.roots:
            name = name_key(certificate.subject)
            known[name] = (*known.get(name, ()), ListIssuer(certificate, anchors, addresses))
    return RevocationView(found, known, _by_name(trust), policy), tuple(problems)


def _by_name(listed: TrustList) -> dict[str, tuple[x509.Certificate, ...]]:
    found: dict[str, tuple[x509.Certificate, ...]] = {}
    for certificate in listed.roots:
        name = name_key(certificate.subject)
        found[name] = (*found.get(name, ()), certificate)
    return found
