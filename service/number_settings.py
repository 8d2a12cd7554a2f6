"""The table [numbers] of the settings: how numbers and URIs are read."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from zhenxian.service.setting_types import Country, Section


def _host(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not value.isascii() or not value.isprintable() or set(value) & set(' /@;?"<>*'):
        raise ValueError("expected a host or domain, e.g. ims.example.com")
    return value.rstrip(".").lower()


Host = Annotated[str, Field(min_length=1, max_length=253), BeforeValidator(_host)]


class Middle(Section):
    """One table of numbers.middle."""

    country: Country
    until: date


class Numbers(Section):
    """How numbers and URIs are read, in signing and in verifying alike."""

    country: Country | None = Field(
        None,
        description="ISO code of the country whose national numbers are read, in signing,"
        " verifying and the registry, and whose emergency numbers are known. In calls a number"
        " without + that is valid there is taken as national; in records one that begins with 0."
        " Unset: numbers need their country code, and of emergency calls only urn:service:sos is"
        " known.",
    )
    hosts: tuple[Host, ...] = Field(
        (),
        description="Hosts and domains of this carrier in SIP URIs, with what lies below them. A"
        " user part of fewer than seven digits is a service, emergency or registered number only"
        " there or at an IP address; elsewhere it is an extension.",
    )
    middle: tuple[Middle, ...] = Field(
        (),
        description="From when on numbers outside of the range for privacy numbers (700 in China)"
        " may no longer be middle numbers: tables with country and until, a date (UTC). Signing"
        " refuses them from then on, and verifying fails them.",
    )
    sixteen_digits: tuple[Country, ...] = Field(
        (),
        description="Countries whose numbers may have 16 digits with a portability prefix, one more"
        " than E.164 has. Such a number is read and compared; it cannot be registered.",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        named = [rule.country for rule in self.middle]
        if len(named) != len(set(named)):
            raise ValueError("middle: a country is named twice")
        return self
