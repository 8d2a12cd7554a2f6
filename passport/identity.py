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
that is read. What is written is the one form of the RFC's own examples.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from passport import claims
from passport.claims import PASSporT
from passport.errors import ParseError, shown
from passport.jws import SIGNATURE_LENGTH, Token, b64url_decode, b64url_encode
from passport.ppt import lookup
from passport.reasons import Reason

MAX_HEADER_LENGTH: Final = 8192  # characters of one Identity header value
MAX_HEADERS: Final = 16  # Identity headers of one call

_TOKEN: Final = r"[A-Za-z0-9\-.!%*_+`'~]+"
_DIGEST = re.compile(r"[A-Za-z0-9_\-.=+/]+")
_PARAMETER = re.compile(
    rf"""[ \t]*;[ \t]*
        (?P<name>{_TOKEN})
        (?:[ \t]*=[ \t]*
            (?:<(?P<uri>[^<>"\s]*)>
              |"(?P<quoted>(?:[^"\\]|\\.)*)"
              |(?P<token>[^\s;,"<>]+)))?""",
    re.VERBOSE,
)
_FOLD = re.compile(r"\r?\n[ \t]+")
_ESCAPED = re.compile(r"\\(.)")
_PLAIN_TOKEN = re.compile(rf"{_TOKEN}\Z")


class IdentityHeader(Struct, frozen=True):
    """One Identity header field value: syntax known, nothing believed.

    Attributes:
        token: the segments; header and payload are empty in compact form.
        info: the URI of the info parameter.
        alg, ppt: the parameters, None where absent.
        extra: parameters no standard here owns, in their order; value None where there is none.
    """

    token: Token
    info: str
    alg: str | None = None
    ppt: str | None = None
    extra: tuple[tuple[str, str | None], ...] = ()

    @property
    def compact(self) -> bool:
        """True for the compact form, "..signature" (RFC 8224 section 7)."""
        return not self.token.header and not self.token.payload

    def dumps(self) -> str:
        """The header field value: token;info=<uri>;alg=ES256;ppt="shaken"."""
        parts = [self.token.dumps().decode("ascii"), f"info=<{self.info}>"]
        if self.alg is not None:
            parts.append(f"alg={self.alg}")
        if self.ppt is not None:
            parts.append(f'ppt="{self.ppt}"')
        for name, value in self.extra:
            if value is None:
                parts.append(name)
            elif _PLAIN_TOKEN.match(value):
                parts.append(f"{name}={value}")
            else:
                escaped = value.replace("\\", "\\\\").replace('"', '\\"')
                parts.append(f'{name}="{escaped}"')
        return ";".join(parts)

    def passport(self) -> PASSporT:
        """Read the claims of the full form. The signature is not looked at.

        Raises:
            ParseError: any reason of the token's header and claims; COMPACT_NOT_ALLOWED for the
                compact form of a type that must be full (RFC 8588 section 6); PPT_MISMATCH and
                X5U_MISMATCH when the parameters and the token disagree (RFC 8224 section 4.1).
        """
        if self.compact:
            passport_type = lookup(self.ppt)
            if not passport_type.compact:
                raise ParseError(Reason.COMPACT_NOT_ALLOWED, "token")
            raise ParseError(
                Reason.TOKEN_SYNTAX, "token", "compact form: claims come from the SIP request"
            )
        header = claims.parse_header(b64url_decode(self.token.header, "header"))
        if self.ppt is not None and self.ppt != header.ppt:
            raise ParseError(
                Reason.PPT_MISMATCH, "ppt", f"{shown(self.ppt)} and {shown(header.ppt)}"
            )
        if header.x5u != self.info:
            raise ParseError(Reason.X5U_MISMATCH, "info")
        return claims.parse_payload(header, b64url_decode(self.token.payload, "payload"))

    def expanded(self, passport: PASSporT) -> IdentityHeader:
        """The full form of a compact header, with claims built from the SIP request.

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
        """The compact form: header and payload left out."""
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

    Commas inside quotes or angle brackets do not split. Each part is still unparsed, so that a
    malformed header does not hide a good one beside it.

    Raises:
        ParseError: IDENTITY_TOO_LARGE, TOO_MANY_IDENTITIES (438).
    """
    parts: list[str] = []
    for value in values:
        if len(value) > MAX_HEADER_LENGTH * MAX_HEADERS:
            raise ParseError(
                Reason.IDENTITY_TOO_LARGE, "identity", f"{len(value)} characters in one field"
            )
        unfolded = _FOLD.sub(" ", value) if "\n" in value else value
        parts.extend(_split_commas(unfolded) if "," in unfolded else [unfolded.strip(" \t")])
    if len(parts) > MAX_HEADERS:
        raise ParseError(
            Reason.TOO_MANY_IDENTITIES, "identity", f"{len(parts)} Identity headers"
        )
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
            parts.append(value[start:index].strip(" \t"))
            start = index + 1
    parts.append(value[start:].strip(" \t"))
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
    digest = _DIGEST.match(value)
    if digest is None:
        raise ParseError(Reason.IDENTITY_SYNTAX, "identity", "no token at the start")
    info: str | None = None
    known: dict[str, str] = {}
    extra: list[tuple[str, str | None]] = []
    position = digest.end()
    while position < len(value):
        match = _PARAMETER.match(value, position)
        if match is None:
            if value[position:].strip(" \t;") == "":
                break
            raise ParseError(
                Reason.IDENTITY_SYNTAX, "identity", f"unreadable at {shown(value[position:], 40)}"
            )
        position = match.end()
        name = match["name"].lower()
        uri, quoted, bare = match["uri"], match["quoted"], match["token"]
        text = uri if uri is not None else bare
        if quoted is not None:
            text = _ESCAPED.sub(r"\1", quoted)
        if name in ("info", "alg", "ppt"):
            if name in known or (name == "info" and info is not None):
                raise ParseError(Reason.IDENTITY_SYNTAX, name, f"{name} stands twice")
            if not text:
                raise ParseError(
                    Reason.INFO_INVALID if name == "info" else Reason.IDENTITY_SYNTAX,
                    name,
                    f"{name} is empty",
                )
            if name == "info":
                info = text
            else:
                known[name] = text
        else:
            extra.append((name, text))
    alg = known.get("alg")
    if alg is not None and alg != "ES256":
        raise ParseError(Reason.ALG_UNSUPPORTED, "alg", f"{shown(alg)} is not ES256")
    if info is None:
        raise ParseError(Reason.INFO_MISSING, "info")
    token = Token.parse(digest.group().encode("ascii"))
    if bool(token.header) != bool(token.payload):
        raise ParseError(Reason.TOKEN_SYNTAX, "token", "header or payload is empty")
    signature = b64url_decode(token.signature, "signature")
    if len(signature) != SIGNATURE_LENGTH:
        raise ParseError(
            Reason.TOKEN_SIGNATURE_LENGTH, "signature", f"{len(signature)} octets instead of 64"
        )
    return IdentityHeader(token, info, alg, known.get("ppt"), tuple(extra))
