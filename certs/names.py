"""Names as RFC 5280 section 7 compares them: each has one normal form, text, for look-ups.

Two names match exactly when their normal forms are equal. Revocation lists are compared so:
their issuers, those of their entries, cRLIssuer, distribution points. How a path is built stays
with the library, which compares octets.
"""

from __future__ import annotations

import re
import stringprep
import unicodedata
from encodings import idna
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

# RFC 4518 section 2.2: what is mapped to nothing, and what to a space.
_NOTHING = re.compile(
    "[\u0000-\u0008\u000e-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u034f\u06dd\u070f\u1806"
    "\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2063\u206a-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff9-\ufffc\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
_BLANKS = re.compile("[\u0009-\u000d\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
# They stand in no prepared text, where control characters are mapped away.
_IN_RDN: Final = "\x1f"
_BETWEEN_RDNS: Final = "\x1e"
_CARRIES_MARK: Final = "\x01"

_URI = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):)?(?://(?P<authority>[^/?#]*))?"
    r"(?P<path>[^?#]*)(?P<rest>.*)",
    re.DOTALL,
)
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]")
_PORTS: Final = {"http": "80", "https": "443", "ftp": "21", "ldap": "389"}


@lru_cache(maxsize=4096)
def name_key(name: x509.Name) -> str:
    """The normal form of a distinguished name (RFC 5280 section 7.1).

    String types, letter case, insignificant blanks and compatibility forms make no difference,
    nor does the order of attributes within one RDN. The order of RDNs does.

    Every attribute is compared as caseIgnoreMatch has it: emailAddress too (section 4.1.2.6), and
    domainComponent after ToASCII (section 7.3). Characters that RFC 4518 prohibits stand for
    themselves: such names match nothing by the letter, and a revocation would be lost.
    """
    return _BETWEEN_RDNS.join(
        _IN_RDN.join(
            sorted(f"{item.oid.dotted_string}={_value(item.oid, item.value)}" for item in rdn)
        )
        for rdn in name.rdns
    )


def general_key(general: x509.GeneralName) -> str:
    """The normal form of a name of any kind; its kind is part of it."""
    if isinstance(general, x509.DirectoryName):
        return f"directory:{name_key(general.value)}"
    if isinstance(general, x509.UniformResourceIdentifier):
        return f"uri:{uri_key(general.value)}"
    if isinstance(general, x509.DNSName):
        return f"dns:{general.value.lower()}"
    if isinstance(general, x509.RFC822Name):
        local, at, host = general.value.rpartition("@")
        return f"mail:{local}{at}{host.lower()}"
    return f"other:{general!r}"


def uri_key(uri: str) -> str:
    """The normal form of a URI (RFC 5280 section 7.4).

    Scheme and host in lower case, escapes only where they are needed, no dot segments, no default
    port. What follows the path is compared as it is but for its escapes.
    """
    parts = _URI.fullmatch(_ESCAPED.sub(_unescaped, uri))
    if parts is None:
        return uri
    scheme = (parts["scheme"] or "").lower()
    path = parts["path"]
    if parts["authority"] is None:
        return f"{scheme}:{path}{parts['rest']}"
    user, at, place = parts["authority"].rpartition("@")
    host, port = re.fullmatch(r"(.*?)(?::([0-9]*))?", place, re.DOTALL).groups()  # type: ignore[union-attr]
    if not port or port == _PORTS.get(scheme):
        port = ""
    place = f"{host.lower()}:{port}" if port else host.lower()
    return f"{scheme}://{user}{at}{place}{_without_dots(path) or '/'}{parts['rest']}"


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if _UNRESERVED.fullmatch(character) else match[0].upper()


def _without_dots(path: str) -> str:
    """RFC 3986 section 5.2.4, of a path that is empty or begins with a slash."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments[1:]:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", "..") and len(segments) > 1:
        kept.append("")
    return "/".join(("", *kept)) if len(segments) > 1 else path


def _value(oid: x509.ObjectIdentifier, value: str | bytes) -> str:
    if isinstance(value, bytes):
        return f"#{value.hex()}"
    if oid == NameOID.DOMAIN_COMPONENT and not value.isascii():
        try:
            return idna.ToASCII(value).decode("ascii").lower()
        except UnicodeError:
            pass
    return prepared(value)


def prepared(text: str) -> str:
    """A value as caseIgnoreMatch compares it (RFC 4518 section 2; RFC 3454 appendix B.2)."""
    if not (text.isascii() and text.isprintable()):
        text = _BLANKS.sub(" ", _NOTHING.sub("", text))
        text = "".join(map(stringprep.map_table_b2, text))
        text = unicodedata.ucd_3_2_0.normalize("NFKC", text)
        text = _marked(text)
    return " ".join(part for part in text.lower().split(" ") if part).replace(_CARRIES_MARK, " ")


def _marked(text: str) -> str:
    """Take blanks out of sight that carry a combining mark: they are significant."""
    return "".join(
        _CARRIES_MARK
        if character == " " and unicodedata.category(following).startswith("M")
        else character
        for character, following in zip(text, f"{text[1:]} ", strict=False)
    )
