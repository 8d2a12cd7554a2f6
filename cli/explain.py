"""Identity headers and certificates in plain words."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from rich.console import Console
from rich.text import Text

from zhenxian.certs.chain import Chain, Untrusted, validate
from zhenxian.certs.constraints import constraints_of
from zhenxian.certs.enforced import by_reference
from zhenxian.certs.path import refused_alone, unfit_anchor
from zhenxian.certs.profile import (
    Role,
    Violation,
    algorithm_text,
    check_profile,
    extension,
    extension_text,
    key_text,
    role_of,
    serial_octets,
)
from zhenxian.certs.reading import UNREADABLE
from zhenxian.certs.revocation import RevocationPolicy, build_view
from zhenxian.certs.tnauthlist import tnauthlist_of
from zhenxian.certs.trustlist import TrustList
from zhenxian.certs.x5u import X5uPolicy, check_x5u
from zhenxian.core.errors import ParseError, shown
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN
from zhenxian.passport.claims import PASSporT
from zhenxian.passport.identity import IdentityHeader, parse_single, split_identity_headers
from zhenxian.passport.ppt.shaken import Shaken

_UNLISTED: Final = build_view(
    (), issuers=TrustList(), trust=TrustList(), policy=RevocationPolicy.PREFER
)[0]
_ATTEST: Final = {
    "A": "full: the carrier knows the caller and that the caller may use the number",
    "B": "partial: the carrier knows the caller, not whether the caller may use the number",
    "C": "gateway: the carrier only knows where the call entered its network",
}


class Step(dict[str, Any]):
    """One line: a name, whether it is good, bad or only told, and a sentence."""


def _step(name: str, state: str, text: str, **more: Any) -> Step:
    return Step(name=name, state=state, text=text, **more)


def explain_identity(value: str, now: int, window: int, x5u: X5uPolicy) -> list[list[Step]]:
    """Explain each Identity header of a value: every part, every check that needs no key.

    Raises:
        ParseError: the value is too large to be taken apart.
    """
    return [_header(part, now, window, x5u) for part in split_identity_headers([value])]


def _failed(error: ParseError) -> Step:
    reason = error.reason
    sip = f", SIP {reason.sip.code} {reason.sip.phrase}" if reason.sip is not None else ""
    return _step(
        error.where,
        "bad",
        f"{error.detail} ({reason.name}: {reason.text}; {reason.source}{sip})",
        reason=reason.name,
    )


def _header(part: str, now: int, window: int, policy: X5uPolicy) -> list[Step]:
    if part.lower().startswith("identity:"):
        part = part[len("identity:") :].strip()
    try:
        header = parse_single(part)
    except ParseError as error:
        return [_failed(error)]
    steps = [
        _step(
            "form",
            "info",
            "compact: the claims are rebuilt from the SIP request"
            if header.compact
            else "full: the token carries its claims",
        ),
        _step("info", "info", f"the certificate chain is fetched from {header.info}"),
        _step("ppt", "info", f"PASSporT type {header.ppt or 'baseline (no ppt parameter)'}"),
    ]
    refused = check_x5u(header.info, policy)
    steps.append(
        _step("x5u", "good", "https, usual port, public host")
        if refused is None
        else _step("x5u", "bad", refused.detail, reason=refused.reason.name)
    )
    steps += [
        _step("parameter", "info", f"{name} = {shown(text)}: kept, not understood")
        for name, text in header.extra
    ]
    if header.compact:
        return steps
    try:
        passport = header.passport()
    except ParseError as error:
        return [*steps, _failed(error)]
    return [*steps, *_claims(header, passport, now, window)]


def _claims(header: IdentityHeader, passport: PASSporT, now: int, window: int) -> list[Step]:
    kind = "telephone number" if isinstance(passport.orig, TN) else "URI"
    called = ", ".join((*passport.dest.tn, *passport.dest.uri))
    age = now - passport.iat
    when = datetime.fromtimestamp(passport.iat, UTC)
    fresh = abs(age) <= window
    steps = [
        _step("orig", "info", f"the caller is shown as {passport.orig} ({kind})"),
        _step("dest", "info", f"the call is to {called}"),
        _step(
            "iat",
            "good" if fresh else "bad",
            f"signed {when:%F %T} UTC, {abs(age)} s {'ago' if age >= 0 else 'from now'};"
            f" {window} s are accepted",
            **({} if fresh else {"reason": Reason.IAT_STALE.name}),
        ),
    ]
    if isinstance(passport.extension, Shaken):
        level = passport.extension.attest.value
        steps.append(_step("attest", "info", f"{level}, {_ATTEST[level]}"))
        steps.append(_step("origid", "info", f"the signer knows the origin as "
                           f"{passport.extension.origid}"))  # fmt: skip
    steps += [_step("mky", "info", f"media key {key.alg} {key.dig}") for key in passport.mky]
    steps += [
        _step("claim", "info", f"{name} = {shown(content)}: kept, not understood")
        for name, content in passport.extra
    ]
    canonical = header.expanded(passport).token == header.token
    steps.append(
        _step("serialisation", "good", "the one form of RFC 8225 section 9")
        if canonical
        else _step(
            "serialisation",
            "info",
            "not the form of RFC 8225 section 9; verifies, but has no compact form",
        )
    )
    return steps


def explain_chain(chain: Chain, now: int) -> list[dict[str, Any]]:
    """What each certificate says, and where it departs from the profile.

    A violation that bears on trust ("must") is one that verifying refuses too.
    """
    explained = [_certificate(certificate, now) for certificate in chain.certificates]
    if role_of(chain.certificates[0]) not in (Role.LEAF, Role.DELEGATE):
        explained[0]["first"] = (
            "a CA: a chain that begins with it is refused, for a CA signs no calls"
        )
    return explained


def explain_path(chain: Chain, now: int) -> dict[str, Any] | None:
    """What validating says of the certificates together; None when they make no chain.

    The last that is found on the way up is taken for trusted, and lists are not looked at.
    """
    leaf, *others = chain.certificates
    way = [leaf]
    while True:
        above = [c for c in others if c.subject == way[-1].issuer and c not in way]
        if not above:
            break
        way.append(above[0])
    if len(way) < 2 or role_of(leaf) not in (Role.LEAF, Role.DELEGATE):
        return None
    outcome = validate(chain, now=now, trust=TrustList((way[-1],), "top"), revocation=_UNLISTED)
    top = way[-1].subject.rfc4514_string()
    if isinstance(outcome, Untrusted):
        return {
            "top": top,
            "reason": outcome.reason.name,
            "text": outcome.detail,
            "bad": outcome.reason not in (Reason.CERT_EXPIRED, Reason.CERT_NOT_YET_VALID),
        }
    return {"top": top, "reason": None, "text": f"a path that leads to {top}", "bad": False}


def _certificate(certificate: x509.Certificate, now: int) -> dict[str, Any]:
    role = role_of(certificate)
    violations = list(check_profile(certificate, role))
    alone = refused_alone(certificate)
    if alone is not None and not any(violation.must for violation in violations):
        violations.append(Violation("FORM", True, alone, "RFC 5280 section 4.1"))
    own = certificate.issuer == certificate.subject
    unfit = unfit_anchor(certificate) if own and role is not Role.ROOT else None
    try:
        listed = tnauthlist_of(certificate)
        numbers = str(listed) if listed is not None else None
    except ParseError as error:
        numbers = f"unreadable: {error.detail}"
    try:
        constraints = [
            {
                "mustInclude": item.must_include,
                "permittedValues": dict(item.permitted_values),
                "mustExclude": item.must_exclude,
            }
            for item in constraints_of(certificate)
        ]
    except ParseError as error:
        constraints = [{"unreadable": (error.detail,)}]
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    valid = begin.timestamp() <= now <= end.timestamp()
    return {
        "role": role.value,
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "serial_octets": serial_octets(certificate),
        **_extensions(certificate),
        "valid": f"{begin:%F %T} to {end:%F %T} UTC",
        "valid_now": valid,
        "tnauthlist": numbers,
        "constraints": constraints,
        **({"as_root": unfit} if unfit is not None else {}),
        "violations": [
            {"code": v.code, "must": v.must, "text": v.text, "source": v.source} for v in violations
        ],
    }


def _extensions(certificate: x509.Certificate) -> dict[str, Any]:
    """Key, signature, critical extensions and distribution points, as far as they can be read."""
    told: dict[str, Any] = {"critical": [], "points": [], "signature": algorithm_text(certificate)}
    with suppress(*UNREADABLE):
        told["key"] = key_text(certificate.public_key())
        told["critical"] = [
            f"{extension_text(item.oid)}" for item in certificate.extensions if item.critical
        ]
        told["tnauthlist_by_reference"] = by_reference(certificate)
        points = extension(certificate, x509.CRLDistributionPoints)
        told["points"] = [
            {
                "addresses": [str(_named(name)) for name in point.full_name or ()],
                "crl_issuer": ", ".join(str(_named(name)) for name in point.crl_issuer or ())
                or None,
                "reasons": sorted(reason.value for reason in point.reasons or ()) or None,
            }
            for point in points or ()
        ]
    return told


def _named(general: x509.GeneralName) -> str:
    if isinstance(general, x509.DirectoryName):
        return general.value.rfc4514_string()
    return str(general.value)


_MARKS: Final = {"good": ("good", "green"), "bad": ("bad ", "red"), "info": ("    ", "dim")}


def print_steps(console: Console, headers: list[list[Step]]) -> None:
    """The explanation of Identity headers, for people."""
    for number, steps in enumerate(headers, 1):
        if len(headers) > 1:
            console.print(f"Identity header {number} of {len(headers)}", style="bold")
        for step in steps:
            mark = _MARKS[step["state"]]
            console.print(Text.assemble(mark, " ", (step["name"], "bold"), f": {step['text']}"))


def print_path(console: Console, path: dict[str, Any] | None) -> None:
    """What validating says of certificates together, for people."""
    if path is not None:
        mark = ("refused", "red") if path["bad"] else ("together", "bold")
        console.print(Text.assemble(mark, f": {path['text']}"))


def print_chain(console: Console, certificates: list[dict[str, Any]]) -> None:
    """The explanation of a chain, for people."""
    for entry in certificates:
        console.print(Text.assemble((entry["role"], "bold"), f": {entry['subject']}"))
        state = "valid now" if entry["valid_now"] else ("not valid now", "red")
        serial = f"; serial {entry['serial']} ({entry['serial_octets']} octets)"
        console.print(Text.assemble(f"  valid {entry['valid']}, ", state, serial))
        console.print(f"  issued by {entry['issuer']}, {entry['signature']}")
        if "as_root" in entry:
            console.print(f"  cannot be a trusted root: {entry['as_root']}")
        if "first" in entry:
            console.print(f"  {entry['first']}", style="yellow")
        if "key" in entry:
            console.print(f"  key: {entry['key']}")
        critical = ", ".join(entry["critical"]) or "none"
        console.print(f"  critical extensions: {critical}")
        for number, point in enumerate(entry["points"], 1):
            of = f" {number} of {len(entry['points'])}" if len(entry["points"]) > 1 else ""
            issuer = f", a list by {point['crl_issuer']}" if point["crl_issuer"] else ""
            reasons = f", for {', '.join(point['reasons'])} only" if point["reasons"] else ""
            console.print(
                f"  revocation list{of}: {', '.join(point['addresses']) or 'no address'}{issuer}"
                f"{reasons}",
            )
        if entry.get("tnauthlist_by_reference"):
            console.print(
                f"  its TNAuthList is at {entry['tnauthlist_by_reference']}, which is not fetched",
            )
        if entry["tnauthlist"] is not None:
            console.print(f"  may speak for {entry['tnauthlist']}")
        for item in entry["constraints"]:
            console.print(f"  its tokens are constrained: {item}")
        for item in entry["violations"]:
            mark = ("violates", "red") if item["must"] else ("departs from", "yellow")
            text = f" the profile: {item['text']} ({item['source']})"
            console.print(Text.assemble("  ", mark, text))
        if not entry["violations"]:
            console.print("  keeps the SHAKEN profile")
