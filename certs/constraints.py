"""JWTClaimConstraints: what a certificate's tokens must and must not say (RFC 8226, RFC 9118).

JWTClaimConstraints ::= SEQUENCE { mustInclude [0] JWTClaimNames OPTIONAL,
permittedValues [1] JWTClaimValuesList OPTIONAL }
EnhancedJWTClaimConstraints adds mustExclude [2] JWTClaimNames OPTIONAL
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cryptography import x509
from msgspec import Struct
from pyasn1.type import char, constraint, namedtype, tag, univ
from pyasn1_modules import rfc8226

from zhenxian.certs.reading import UNREADABLE, described
from zhenxian.certs.tnauthlist import decode_der
from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason

OID: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.27")
ENHANCED_OID: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.33")
_BASELINE: Final = frozenset({"dest", "iat", "orig"})  # claims that every token carries


class _Enhanced(univ.Sequence):  # type: ignore[misc]
    """The syntax of RFC 9118 section 4; no published module has it."""

    componentType = namedtype.NamedTypes(  # noqa: N815
        namedtype.OptionalNamedType(
            "mustInclude",
            rfc8226.JWTClaimNames().subtype(
                explicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatSimple, 0)
            ),
        ),
        namedtype.OptionalNamedType(
            "permittedValues",
            rfc8226.JWTClaimPermittedValuesList().subtype(
                explicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatSimple, 1)
            ),
        ),
        namedtype.OptionalNamedType(
            "mustExclude",
            univ.SequenceOf(componentType=char.IA5String())
            .subtype(subtypeSpec=constraint.ValueSizeConstraint(1, rfc8226.MAX))
            .subtype(explicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatSimple, 2)),
        ),
    )


class ClaimConstraints(Struct, frozen=True):
    """One extension's constraints.

    Attributes:
        must_include: claims that every token carries.
        permitted_values: by claim, the values it may have when it is there.
        must_exclude: claims that no token carries (RFC 9118).
    """

    must_include: tuple[str, ...] = ()
    permitted_values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    must_exclude: tuple[str, ...] = ()

    def violation(self, claims: Mapping[str, Any]) -> str | None:
        """The first constraint that a payload breaks, as a sentence; None when it keeps all.

        A claim with permitted values that is not there is no violation (RFC 8226 section 8). A
        value that is not text is compared as no text, and so is not permitted. An extension that
        excludes a claim of every token counts as not there (RFC 9118 section 4).
        """
        if not _BASELINE.isdisjoint(self.must_exclude):
            return None
        for name in self.must_include:
            if name not in claims:
                return f"the certificate demands the claim {name}, which is not there"
        for name, values in self.permitted_values:
            if name in claims and claims[name] not in values:
                allowed = ", ".join(values)
                return f"the certificate permits for {name} only {allowed}"
        for name in self.must_exclude:
            if name in claims:
                return f"the certificate forbids the claim {name}"
        return None


def parse_constraints(der: bytes, *, enhanced: bool) -> ClaimConstraints:
    """Read the value of one of the two extensions.

    Raises:
        ParseError: CERT_PROFILE (437).
    """
    try:
        value = decode_der(der, _Enhanced() if enhanced else rfc8226.JWTClaimConstraints())
    except ValueError as error:
        raise ParseError(
            Reason.CERT_PROFILE,
            "JWTClaimConstraints",
            f"a SEQUENCE of claims and their values belongs there (RFC 8226 section 8): {error}",
        ) from None

    def names(field: str) -> tuple[str, ...]:
        component = value[field]
        return (
            tuple(str(n) for n in component) if component is not None and component.isValue else ()
        )

    permitted = value["permittedValues"]
    constraints = ClaimConstraints(
        names("mustInclude"),
        tuple(
            (str(entry["claim"]), tuple(str(v) for v in entry["permitted"]))
            for entry in (permitted if permitted.isValue else ())
        ),
        names("mustExclude") if enhanced else (),
    )
    if constraints == ClaimConstraints():
        raise ParseError(Reason.CERT_PROFILE, "JWTClaimConstraints", "constrains nothing")
    return constraints


def constraints_of(certificate: x509.Certificate) -> tuple[ClaimConstraints, ...]:
    """The certificate's constraints, of either extension.

    Raises:
        ParseError: CERT_PROFILE (437).
    """
    found = []
    try:
        extensions = certificate.extensions
    except UNREADABLE as error:
        raise ParseError(
            Reason.CERT_PROFILE,
            "JWTClaimConstraints",
            f"the certificate's extensions cannot be read: {described(error)}",
        ) from None
    for extension in extensions:
        if extension.oid in (OID, ENHANCED_OID):
            value = extension.value
            if not isinstance(value, x509.UnrecognizedExtension):
                raise ParseError(Reason.CERT_PROFILE, "JWTClaimConstraints", "unreadable")
            found.append(parse_constraints(value.value, enhanced=extension.oid == ENHANCED_OID))
    return tuple(found)
