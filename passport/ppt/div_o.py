"""The "div-o" PASSporT: a div that holds the token it diverts (RFC 8946 sections 5 and 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zhenxian.passport.fields import invalid, missing, read_text
from zhenxian.passport.ppt.div import Div, parse_div


class DivO(Div, frozen=True, kw_only=True):
    """The claims div and opt: the token that the call had before, in full form."""

    opt: str

    def claims(self) -> dict[str, Any]:
        """Return the claims as they stand in the payload."""
        return {**super().claims(), "opt": self.opt}


class DivOType:
    """A token with ppt "div-o"; full form only, and so is the token in it (section 6)."""

    ppt: str | None = "div-o"
    names: frozenset[str] = frozenset({"div", "opt"})
    compact = False

    def parse(self, claims: Mapping[str, Any]) -> DivO:
        """Read div and opt. The token in opt is not looked into.

        Raises:
            ParseError: CLAIM_MISSING, CLAIM_INVALID, TN_INVALID, URI_INVALID (438).
        """
        if "opt" not in claims:
            raise missing("opt")
        opt = read_text(claims["opt"], "opt")
        segments = opt.split(".")
        if len(segments) != 3 or not all(segments) or not opt.isascii():
            raise invalid("opt", "opt holds no token in full form")
        div = parse_div(claims)
        return DivO(div.diverting, div.hi, div.beside, opt=opt)


TYPE = DivOType()
