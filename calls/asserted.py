"""What a proxy tells the callee's side about who calls: a ready P-Asserted-Identity.

The number is the canonical one, and its verification status stands in it as a parameter of the tel
URI (3GPP TS 24.229 section 7.2A.20).
"""

from __future__ import annotations

from typing import Final

import phonenumbers

from zhenxian.core.reading import MIN_DIGITS, Reading
from zhenxian.core.reasons import Verstat
from zhenxian.core.tn import TN, URI, Private

_PASSED: Final = Verstat.PASSED
_SAID: Final = {verstat: f";verstat={verstat.value}>" for verstat in Verstat}
_SAID_PASSED: Final = _SAID[_PASSED]

_CODES: Final[dict[str | None, str]] = {}  # of the one or two countries of a process


def tel_uri(number: TN, reading: Reading) -> str:
    """A number as tel URI (RFC 3966 section 5): with "+", or local to its country."""
    country = reading.country
    context = _CODES.get(country)
    if context is None:
        context = _country_code(country)
    if (
        len(number) >= MIN_DIGITS
        and number.isdecimal()
        # Numbers without country code, such as 95588 or China's 700, are written without one.
        and (number.startswith(context) or reading.national_form(context + number) != number)
    ):
        return f"tel:+{number}"
    return f"tel:{number};phone-context=+{context}" if context else f"tel:{number}"


def asserted(identity: TN | URI, verstat: Verstat, reading: Reading) -> str | None:
    """The value of P-Asserted-Identity; None for who is withheld.

    An address that is no number has no verification status: 3GPP defines it for numbers alone.
    """
    if isinstance(identity, TN):
        # A member of an enumeration is hashed slowly, and nearly every call passes.
        said = _SAID_PASSED if verstat is _PASSED else _SAID[verstat]
        return f"<{tel_uri(identity, reading)}{said}"
    if isinstance(identity, Private) and "@anonymous.invalid" in identity:
        return None
    return f"<{identity}>"


def _country_code(country: str | None) -> str:
    code = str(phonenumbers.country_code_for_region(country)) if country is not None else ""
    return _CODES.setdefault(country, code)
