"""From the certificates that were served to a trusted root, by the library; and why there is none.

`cryptography.x509.verification` builds and checks the path. The rules given to it are those of
certs.enforced and certs.profile, so that what it refuses and what the profile says are one. A root
is trusted for its name and key, whatever else it says (RFC 5280 section 6.1.1, d).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from msgspec import Struct

from zhenxian.certs.enforced import kinds
from zhenxian.certs.profile import Role, Violation, check_profile, extension, signing_role
from zhenxian.certs.reading import UNREADABLE
from zhenxian.core.reasons import Reason

MAX_CERTIFICATES: Final = 10  # of one chain
_MAX_SIGNATURES: Final = 16  # checked to explain a refusal


class NoPath(Struct, frozen=True):
    """Why a certificate does not lead to a trusted root: where on the way, and a sentence."""

    reason: Reason
    certificate: x509.Certificate
    why: str


def find_path(
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    now: int,
    roots: tuple[x509.Certificate, ...],
) -> list[x509.Certificate] | NoPath:
    """The path from a certificate to a root, both included.

    Args:
        others: what was served beside it, in any order.
        now: seconds since the epoch.
    """
    if not roots:
        return NoPath(Reason.CERT_UNTRUSTED, leaf, "the trust list is empty")
    try:
        path = _verified(leaf, others, now, roots)
    except (VerificationError, *UNREADABLE):
        return _explained(leaf, list(others), now, roots)
    if len(path) < 2:  # the library ends a path at whatever the trust list holds
        return NoPath(
            Reason.CERT_UNTRUSTED, leaf, "the trust list holds it, and a root does not sign calls"
        )
    return path


def unfit_anchor(certificate: x509.Certificate) -> str | None:
    """Why the library cannot take a certificate as a root, in a sentence; None when it can."""
    flaws = [violation for violation in check_profile(certificate, Role.ROOT) if violation.must]
    if not flaws:
        return refused_alone(certificate)
    # Without basicConstraints it is no CA either, which says less.
    return next((flaw for flaw in flaws if flaw.code != "CA"), flaws[0]).text


def refused_alone(certificate: x509.Certificate) -> str | None:
    """What the library has against a certificate whatever issued it, in a sentence, or None."""
    begin = int(certificate.not_valid_before_utc.timestamp())
    try:
        _verified(certificate, (), begin, (certificate,), alone=True)
    except (VerificationError, *UNREADABLE):
        return (
            "its form is not that of RFC 5280 section 4.1 (version 3, a positive serial number of"
            " 20 octets at most, an issuer, and dates before 2050 as UTCTime belong there)"
        )
    return None


def _verified(
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    now: int,
    roots: tuple[x509.Certificate, ...],
    *,
    alone: bool = False,
) -> list[x509.Certificate]:
    issues = ExtensionPolicy.permit_all()
    signs = ExtensionPolicy.permit_all()  # the profile, after this, has all that is demanded
    for kind in kinds(roots if alone else ()):
        signs = signs.may_be_present(kind, Criticality.AGNOSTIC, None)
    for kind in kinds(roots):
        if kind is not x509.BasicConstraints:
            issues = issues.may_be_present(kind, Criticality.AGNOSTIC, None)
    issues = issues.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _may_issue(roots))
    verifier = (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(datetime.fromtimestamp(now, UTC).replace(tzinfo=None))
        .max_chain_depth(MAX_CERTIFICATES)
        .extension_policies(ca_policy=issues, ee_policy=signs)
        .build_client_verifier()
    )
    return list(verifier.verify(leaf, list(others)).chain)


def _may_issue(roots: tuple[x509.Certificate, ...]) -> Callable[..., None]:
    def check(_: Policy, certificate: x509.Certificate, basic: x509.BasicConstraints) -> None:
        if certificate in roots:
            if not basic.ca:
                raise ValueError("not a CA")
            return
        flaw = _flaw(certificate, Role.INTERMEDIATE)
        if flaw is not None:
            raise ValueError(flaw.text)

    return check


def _flaw(certificate: x509.Certificate, role: Role) -> Violation | None:
    """What refuses a certificate under any profile; the reasons of TNAuthList are others."""
    return next(
        (
            violation
            for violation in check_profile(certificate, role)
            if violation.must and not violation.code.startswith("TNAUTHLIST")
        ),
        None,
    )


def _explained(
    leaf: x509.Certificate,
    others: list[x509.Certificate],
    now: int,
    roots: tuple[x509.Certificate, ...],
) -> NoPath:
    """Tell why there is no path: this only chooses between reasons of a refusal.

    The way is followed by names and signatures. Dates on it come first, then what a certificate
    of it lacks, if it ends at a trusted root.
    """
    way = [leaf]
    signatures = 0
    while way[-1] not in roots:
        current = way[-1]
        named = [c for c in (*roots, *others) if c.subject == current.issuer and c not in way]
        if not named:
            return NoPath(
                Reason.CERT_UNTRUSTED,
                current,
                f"its issuer, {current.issuer.rfc4514_string()[:200]}, is neither served with it"
                " nor a trusted root",
            )
        late = [dates(c, now) for c in named]
        fitting = [c for c, state in zip(named, late, strict=True) if state is None]
        if not fitting and late[0] is not None:
            return late[0]
        signatures += len(fitting)
        if signatures > _MAX_SIGNATURES:
            return NoPath(
                Reason.CERT_UNTRUSTED, current, "too many certificates bear its issuer's name"
            )
        signed = next((c for c in fitting if _signed(current, c)), None)
        if signed is None:
            return NoPath(
                Reason.CERT_UNTRUSTED,
                current,
                "its signature does not verify with the key of its issuer,"
                f" {current.issuer.rfc4514_string()[:200]}",
            )
        way.append(signed)
    for index, certificate in enumerate(way):
        if index and certificate in roots:
            break
        flaw = _flaw(certificate, Role.INTERMEDIATE if index else signing_role(certificate))
        if flaw is not None:
            reason = Reason.CERT_UNTRUSTED if index and flaw.code == "CA" else Reason.CERT_PROFILE
            return NoPath(reason, certificate, flaw.text)
        alone = refused_alone(certificate)
        if alone is not None:
            return NoPath(Reason.CERT_PROFILE, certificate, alone)
    for below, certificate in enumerate(way[1:]):
        basic = extension(certificate, x509.BasicConstraints)
        if basic is None or not basic.ca:
            return NoPath(
                Reason.CERT_UNTRUSTED, certificate, "it is no CA, and issued the one below it"
            )
        if basic.path_length is not None and below > basic.path_length:
            return NoPath(
                Reason.CERT_UNTRUSTED,
                certificate,
                f"its path length constraint permits {basic.path_length} CAs below it, not {below}",
            )
    return NoPath(
        Reason.CERT_UNTRUSTED, leaf, "no path to a trusted root keeps RFC 5280 section 6.1"
    )


def dates(certificate: x509.Certificate, now: int) -> NoPath | None:
    """Why a certificate is not valid at a time; None when it is."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end.timestamp():
        return NoPath(Reason.CERT_EXPIRED, certificate, f"since {end:%F %T} UTC")
    if now < begin.timestamp():
        return NoPath(Reason.CERT_NOT_YET_VALID, certificate, f"from {begin:%F %T} UTC on")
    return None


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True
