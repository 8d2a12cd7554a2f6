"""What tables of settings are made of: the table, and kinds of value with what is expected."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import phonenumbers
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_PORT: Final = re.compile(r"(?<!:):[0-9]{1,5}\Z", re.ASCII)
_NAME: Final = re.compile(r"\[?[0-9A-Fa-f:.]+\]?|[A-Za-z0-9._-]+")


class Section(BaseModel):
    """A table of the settings file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def _country(value: object) -> object:
    if isinstance(value, str) and value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("expected an ISO 3166 code with a numbering plan, e.g. CN or US")
    return value


def _status(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _phone(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        number = phonenumbers.parse(value)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_possible_number(number):
        raise ValueError("expected a number with + and country code, e.g. +86 10 6600 0000")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _https(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    plain = value.isascii() and value.isprintable() and not set(value) & set(' <>"\\')
    if not (plain and parts.scheme == "https" and parts.hostname and "@" not in parts.netloc):
        raise ValueError("expected an https URL, e.g. https://example.com/blocked-calls")
    return value


def _network(value: object) -> object:
    if isinstance(value, str):
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError(
                "expected an address or a network, e.g. 192.0.2.7 or 192.0.2.0/24"
            ) from None
    return value


def _name(value: object) -> object:
    if isinstance(value, str) and not (value and _NAME.fullmatch(_PORT.sub("", value))):
        raise ValueError("expected a name or an address, e.g. sti.example.net or localhost:3000")
    return value


CountryCode = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}$")]
Country = Annotated[str, BeforeValidator(_country)]
RejectionCode = Annotated[Literal[608, 603, 607], BeforeValidator(_status)]
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Phone = Annotated[str, BeforeValidator(_phone)]
Email = Annotated[Text, Field(pattern=r"^[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+$")]
HttpsUrl = Annotated[Text, BeforeValidator(_https)]
NetworkText = Annotated[str, BeforeValidator(_network)]
Name = Annotated[str, BeforeValidator(_name)]
LanguageTag = Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$")]
