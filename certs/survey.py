"""Real certificates: how many are read and trusted, what refuses others, which lists cover them.

For a collection of certificates as x5u serves them, at a time of one's choice. Where the lists of
that time are not at hand, stand-in lists take their places: one for each address that certificates
point to, on which nobody is revoked. They show which chains a list would cover, not who is good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from zhenxian.certs.ca import DAY, Authority
from zhenxian.certs.chain import TrustedSigner, Untrusted, parse_chain, validate
from zhenxian.certs.crl import HeldList
from zhenxian.certs.path import MAX_CERTIFICATES, unfit_anchor
from zhenxian.certs.profile import ProfilePolicy, Role, extension, role_of
from zhenxian.certs.reading import UNREADABLE, described
from zhenxian.certs.revocation import (
    Assignment,
    RevocationPolicy,
    RevocationView,
    State,
    build_view,
)
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason

MAX_FILE: Final = 4 * 1024 * 1024  # octets
_DATES: Final = (Reason.CERT_EXPIRED, Reason.CERT_NOT_YET_VALID)


class Found(Struct):
    """What a folder holds.

    Attributes:
        files: how many were looked at.
        unreadable: by file, why what it holds is no certificate.
        leaves: each certificate that signs calls, with the CAs served in the same file.
        authorities: CAs by the DER of their subject.
    """

    files: int
    unreadable: dict[str, str]
    leaves: dict[bytes, tuple[str, x509.Certificate, tuple[x509.Certificate, ...]]]
    authorities: dict[bytes, list[x509.Certificate]]

    @property
    def certificates(self) -> int:
        """Different ones that can be read."""
        return len(self.leaves) + sum(map(len, self.authorities.values()))

    def anchors(self) -> TrustList:
        """The self-signed CAs that can be roots."""
        found = [
            certificate
            for named in self.authorities.values()
            for certificate in named
            if role_of(certificate) is Role.ROOT and unfit_anchor(certificate) is None
        ]
        return TrustList(tuple(found), f"{len(found)} of the folder")


class Case(Struct, frozen=True, kw_only=True):
    """One certificate that signs calls, and what becomes of it.

    Attributes:
        reason: why it is refused; None when it is trusted.
        complete: names lead from it to a trusted root.
        covered: for each certificate of the path, the lists that make it good.
        departures: codes of what the profile has otherwise.
    """

    file: str
    subject: str
    issuer: str
    reason: Reason | None
    detail: str
    complete: bool
    covered: tuple[str, ...] = ()
    departures: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """True when it and every CA on its way to a trusted root are within their dates."""
        return self.complete and self.reason not in _DATES


def read_folder(folder: Path, tick: Callable[[], None] | None = None) -> Found:
    """Read every file of a folder and of those in it: PEM, or one certificate in DER.

    Raises:
        OSError: the folder cannot be read.
    """
    found = Found(0, {}, {}, {})
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(file.relative_to(folder))
        found.files += 1
        if tick is not None:
            tick()
        if file.stat().st_size > MAX_FILE:
            found.unreadable[name] = f"larger than {MAX_FILE} octets"
            continue
        data = file.read_bytes()
        try:
            if b"-----BEGIN" in data:
                certificates = x509.load_pem_x509_certificates(data)
            else:
                certificates = [x509.load_der_x509_certificate(data)]
            for certificate in certificates:
                certificate.subject, certificate.issuer  # noqa: B018 - read now, or never
        except UNREADABLE as error:
            found.unreadable[name] = described(error)
            continue
        _sort(found, name, certificates)
    return found


def _sort(found: Found, name: str, certificates: Sequence[x509.Certificate]) -> None:
    authorities = [certificate for certificate in certificates if _is_authority(certificate)]
    for certificate in authorities:
        named = found.authorities.setdefault(certificate.subject.public_bytes(), [])
        if certificate not in named:
            named.append(certificate)
    for certificate in certificates:
        if certificate not in authorities:
            key = certificate.fingerprint(SHA256())
            found.leaves.setdefault(key, (name, certificate, tuple(authorities)))


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        basic = extension(certificate, x509.BasicConstraints)
    except UNREADABLE:
        return False
    return basic is not None and basic.ca


def survey(
    found: Found,
    *,
    at: int,
    trust: TrustList,
    revocation: RevocationView,
    profile: ProfilePolicy,
    tick: Callable[[], None] | None = None,
) -> Iterator[Case]:
    """Validate each certificate that signs calls; CAs of other files stand in for unserved ones.

    Args:
        at: seconds since the epoch.
    """
    for name, leaf, served in found.leaves.values():
        if tick is not None:
            tick()
        above = _above(leaf, served, found.authorities, trust)
        complete = above is not None
        data = b"".join(
            certificate.public_bytes(Encoding.PEM)
            for certificate in (leaf, *(served if above is None else above))[:MAX_CERTIFICATES]
        )
        subject = leaf.subject.rfc4514_string()
        issuer = leaf.issuer.rfc4514_string()
        try:
            outcome = validate(
                parse_chain(data), now=at, trust=trust, revocation=revocation, profile=profile
            )
        except ParseError as error:
            yield Case(
                file=name,
                subject=subject,
                issuer=issuer,
                reason=error.reason,
                detail=error.detail,
                complete=complete,
            )
            continue
        if isinstance(outcome, Untrusted):
            yield Case(
                file=name,
                subject=subject,
                issuer=issuer,
                reason=outcome.reason,
                detail=outcome.detail,
                complete=complete,
            )
        else:
            yield _trusted(name, subject, issuer, outcome)


def _trusted(name: str, subject: str, issuer: str, signer: TrustedSigner) -> Case:
    return Case(
        file=name,
        subject=subject,
        issuer=issuer,
        reason=None,
        detail="",
        complete=True,
        covered=tuple(
            f"{status.ground.value}: {status.covered_by}"
            if status.state is State.GOOD and status.ground is not None
            else "none"
            for status in signer.statuses
        ),
        departures=tuple(sorted({f"{item.role} {item.code}" for item in signer.departures})),
    )


def _above(
    leaf: x509.Certificate,
    served: Sequence[x509.Certificate],
    authorities: Mapping[bytes, Sequence[x509.Certificate]],
    trust: TrustList,
) -> tuple[x509.Certificate, ...] | None:
    """CAs by whose names the way leads to a trusted root, that root left out; None: it does not."""
    anchors = {root.subject.public_bytes() for root in trust.roots}
    way: list[x509.Certificate] = []
    wanted, seen = [leaf.issuer.public_bytes()], set()
    reached = False
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        reached = reached or name in anchors
        of_file = [item for item in served if item.subject.public_bytes() == name]
        for certificate in (*of_file, *authorities.get(name, ())):
            if certificate not in trust.roots and certificate not in way:
                way.append(certificate)
                wanted.append(certificate.issuer.public_bytes())
    return tuple(way) if reached else None


def addresses(found: Found) -> Counter[str]:
    """The addresses of revocation lists that certificates point to, and how many do."""
    return Counter(
        general.value
        for certificate in _all(found)
        for point in _points(certificate)
        for general in point.full_name or ()
        if isinstance(general, x509.UniformResourceIdentifier)
    )


def _all(found: Found) -> Iterable[x509.Certificate]:
    yield from (leaf for _, leaf, _ in found.leaves.values())
    for named in found.authorities.values():
        yield from named


def _points(certificate: x509.Certificate) -> Sequence[x509.DistributionPoint]:
    try:
        return tuple(extension(certificate, x509.CRLDistributionPoints) or ())
    except UNREADABLE:
        return ()


def stand_ins(
    found: Found, urls: Sequence[str], *, at: int, trust: TrustList, assigned: bool = True
) -> tuple[RevocationView, tuple[str, ...]]:
    """Lists at these addresses, fresh at a time, on which nobody is; and what is wrong with them.

    Each is signed by an issuer made for it, under the name that most certificates give it as
    cRLIssuer.

    Args:
        assigned: each issuer may speak for every trusted root; without it only for certificates
            that name it (RFC 5280 section 6.3.3).
    """
    lists: list[HeldList] = []
    assignments: list[Assignment] = []
    named = _issuers(found)
    for url in urls:
        subjects = named.get(url)
        issuer = Authority.create_root(
            "stand-in issuer of lists",
            not_before=at - DAY,
            not_after=at + DAY,
            subject=subjects.most_common(1)[0][0] if subjects else None,
        )
        data = issuer.issue_crl(this_update=at - 60, next_update=at + DAY, indirect=True, url=url)
        lists.append(HeldList(data, url=url, sure=True))
        roots = trust if assigned else None
        assignments.append(Assignment(TrustList((issuer.certificate,), url), roots, (url,)))
    return build_view(
        lists,
        issuers=TrustList(),
        trust=trust,
        policy=RevocationPolicy.REQUIRE,
        assigned=assignments,
    )


def _issuers(found: Found) -> dict[str, Counter[x509.Name]]:
    """By address, the names that certificates give the issuer of the list there."""
    named: dict[str, Counter[x509.Name]] = {}
    for certificate in _all(found):
        for point in _points(certificate):
            for general in point.full_name or ():
                for issuer in point.crl_issuer or ():
                    if isinstance(issuer, x509.DirectoryName):
                        named.setdefault(str(general.value), Counter())[issuer.value] += 1
    return named
