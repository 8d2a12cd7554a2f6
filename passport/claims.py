"""The PASSporT as a value: header and claims, typed, nothing believed (RFC 8225)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from zhenxian.core.errors import ParseError, shown
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, URI
from zhenxian.passport import json, ppt
from zhenxian.passport.fields import (
    invalid,
    missing,
    read_identity,
    read_object,
    read_text,
    read_tn,
    read_uri,
)
from zhenxian.passport.jws import b64url_decode
from zhenxian.passport.ppt import Extension, shaken
from zhenxian.passport.ppt.shaken import Attestation, Shaken, parse_origid

MAX_DESTINATIONS: Final = 32  # identities in dest; bounds the work that a token can ask for
SIGNERS: Final = 16_384  # of whose headers the reading is remembered; a continent has fewer
REMEMBERED: Final = 512  # octets; nobody fills the memory with what is longer
MAX_IAT: Final = 253_402_300_799  # seconds; the end of the year 9999
_BASE: Final = frozenset({"dest", "iat", "mky", "orig"})
_HEADER: Final = frozenset({"alg", "ppt", "typ", "x5u"})
_HASH_NAME = re.compile(r"[A-Za-z0-9\-]{1,32}\Z")
_FINGERPRINT = re.compile(r"(?:[0-9A-Fa-f]{2}){1,64}\Z")

_Extra = tuple[tuple[str, Any], ...]


def _sorted_extra(extra: _Extra, owned: frozenset[str]) -> _Extra:
    names = {name for name, _ in extra}
    if len(names) != len(extra) or names & owned:
        raise RuntimeError(f"extra members {sorted(names)} stand twice or have their own field")
    return tuple(sorted(extra, key=lambda member: member[0]))


class Header(Struct, frozen=True):
    """The JOSE header of a PASSporT (RFC 8225 section 4). `alg` and `typ` have one legal value.

    Attributes:
        extra: members no standard here owns, kept in the order of their names.
    """

    x5u: str
    ppt: str | None = None
    extra: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.extra:
            force_setattr(self, "extra", _sorted_extra(self.extra, _HEADER | {"crit"}))

    def dumps(self) -> bytes:
        """Write deterministic JSON (RFC 8225 section 9)."""
        members: dict[str, Any] = {"alg": "ES256", "typ": "passport", "x5u": self.x5u}
        if self.ppt is not None:
            members["ppt"] = self.ppt
        members.update(self.extra)
        return json.dumps(members)


class MediaKey(Struct, frozen=True):
    """One entry of mky: hash algorithm and fingerprint of a media key (RFC 8225 section 5.2.2).

    `dig` is hexadecimal without the colons of SDP.
    """

    alg: str
    dig: str


class Destination(Struct, frozen=True, gc=False):
    """The called identities: telephone numbers, URIs, or both; never empty.

    Their order means nothing, so they stand in lexicographic order (RFC 8225 section 5.2.1).
    """

    tn: tuple[TN, ...] = ()
    uri: tuple[URI, ...] = ()

    def __post_init__(self) -> None:
        identities = len(self.tn) + len(self.uri)
        if identities == 1:
            return
        if identities == 0:
            raise ParseError(Reason.CLAIM_INVALID, "payload.dest", "dest names nobody")
        force_setattr(self, "tn", tuple(sorted(self.tn)))
        force_setattr(self, "uri", tuple(sorted(self.uri)))

    @property
    def identities(self) -> tuple[TN | URI, ...]:
        """All that are called."""
        return (*self.tn, *self.uri)

    def __contains__(self, identity: TN | URI) -> bool:
        return identity in (self.tn if isinstance(identity, TN) else self.uri)


class PASSporT(Struct, frozen=True, gc=False):
    """Header and claims of one token. Nothing here says that the signature is good.

    Attributes:
        iat: whole seconds since 1970-01-01T00:00:00Z.
        extension: the claims of the token's ppt, e.g. a Shaken; None for baseline.
        mky: in the order of RFC 8225 section 5.2.2.
        extra: claims no type here owns, kept in the order of their names.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    header: Header
    orig: TN | URI
    dest: Destination
    iat: int
    extension: Extension | None = None
    mky: tuple[MediaKey, ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.extra:
            owned = _BASE | (self.extension.claims().keys() if self.extension else frozenset())
            force_setattr(self, "extra", _sorted_extra(self.extra, owned))
        if len(self.mky) > 1:
            force_setattr(self, "mky", tuple(sorted(self.mky, key=_octets)))

    def claims(self) -> dict[str, Any]:
        """Return the payload as a mapping of plain JSON values."""
        dest: dict[str, Any] = {}
        if self.dest.tn:
            dest["tn"] = [str(tn) for tn in self.dest.tn]
        if self.dest.uri:
            dest["uri"] = [str(uri) for uri in self.dest.uri]
        orig = self.orig
        members: dict[str, Any] = {
            "dest": dest,
            "iat": self.iat,
            "orig": {"tn" if type(orig) is TN else "uri": str(orig)},
        }
        if self.mky:
            members["mky"] = [{"alg": key.alg, "dig": key.dig} for key in self.mky]
        if self.extension is not None:
            members.update(self.extension.claims())
        if self.extra:
            members.update(self.extra)
        return members

    def payload(self) -> bytes:
        """Write the claims as deterministic JSON (RFC 8225 section 9)."""
        extension, orig, dest = self.extension, self.orig, self.dest
        if (
            type(extension) is Shaken
            and extension.crn is None
            and type(orig) is TN
            and not (dest.uri or self.mky or self.extra)
        ):  # nearly every call, in half the time
            called = _Dest([str(tn) for tn in dest.tn])
            return _usual_encoder.encode(
                _Usual(extension.attest, called, self.iat, _Orig(str(orig)), extension.origid)
            )
        return json.dumps(self.claims())


def _octets(key: MediaKey) -> bytes:
    return f"{key.alg}{key.dig}".encode()


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise invalid(name, f"{shown(value)} is not a list with members")
    if len(value) > MAX_DESTINATIONS:
        raise invalid(name, f"more than {MAX_DESTINATIONS} members")
    return value


def _dest(value: object) -> Destination:
    members = read_object(value, "dest")
    tn: tuple[TN, ...] = ()
    uri: tuple[URI, ...] = ()
    for name in members:
        if name == "tn":
            tn = tuple([read_tn(item, "dest.tn") for item in _list(members["tn"], "dest.tn")])
        elif name == "uri":
            uri = tuple([read_uri(item, "dest.uri") for item in _list(members["uri"], "dest.uri")])
        else:
            raise invalid("dest", "dest holds tn, uri or both")
    return Destination(tn, uri)


def _iat(value: object) -> int:
    """Read a NumericDate (RFC 7519 section 2), which may have a fraction or an exponent.

    The fraction goes: Date, the clock, the windows and how long a token is remembered count whole
    seconds. The signature is over the octets as received, so that nothing else rests on it.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = math.floor(value)
        if 0 <= seconds <= MAX_IAT:
            return seconds
    raise invalid("iat", f"{shown(value)} is not a number of seconds")


def _mky(value: object) -> tuple[MediaKey, ...]:
    keys = []
    for item in _list(value, "mky"):
        if not isinstance(item, dict) or item.keys() != {"alg", "dig"}:
            raise invalid("mky", "an entry holds exactly alg and dig")
        alg, dig = read_text(item["alg"], "mky.alg"), read_text(item["dig"], "mky.dig")
        if _HASH_NAME.match(alg) is None:
            raise invalid("mky.alg", f"{shown(alg)} is not the name of a hash function")
        if _FINGERPRINT.match(dig) is None:
            raise invalid("mky.dig", f"{shown(dig)} is not octets in hex without colons")
        keys.append(MediaKey(alg, dig))
    return tuple(keys)


def parse_header(data: bytes) -> Header:
    """Read the JOSE header of a PASSporT (RFC 8225 section 4).

    Raises:
        ParseError: TYP_UNSUPPORTED, ALG_UNSUPPORTED, CRIT_UNSUPPORTED (437),
            HEADER_MEMBER_MISSING (436), HEADER_MEMBER_INVALID or a JSON reason (438).
    """
    members = json.loads(data, "header")
    for name in ("typ", "alg", "x5u"):
        if name not in members:
            raise ParseError(Reason.HEADER_MEMBER_MISSING, f"header.{name}", f"no {name}")
        if not isinstance(members[name], str):
            raise ParseError(Reason.HEADER_MEMBER_INVALID, f"header.{name}", f"{name} is not text")
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
    extra = tuple((name, value) for name, value in members.items() if name not in _HEADER)
    return Header(members["x5u"], ppt_name, extra)


def parse_header_segment(segment: bytes) -> Header:
    """Read the header from its base64url segment; remembered, unless it is long.

    The same signer sends the same header on every call.

    Raises:
        ParseError: TOKEN_BASE64, and as parse_header.
    """
    return _read_segment(segment) if len(segment) <= REMEMBERED else _read(segment)


def _read(segment: bytes) -> Header:
    return parse_header(b64url_decode(segment, "header"))


_read_segment: Final = lru_cache(maxsize=SIGNERS)(_read)


def parse_payload(header: Header, data: bytes) -> PASSporT:
    """Read the claims of a token (RFC 8225 section 5) as its header's ppt says.

    Raises:
        ParseError: CLAIM_MISSING, CLAIM_INVALID, TN_INVALID, URI_INVALID, PPT_UNSUPPORTED, a
            reason of the ppt's own claims, or a JSON reason (all 438).
    """
    if header.ppt == shaken.TYPE.ppt:
        usual = _usual(header, data)
        if usual is not None:
            return usual
    passport_type = ppt.lookup(header.ppt)
    claims: Mapping[str, Any] = json.loads(data, "payload")
    for name in ("orig", "dest", "iat"):
        if name not in claims:
            raise missing(name)
    iat = _iat(claims["iat"])
    owned = passport_type.names
    extra: list[tuple[str, Any]] = [
        member for member in claims.items() if member[0] not in _BASE and member[0] not in owned
    ]
    return PASSporT(
        header,
        read_identity(claims["orig"], "orig"),
        _dest(claims["dest"]),
        iat,
        passport_type.parse(claims),
        _mky(claims["mky"]) if "mky" in claims else (),
        tuple(extra),
    )


class _Orig(Struct, forbid_unknown_fields=True, gc=False):
    tn: str


class _Dest(Struct, forbid_unknown_fields=True, gc=False):
    tn: list[str]


class _Usual(Struct, forbid_unknown_fields=True, gc=False):
    """The payload of nearly every call: shaken, numbers on both sides, nothing else.

    The fields stand in lexicographic order, so writing them gives the deterministic form.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    attest: Attestation
    dest: _Dest
    iat: int
    orig: _Orig
    origid: str


_usual_decoder = msgspec.json.Decoder(_Usual)
_usual_encoder = msgspec.json.Encoder()


def _usual(header: Header, data: bytes) -> PASSporT | None:
    """Read a usual payload three times faster; None leaves it to the strict way.

    The value is written again. That the octets come out equal proves that they are the
    deterministic form, in which there is nothing for the strict reader to refuse: no doubled
    member, no white space, no second spelling. The claims pass the same checks as there.
    """
    try:
        usual = _usual_decoder.decode(data)
        if _usual_encoder.encode(usual) != data or not 0 <= usual.iat <= MAX_IAT:
            return None
        called = usual.dest.tn
        if len(called) > MAX_DESTINATIONS:
            return None
        return PASSporT(
            header,
            TN(usual.orig.tn),
            Destination((TN(called[0]),) if len(called) == 1 else tuple(map(TN, called))),
            usual.iat,
            Shaken(usual.attest, parse_origid(usual.origid)),
        )
    except (msgspec.DecodeError, UnicodeDecodeError, ParseError):
        return None
