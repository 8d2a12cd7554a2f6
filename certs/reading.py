"""What the X.509 library raises on what it cannot read.

Not all of it is ValueError: a version, a name form or a doubled extension that it does not take
has an exception of its own, derived from Exception alone, and served octets reach each of them.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def described(error: BaseException) -> str:
    """What could not be read, in our words."""
    if isinstance(error, x509.DuplicateExtension):
        return f"the extension {error.oid.dotted_string} stands in it twice"
    if isinstance(error, x509.InvalidVersion):
        return f"version {error.parsed_version + 1} stands where version 3 belongs"
    if isinstance(error, x509.UnsupportedGeneralNameType):
        return "a name in it is of a kind that is not supported"
    if isinstance(error, UnsupportedAlgorithm):
        return "its key or signature is of a kind that is not supported"
    return "its octets are not the DER of RFC 5280"
