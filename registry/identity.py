"""Identity documents as keyed hashes: equal identities are equal, and nothing can be read back."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata

_SEPARATOR = b"\x00"


def document_hash(key: bytes, kind: str, number: str) -> str:
    """HMAC-SHA256 of kind and number, hexadecimal.

    Full-width digits, case and white space make no difference: a document written in two ways is
    one document.
    """
    plain = "".join(unicodedata.normalize("NFKC", number).upper().split())
    message = kind.encode() + _SEPARATOR + plain.encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()
