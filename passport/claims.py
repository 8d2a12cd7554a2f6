"""The PASSporT as a value: header and claims, typed, nothing believed (RFC 8225)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from passport import json, ppt
from passport.errors import ParseError, shown
from passport.ppt import Extension
from passport.reasons import Reason
from passport.tn import TN, URI

MAX_DESTINATIONS: Final = 32  # identities in dest; bounds the work that a token can ask for
MAX_IAT: Final = 253_402_300_799  # seconds; the end of the year 9999
_BASE: Final = frozenset({"dest", "iat", "mky", "orig"})
_FINGERPRINT = re.compile(r"(?:[0-9A-F]{2}:)*[0-9A-F]{2}\Z", re.IGNORECASE)


class Header(Struct, frozen=True):
    """The JOSE header of a PASSporT (RFC 8225 section 4). `alg` and `typ` have one legal value."""

    x5u: str
    ppt: str | None = None
    extra: tuple[tuple[str, Any], ...] = ()

    def dumps(self) -> bytes:
        """Deterministic JSON (RFC 8225 section 9)."""
        members: dict[str, Any] = {"alg": "ES256", "typ": "passport", "x5u": self.x5u}
        if self.ppt is not None:
            members["ppt"] = self.ppt
        members.update(self.extra)
        return json.dumps(members)


class MediaKey(Struct, frozen=True, order=True):
    """One entry of mky: hash algorithm and fingerprint of a media key (RFC 8225 section 5.2.2)."""

    alg: str
    dig: str


class Destination(Struct, frozen=True):
    """The called identities: telephone numbers, URIs, or both; never empty."""

    tn: tuple[TN, ...] = ()
    uri: tuple[URI, ...] = ()

    def __post_init__(self) -> None:
        if not self.tn and not self.uri:
            raise ParseError(Reason.CLAIM_INVALID, "payload.dest", "dest names nobody")

    def __contains__(self, identity: TN | URI) -> bool:
        return identity in (self.tn if isinstance(identity, TN) else self.uri)


class PASSporT(Struct, frozen=True):
    """Header and claims of one token. Nothing here says that the signature is good.

    Attributes:
        iat: seconds since 1970-01-01T00:00:00Z.
        extension: the claims of the token's ppt, e.g. a Shaken; None for baseline.
        extra: claims no type here owns, kept in the order of their names.
    """

    header: Header
    orig: TN | URI
    dest: Destination
    iat: int
    extension: Extension | None = None
    mky: tuple[MediaKey, ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()

    def claims(self) -> dict[str, Any]:
        """The payload as a mapping; mky in the order of RFC 8225 section 5.2.2."""
        dest: dict[str, Any] = {}
        if self.dest.tn:
            dest["tn"] = self.dest.tn
        if self.dest.uri:
            dest["uri"] = self.dest.uri
        members: dict[str, Any] = {
            "dest": dest,
            "iat": self.iat,
            "orig": {"tn" if isinstance(self.orig, TN) else "uri": self.orig},
        }
        if self.mky:
            members["mky"] = [
                {"alg": key.alg, "dig": key.dig} for key in sorted(self.mky)
            ]
        if self.extension is not None:
            members.update(self.extension.claims())
        members.update(self.extra)
        return members

    def payload(self) -> bytes:
        """The claims as deterministic JSON (RFC 8225 section 9)."""
        return json.dumps(self.claims())


def _missing(name: str) -> ParseError:
    return ParseError(Reason.CLAIM_MISSING, f"payload.{name}", f"no {name} claim")


def _invalid(name: str, why: str) -> ParseError:
    return ParseError(Reason.CLAIM_INVALID, f"payload.{name}", why)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _invalid(name, f"{shown(value)} is not text")
    return value


def _orig(value: object) -> TN | URI:
    if not isinstance(value, dict):
        raise _invalid("orig", f"{shown(value)} is not an object")
    if len(value) != 1:
        raise _invalid("orig", "orig holds exactly one of tn and uri")
    if "tn" in value:
        return TN(_text(value["tn"], "orig.tn"))
    if "uri" in value:
        return URI(_text(value["uri"], "orig.uri"))
    raise _invalid("orig", "orig holds exactly one of tn and uri")


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise _invalid(name, f"{shown(value)} is not a list with members")
    if len(value) > MAX_DESTINATIONS:
        raise _invalid(name, f"more than {MAX_DESTINATIONS} members")
    return value


def _dest(value: object) -> Destination:
    if not isinstance(value, dict):
        raise _invalid("dest", f"{shown(value)} is not an object")
    unknown = value.keys() - {"tn", "uri"}
    if unknown or not value:
        raise _invalid("dest", "dest holds tn, uri or both")
    return Destination(
        tuple(TN(_text(item, "dest.tn")) for item in _list(value["tn"], "dest.tn"))
        if "tn" in value
        else (),
        tuple(URI(_text(item, "dest.uri")) for item in _list(value["uri"], "dest.uri"))
        if "uri" in value
        else (),
    )


def _mky(value: object) -> tuple[MediaKey, ...]:
    keys = []
    for item in _list(value, "mky"):
        if not isinstance(item, dict) or item.keys() != {"alg", "dig"}:
            raise _invalid("mky", "an entry holds exactly alg and dig")
        dig = _text(item["dig"], "mky.dig")
        if _FINGERPRINT.match(dig) is None:
            raise _invalid("mky.dig", f"{shown(dig)} is not octets in hex with colons")
        keys.append(MediaKey(_text(item["alg"], "mky.alg"), dig))
    return tuple(sorted(keys))


@lru_cache(maxsize=1024)
def parse_header(data: bytes) -> Header:
    """Read the JOSE header of a PASSporT (RFC 8225 section 4).

    The same signer sends the same header on every call, so results are remembered.

    Raises:
        ParseError: TYP_UNSUPPORTED, ALG_UNSUPPORTED, CRIT_UNSUPPORTED (437),
            HEADER_MEMBER_MISSING (436), HEADER_MEMBER_INVALID or a JSON reason (438).
    """
    members = json.loads(data, "header")
    for name in ("typ", "alg", "x5u"):
        if name not in members:
            raise ParseError(Reason.HEADER_MEMBER_MISSING, f"header.{name}", f"no {name}")
        if not isinstance(members[name], str):
            raise ParseError(
                Reason.HEADER_MEMBER_INVALID, f"header.{name}", f"{name} is not text"
            )
    if members["typ"] != "passport":
        raise ParseError(
            Reason.TYP_UNSUPPORTED, "header.typ", f"{shown(members['typ'])} is not passport"
        )
    if members["alg"] != "ES256":
        raise ParseError(
            Reason.ALG_UNSUPPORTED, "header.alg", f"{shown(members['alg'])} is not ES256"
        )
    if "crit" in members:
        raise ParseError(Reason.CRIT_UNSUPPORTED, "header.crit")
    ppt_name = members.get("ppt")
    if "ppt" in members and not isinstance(ppt_name, str):
        raise ParseError(Reason.HEADER_MEMBER_INVALID, "header.ppt", "ppt is not text")
    extra = tuple(
        sorted((k, v) for k, v in members.items() if k not in ("alg", "typ", "x5u", "ppt"))
    )
    return Header(members["x5u"], ppt_name, extra)


def parse_payload(header: Header, data: bytes) -> PASSporT:
    """Read the claims of a token (RFC 8225 section 5) as its header's ppt says.

    Raises:
        ParseError: CLAIM_MISSING, CLAIM_INVALID, TN_INVALID, URI_INVALID, PPT_UNSUPPORTED, a
            reason of the ppt's own claims, or a JSON reason (all 438).
    """
    passport_type = ppt.lookup(header.ppt)
    claims: Mapping[str, Any] = json.loads(data, "payload")
    for name in ("orig", "dest", "iat"):
        if name not in claims:
            raise _missing(name)
    iat = claims["iat"]
    if type(iat) is not int or not 0 <= iat <= MAX_IAT:
        raise _invalid("iat", f"{shown(iat)} is not a number of seconds")
    owned = passport_type.names
    return PASSporT(
        header,
        _orig(claims["orig"]),
        _dest(claims["dest"]),
        iat,
        passport_type.parse(claims),
        _mky(claims["mky"]) if "mky" in claims else (),
        tuple(sorted((k, v) for k, v in claims.items() if k not in _BASE and k not in owned))
        if len(claims) > 3 + len(owned)
        else (),
    )


