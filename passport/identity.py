"""The Identity header field, full and compact form (RFC 8224 section 4).

    Identity = "Identity" HCOLON signed-identity-digest SEMI ident-info
               *( SEMI ident-info-params )
    signed-identity-digest = 1*(base64-char / ".")
    ident-info = "info" EQUAL ident-info-uri
    ident-info-uri = LAQUOT absoluteURI RAQUOT
    ident-info-params = ident-info-alg / ident-type / ident-info-extension
    ident-info-alg = "alg" EQUAL token
    ident-type = "ppt" EQUAL token
    ident-info-extension = generic-param

Peers quote ppt and alg, leave the angle brackets off info, and put parameters in any order; all of
that is read. What is written is the one form of the grammar.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct

from zhenxian.core.errors import ParseError, shown
from zhenxian.core.reasons import Reason
from zhenxian.passport import claims
from zhenxian.passport.claims import PASSporT
from zhenxian.passport.jws import Token, b64url_decode, b64url_encode
from zhenxian.passport.ppt import lookup

MAX_HEADER_LENGTH: Final = 8192  # characters of one Identity header value
MAX_HEADERS: Final = 16  # Identity headers of one call

_WORD: Final = r"[A-Za-z0-9\-.!%*_+`'~]+"
_TOKEN_OCTETS: Final = (string.ascii_letters + string.digits + "_-.").encode()
_DIGEST_OCTETS: Final = _TOKEN_OCTETS + b"+/="  # the RFC's grammar; erratum 6499 means base64url
_SIGNATURE_SEGMENT: Final = 86  # characters of 64 octets in base64url
_PARAMETER = re.compile(
    rf"""[ \t]*;[ \t]*
        (?P<name>{_WORD})
        (?:[ \t]*=[ \t]*
            (?:<(?P<uri>[!-;=?-~]*)>
              |"(?P<quoted>(?:[^"\\\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]|\\[ -~])*)"
              |(?P<token>[!\x23-+\--:=?-\x5b\x5d-~]+)))?""",
    re.VERBOSE,
)
_AROUND: Final = " \t\r\n"
_FOLD = re.compile(r"\r?\n[ \t]+")
_ESCAPED = re.compile(r"\\(.)")
_PLAIN_TOKEN = re.compile(rf"{_WORD}\Z")
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[!-;=?-~]+\Z")

_Extra = tuple[tuple[str, str | None], ...]


class IdentityHeader(Struct, frozen=True, gc=False):
    """One Identity header field value: syntax known, nothing believed.

    Attributes:
        token: the segments; header and payload are empty in compact form.
        info: the URI of the info parameter.
        alg: "ES256", or None where the parameter is absent.
        ppt: the parameter in lower case, or None where it is absent.
        extra: parameters no standard here owns, in their order: name in lower case, and value,
            None where there is none. A quoted and a plain value are the same value.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    token: Token
    info: str
    alg: str | None = None
    ppt: str | None = None
    extra: tuple[tuple[str, str | None], ...] = ()

    @property
    def compact(self) -> bool:
        """Tell the compact form, "..signature", from the full one (RFC 8224 section 4.1)."""
        return not self.token.header and not self.token.payload

    def dumps(self) -> str:
        """Write the header field value: token;info=<uri>;alg=ES256;ppt=shaken.

        Raises:
            RuntimeError: a value that no header can carry, e.g. a line break in info.
        """
        written = _written(self.info, self.alg, self.ppt, self.extra)
        return self.token.dumps().decode("ascii") + written

    def passport(self) -> PASSporT:
        """Read the claims of the full form. The signature is not looked at.

        Raises:
            ParseError: any reason of the token's header and claims; COMPACT_NOT_ALLOWED for the
                compact form of a type that must be full (RFC 8588 section 3); PPT_MISMATCH and
                X5U_MISMATCH when the parameters and the token disagree (RFC 8224 section 4.1).
        """
        token = self.token
        if not token.header and not token.payload:
            passport_type = lookup(self.ppt)
            if not passport_type.compact:
                raise ParseError(Reason.COMPACT_NOT_ALLOWED, "token")
            raise ParseError(
                Reason.TOKEN_SYNTAX, "token", "compact form: claims come from the SIP request"
            )
        header = claims.parse_header_segment(token.header)
        if self.ppt is not None and self.ppt != header.ppt:
            raise ParseError(
                Reason.PPT_MISMATCH, "ppt", f"{shown(self.ppt)} and {shown(header.ppt)}"
            )
        if header.x5u != self.info:
            raise ParseError(Reason.X5U_MISMATCH, "info")
        return claims.parse_payload(header, b64url_decode(token.payload, "payload"))

    def expanded(self, passport: PASSporT) -> IdentityHeader:
        """Return the full form of a compact header, with claims built from the SIP request.

        RFC 8224 section 7: header and payload are rebuilt with the deterministic serialisation;
        a request that differs from what was signed shows as a signature that does not verify.
        """
        token = Token(
            b64url_encode(passport.header.dumps()),
            b64url_encode(passport.payload()),
            self.token.signature,
        )
        return IdentityHeader(token, self.info, self.alg, self.ppt, self.extra)

    def compacted(self) -> IdentityHeader:
        """Return the compact form: header and payload left out."""
        return IdentityHeader(
            Token(b"", b"", self.token.signature), self.info, self.alg, self.ppt, self.extra
        )


def parse_identity_header(value: str) -> IdentityHeader:
    """Read one Identity header field value.

    Raises:
        ParseError: IDENTITY_SYNTAX, IDENTITY_TOO_LARGE, TOKEN_SYNTAX, TOKEN_BASE64,
            TOKEN_SIGNATURE_LENGTH (438), INFO_MISSING, INFO_INVALID (436),
            ALG_UNSUPPORTED (437).
    """
    headers = parse_identity_headers([value])
    if len(headers) != 1:
        raise ParseError(Reason.IDENTITY_SYNTAX, "identity", f"{len(headers)} values, not one")
    return headers[0]


def split_identity_headers(values: list[str]) -> list[str]:
    """Unfold header field values and split comma-joined ones (RFC 3261 section 7.3.1).

    White space around a value is none of it, nor is a line break that a proxy left at its end;
    within it a line break stands only where it folds. Commas inside quotes or angle brackets do
    not split. Each part is still unparsed, so that a malformed header does not hide a good one
    beside it.

    Raises:
        ParseError: IDENTITY_TOO_LARGE, TOO_MANY_IDENTITIES (438).
    """
    parts: list[str] = []
    for value in values:
        if len(value) > MAX_HEADER_LENGTH * MAX_HEADERS:
            raise ParseError(
                Reason.IDENTITY_TOO_LARGE, "identity", f"{len(value)} characters in one field"
            )
        bare = value.strip(_AROUND)
        unfolded = _FOLD.sub(" ", bare) if "\n" in bare else bare
        parts.extend(_split_commas(unfolded) if "," in unfolded else [unfolded])
    if len(parts) > MAX_HEADERS:
        raise ParseError(Reason.TOO_MANY_IDENTITIES, "identity", f"{len(parts)} Identity headers")
    return parts


def _split_commas(value: str) -> list[str]:
    parts: list[str] = []
    start = 0
    quoted = escaped = bracketed = False
    for index, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char in "<>":
            bracketed = char == "<"
        elif char == "," and not bracketed:
            parts.append(value[start:index].strip(_AROUND))
            start = index + 1
    if quoted or bracketed:  # never closed: it must not swallow the good values behind it
        return [part.strip(_AROUND) for part in value.split(",")]
    parts.append(value[start:].strip(_AROUND))
    return parts


def parse_identity_headers(values: list[str]) -> list[IdentityHeader]:
    """Read all Identity header field values of a request, comma-joined or not.

    Raises:
        ParseError: as parse_identity_header, for the first value that is malformed.
    """
    return [parse_single(part) for part in split_identity_headers(values)]


def parse_single(value: str) -> IdentityHeader:
    """Read one value as split_identity_headers returns it. Raises as parse_identity_header."""
    if len(value) > MAX_HEADER_LENGTH:
        raise ParseError(
            Reason.IDENTITY_TOO_LARGE, "identity", f"{len(value)} characters, over the limit"
        )
    digest, separator, parameters = value.partition(";")
    octets = digest.rstrip(" \t").encode("ascii", "replace")
    if not octets or octets.translate(None, _DIGEST_OCTETS):
        raise ParseError(Reason.IDENTITY_SYNTAX, "identity", f"{shown(digest, 40)} is not a token")
    read = _parameters if len(parameters) <= claims.REMEMBERED else _parameters.__wrapped__
    info, alg, ppt, extra = read(separator + parameters)
    token = Token.parse(octets)
    if (token.header == b"") is not (token.payload == b""):
        raise ParseError(Reason.TOKEN_SYNTAX, "token", "header or payload is empty")
    signature = token.signature
    if (
        len(signature) != _SIGNATURE_SEGMENT
        or signature[-1] not in b"AQgw"
        or signature.translate(None, _TOKEN_OCTETS)
    ):
        _ = token.signature_octets  # raises; decoding a good one is left to who verifies it
    return IdentityHeader(token, info, alg, ppt, extra)


class _Parameters(NamedTuple):
    info: str
    alg: str | None
    ppt: str | None
    extra: _Extra


@lru_cache(maxsize=claims.SIGNERS)
def _parameters(text: str) -> _Parameters:
    """Read ";info=<...>;alg=ES256;ppt=shaken"; remembered, a signer writes the same every time."""
    found: dict[str, str] = {}
    extra: list[tuple[str, str | None]] = []
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            if text[position:].strip(" \t;") == "":
                break
            raise ParseError(
                Reason.IDENTITY_SYNTAX, "identity", f"unreadable at {shown(text[position:], 40)}"
            )
        position = match.end()
        name = match["name"].lower()
        uri, quoted, bare = match["uri"], match["quoted"], match["token"]
        value = uri if uri is not None else bare
        if quoted is not None:
            value = _ESCAPED.sub(r"\1", quoted)
        if name not in ("info", "alg", "ppt"):
            extra.append((name, value))
            continue
        if name in found:
            raise ParseError(Reason.IDENTITY_SYNTAX, name, f"{name} stands twice")
        if not value:
            raise ParseError(
                Reason.INFO_INVALID if name == "info" else Reason.IDENTITY_SYNTAX,
                name,
                f"{name} has no value that can be read",
            )
        found[name] = value
    return _Parameters(_info(found), _alg(found), _ppt(found), tuple(extra))


def _info(found: dict[str, str]) -> str:
    info = found.get("info")
    if info is None:
        raise ParseError(Reason.INFO_MISSING, "info")
    if _ABSOLUTE_URI.match(info) is None:
        raise ParseError(Reason.INFO_INVALID, "info", f"{shown(info)} is not an absolute URI")
    return info


def _alg(found: dict[str, str]) -> str | None:
    alg = found.get("alg")
    if alg is None:
        return None
    if alg.upper() != "ES256":  # a SIP parameter's value has no case (RFC 3261 section 7.3.1)
        raise ParseError(Reason.ALG_UNSUPPORTED, "alg", f"{shown(alg)} is not ES256")
    return "ES256"


def _ppt(found: dict[str, str]) -> str | None:
    ppt = found.get("ppt")
    if ppt is None:
        return None
    if _PLAIN_TOKEN.match(ppt) is None:
        raise ParseError(Reason.IDENTITY_SYNTAX, "ppt", f"{shown(ppt)} is not a token")
    return ppt.lower()


@lru_cache(maxsize=512)
def _written(info: str, alg: str | None, ppt: str | None, extra: _Extra) -> str:
    """Write the parameters, and read them back: nothing leaves that is read as something else."""
    parts = [f";info=<{info}>"]
    if alg is not None:
        parts.append(f"alg={alg}")
    if ppt is not None:
        parts.append(f"ppt={ppt}")
    for name, value in extra:
        if value is None:
            parts.append(name)
        elif _PLAIN_TOKEN.match(value):
            parts.append(f"{name}={value}")
        else:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'{name}="{escaped}"')
    text = ";".join(parts)
    try:
        same = _parameters(text) == (info, alg, ppt, extra)
    except ParseError:
        same = False
    if not same:
        raise RuntimeError(f"no Identity header can carry {shown((info, alg, ppt, extra))}")
    return text
