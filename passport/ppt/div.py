"""The "div" PASSporT: a call was diverted from one destination to the next (RFC 8946 section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from zhenxian.core.tn import TN, URI
from zhenxian.passport.fields import invalid, missing, read_identity, read_object

MAX_HI: Final = 64  # characters of a History-Info index, such as 1.2.1
MAX_BESIDE: Final = 8  # members of div beside the identity


class Div(Struct, frozen=True):
    """The claim div: the destination that the call was diverted from.

    Attributes:
        diverting: that destination, exactly one.
        hi: index of its entry in History-Info (RFC 8946 section 8).
        beside: further members, which section 3 leaves to extensions, in the order of their names.
    """

    diverting: TN | URI
    hi: str | None = None
    beside: tuple[tuple[str, Any], ...] = ()

    def claims(self) -> dict[str, Any]:
        """Return the claims as they stand in the payload."""
        members: dict[str, Any] = dict(self.beside)
        members["tn" if isinstance(self.diverting, TN) else "uri"] = str(self.diverting)
        if self.hi is not None:
            members["hi"] = self.hi
        return {"div": members}


def parse_div(claims: Mapping[str, Any]) -> Div:
    """Read the claim div. Raises ParseError CLAIM_MISSING, CLAIM_INVALID, ... (438)."""
    if "div" not in claims:
        raise missing("div")
    members = read_object(claims["div"], "div")
    named = {name: value for name, value in members.items() if name in ("tn", "uri")}
    beside = [member for member in members.items() if member[0] not in ("tn", "uri", "hi")]
    if len(beside) > MAX_BESIDE:
        raise invalid("div", f"more than {MAX_BESIDE} members beside the identity")
    hi = parse_hi(members["hi"], "div.hi") if "hi" in members else None
    return Div(read_identity(named, "div"), hi, tuple(sorted(beside)))


def parse_hi(value: object, where: str) -> str:
    """Read the index of an entry of History-Info. Raises ParseError CLAIM_INVALID (438)."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_HI or not value.isprintable():
        raise invalid(where, f"hi is not 1 to {MAX_HI} printable characters")
    return value


class DivType:
    """A token with ppt "div"; full form only, and no opt (RFC 8946 section 3)."""

    ppt: str | None = "div"
    names: frozenset[str] = frozenset({"div"})
    compact = False

    def parse(self, claims: Mapping[str, Any]) -> Div:
        """Read div. Raises ParseError CLAIM_MISSING, CLAIM_INVALID, TN_INVALID, URI_INVALID."""
        if "opt" in claims:
            raise invalid("opt", "a div token has no opt; a div-o token has")
        return parse_div(claims)


TYPE = DivType()
