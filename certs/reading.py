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
