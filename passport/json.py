"""JSON as PASSporTs use it: one way to write it (RFC 8225 section 9), and strict reading."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import msgspec

from zhenxian.core.errors import ParseError, shown
from zhenxian.core.pace import Pause
from zhenxian.core.reasons import Reason

MAX_DEPTH: Final = 8  # levels; the deepest claim of any standard (rcd with a jCard) needs seven
_SCAN_ABOVE: Final = 8  # brackets; fewer cannot nest deeper than MAX_DEPTH
_MAX_INTEGER_DIGITS: Final = 18  # fits 64 bits with its sign, so every reader reads the same value

_ALL_BUT_OPENING: Final = bytes(set(range(256)) - set(b"{["))
_DIGITS_AS_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER: Final = b"0" * (_MAX_INTEGER_DIGITS + 1)
_BLANK: Final = " \t\n\r"  # white space of RFC 8259 section 2; no other


def _subclass(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_encoder = msgspec.json.Encoder(order="sorted", enc_hook=_subclass)
_as_received = msgspec.json.Encoder()
_quick = msgspec.json.Decoder()


def dumps(value: Any) -> bytes:
    """Write JSON with members in lexicographic order at every level, no white space, UTF-8.

    RFC 8225 section 9. Two equal values give the same octets.
    """
    return _encoder.encode(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                text = shown(name)
                raise ParseError(Reason.JSON_DUPLICATE_KEY, text[1:-1], f"{text} stands twice")
            seen.add(name)
    return result


def _no_constant(name: str) -> Any:
    raise ParseError(Reason.JSON_SYNTAX, "json", f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_INTEGER_DIGITS:
        raise ParseError(Reason.JSON_SYNTAX, "json", "an integer beyond 18 digits")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ParseError(Reason.JSON_SYNTAX, "json", "a number out of range")
    return value


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_integer,
    parse_float=_number,
    parse_constant=_no_constant,
)
_plain = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _depth(text: str) -> int:
    """Count the deepest nesting of brackets outside strings."""
    deepest = level = 0
    quoted = escaped = False
    for char in text:
        if quoted:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char in "{[":
            level += 1
            deepest = max(deepest, level)
        elif char in "}]":
            level -= 1
    return deepest


def loads(data: bytes, where: str) -> dict[str, Any]:
    """Read one JSON object, refusing what two readers could understand differently.

    Members may stand in any order, and white space around and within the object (RFC 8259
    section 2): a full form is verified over its received octets.

    Args:
        data: UTF-8. The caller has bounded its length.
        where: named in the error, e.g. "payload".

    Raises:
        ParseError: JSON_SYNTAX, JSON_DUPLICATE_KEY or JSON_TOO_DEEP (438).
    """
    value = _accept(data)
    return value if value is not None else _strict(data, where)


def loads_plain(data: bytes, pause: Pause | None = None) -> Any:
    """Read a JSON text of any shape, in which no member stands twice in one object, at any level.

    Names are compared as they read, however they are spelled.

    Args:
        pause: called after each object.

    Raises:
        ParseError: JSON_DUPLICATE_KEY, whose `where` is the member's name; JSON_SYNTAX (438).
    """
    try:
        return (_plain if pause is None else _paused(pause)).decode(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ParseError(Reason.JSON_SYNTAX, "body", "not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ParseError(Reason.JSON_SYNTAX, "body", _not_json(error)) from None
    except RecursionError:
        raise ParseError(Reason.JSON_SYNTAX, "body", "nested too deep") from None
    except ValueError:
        raise ParseError(Reason.JSON_SYNTAX, "body", "a number out of range") from None


def _paused(pause: Pause) -> json.JSONDecoder:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        pause()
        return _unique(pairs)

    return json.JSONDecoder(object_pairs_hook=unique, parse_constant=_no_constant)


def _not_json(error: json.JSONDecodeError) -> str:
    rest = error.doc[error.pos :]
    return f"no JSON from {shown(rest, 40)} on" if rest else "it ends before its end"


def _accept(data: bytes) -> dict[str, Any] | None:
    """Read what is beyond doubt, five times faster than the strict reader; None leaves it to that.

    The value is written again in the order received. That the octets come out equal proves that
    no member stood twice and that nothing was there besides the value: a doubled member, white
    space, or a second spelling of a text or number would be missing.
    """
    if len(data.translate(None, _ALL_BUT_OPENING)) > _SCAN_ABOVE:
        return None
    if _LONG_NUMBER in data.translate(_DIGITS_AS_ZERO):
        return None
    try:
        value = _quick.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return value if type(value) is dict and _as_received.encode(value) == data else None


def _strict(data: bytes, where: str) -> dict[str, Any]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ParseError(Reason.JSON_SYNTAX, where, "not UTF-8") from None
    if text.count("{") + text.count("[") > _SCAN_ABOVE and _depth(text) > MAX_DEPTH:
        raise ParseError(Reason.JSON_TOO_DEEP, where, f"nested deeper than {MAX_DEPTH} levels")
    text = text.strip(_BLANK)
    try:
        value, end = _decoder.raw_decode(text)
    except ParseError as error:
        raise ParseError(error.reason, where, error.detail) from None
    except json.JSONDecodeError as error:
        raise ParseError(Reason.JSON_SYNTAX, where, _not_json(error)) from None
    except (ValueError, RecursionError):
        raise ParseError(Reason.JSON_SYNTAX, where, "not JSON") from None
    if end != len(text):
        raise ParseError(Reason.JSON_SYNTAX, where, f"{len(text) - end} characters after the end")
    if not isinstance(value, dict):
        raise ParseError(Reason.JSON_SYNTAX, where, "not a JSON object")
    if "\\u" in text:
        try:
            dumps(value)
        except UnicodeEncodeError:
            raise ParseError(Reason.JSON_SYNTAX, where, "a lone surrogate in a string") from None
    return value
