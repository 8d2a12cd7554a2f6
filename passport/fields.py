"""Members of a token's claims, read as what they must be (RFC 8225 section 5)."""

from __future__ import annotations

from typing import Any

from zhenxian.core.errors import ParseError, shown
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import MAX_LONG, TN, URI


def missing(name: str) -> ParseError:
    """A claim that is not there."""
    return ParseError(Reason.CLAIM_MISSING, f"payload.{name}", f"no {name} claim")


def invalid(name: str, why: str) -> ParseError:
    """A claim that cannot be used."""
    return ParseError(Reason.CLAIM_INVALID, f"payload.{name}", why)


def read_object(value: object, name: str) -> dict[str, Any]:
    """A JSON object. Raises ParseError CLAIM_INVALID (438)."""
    if isinstance(value, dict):
        return value
    if isinstance(value, str) and value.lstrip().startswith("{"):  # old libstirshaken writes so
        raise invalid(name, f"{name} holds JSON text inside a string instead of an object")
    raise invalid(name, f"{shown(value)} is not an object")


def read_text(value: object, name: str) -> str:
    """A JSON string. Raises ParseError CLAIM_INVALID (438)."""
    if not isinstance(value, str):
        raise invalid(name, f"{shown(value)} is not text")
    return value


def read_tn(value: object, name: str) -> TN:
    """A telephone number. Raises ParseError CLAIM_INVALID, TN_INVALID (438)."""
    text = read_text(value, name)
    try:
        return TN.long(text) if len(text) == MAX_LONG else TN(text)
    except ParseError as error:
        raise ParseError(error.reason, f"payload.{name}", error.detail) from None


def read_uri(value: object, name: str) -> URI:
    """A URI. Raises ParseError CLAIM_INVALID, URI_INVALID (438)."""
    try:
        return URI(read_text(value, name))
    except ParseError as error:
        raise ParseError(error.reason, f"payload.{name}", error.detail) from None


def read_identity(value: object, name: str) -> TN | URI:
    """An object of exactly one identity, tn or uri. Raises ParseError as the functions above."""
    members = read_object(value, name)
    if len(members) == 1:
        if "tn" in members:
            return read_tn(members["tn"], f"{name}.tn")
        if "uri" in members:
            return read_uri(members["uri"], f"{name}.uri")
    raise invalid(name, f"{name} holds exactly one of tn and uri")
