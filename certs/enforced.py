"""The extensions that are enforced: one list, for path validation and for the profile.

An extension that is critical and not among them refuses its certificate (RFC 5280 section 4.2).
What stands here is therefore acted upon; each line says where.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from zhenxian.certs import constraints, tnauthlist


class _TNAuthList(x509.ExtensionType):
    oid = tnauthlist.OID


class _Constraints(x509.ExtensionType):
    oid = constraints.OID


class _EnhancedConstraints(x509.ExtensionType):
    oid = constraints.ENHANCED_OID


ENFORCED: Final[tuple[type[x509.ExtensionType], ...]] = (
    x509.BasicConstraints,  # who issues: certs.path; the length of the path: the library
    x509.KeyUsage,  # who issues and who signs: certs.path, certs.profile
    x509.ExtendedKeyUsage,  # unfit_purpose, here
    x509.NameConstraints,  # the library; for what it cannot compare: unfit_constraints, here
    x509.SubjectAlternativeName,  # the library, against name constraints; nobody is known by it
    # No policy is demanded on the way (RFC 5280 section 6.1.1, any-policy), so none can be lacking;
    # a qualifier that is not known makes the certificate unreadable (section 4.2.1.4).
    x509.CertificatePolicies,
    x509.CRLDistributionPoints,  # certs.revocation, under the policy for revocation
    _TNAuthList,  # certs.chain, along the whole path
    _Constraints,  # certs.constraints
    _EnhancedConstraints,
)
ENFORCED_OIDS: Final = frozenset(kind.oid for kind in ENFORCED)
# What a root may have in any form: it is trusted for its name and key (RFC 5280 section 6.1.1, d).
_ELSE: Final = (
    x509.AuthorityKeyIdentifier,
    x509.SubjectKeyIdentifier,
    x509.AuthorityInformationAccess,
)
BY_REFERENCE: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.48.14")  # id-ad-stirTNList


def kinds(roots: tuple[x509.Certificate, ...] = ()) -> tuple[type[x509.ExtensionType], ...]:
    """What path validation is told of: the extensions enforced, and for CAs those of the roots."""
    known = {kind.oid: kind for kind in (*ENFORCED, *(_ELSE if roots else ()))}
    for root in roots:
        for item in root.extensions:
            if item.critical and item.oid not in known:
                known[item.oid] = type("_OfRoot", (x509.ExtensionType,), {"oid": item.oid})
    return tuple(known.values())


def unknown_critical(certificate: x509.Certificate) -> x509.ObjectIdentifier | None:
    """The first critical extension that is not enforced."""
    return next(
        (
            item.oid
            for item in certificate.extensions
            if item.critical and item.oid not in ENFORCED_OIDS
        ),
        None,
    )


def unfit_purpose(usage: x509.ExtendedKeyUsage, *, critical: bool, issues: bool) -> str | None:
    """What an extended key usage has against signing, or issuing for, calls; None when nothing.

    No purpose is registered for calls, so that only anyExtendedKeyUsage permits them. On a
    certificate that signs calls the extension counts when it is critical: some carry a purpose of
    TLS, without criticality, which the profile does not speak of.
    """
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage:
        return None
    if not issues and not critical:
        return None
    if issues and not critical and ExtendedKeyUsageOID.CLIENT_AUTH in usage:
        return None
    named = ", ".join(purpose.dotted_string for purpose in usage)
    return (
        f"the extended key usage {named} excludes calls: anyExtendedKeyUsage or no such extension"
        " belongs there"
    )


def unfit_constraints(limits: x509.NameConstraints) -> str | None:
    """What cannot be enforced of name constraints; None when the library does all."""
    trees = (*(limits.permitted_subtrees or ()), *(limits.excluded_subtrees or ()))
    if not trees:
        return "its name constraints are empty: names that are permitted or excluded belong there"
    if any(isinstance(tree, x509.DirectoryName) for tree in trees):
        return (
            "its name constraints limit directory names, which path validation does not compare:"
            " a TNAuthList limits what a CA may issue (RFC 9060 section 4)"
        )
    return None


def by_reference(certificate: x509.Certificate) -> str | None:
    """Where the certificate says that its TNAuthList is (RFC 8226 section 10.1), or None."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return None
    for item in access.value:
        if item.access_method == BY_REFERENCE:
            location = item.access_location
            return str(location.value)[:200]
    return None
