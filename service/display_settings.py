"""The tables [displays] and [redress] of the settings: what conduct costs, and whom to turn to."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from zhenxian.service.setting_types import (
    Email,
    HttpsUrl,
    LanguageTag,
    Phone,
    RejectionCode,
    Section,
    Text,
)


class Redress(Section):
    """How a call is rejected that is genuine but from a pool, and whom its caller may write to.

    The contact is a jCard in a JWS that the Call-Info header field of a 608 leads to (RFC 8688).
    """

    status: RejectionCode = Field(
        608,
        description="SIP answer to a genuine call from a pool of numbers. 608 needs a contact, a"
        " signing key and an https publish_base; without a contact it is 603. 607, which earlier"
        " releases took, is 603, too: it is the called party's own answer (RFC 8197).",
    )
    organisation: Text | None = Field(
        None,
        description="Name of the organisation that rejects the call. With it and a way to reach it"
        " there is a contact.",
    )
    phone: Phone | None = Field(
        None, description="Telephone number of the contact, with + and country code."
    )
    email: Email | None = Field(None, description="Mail address of the contact.")
    url: HttpsUrl | None = Field(None, description="https page where a caller can object.")
    address: Text | None = Field(None, description="Postal address of the contact, on one line.")
    language: LanguageTag | None = Field(
        None, description="BCP 47 tag of the contact's name and people, e.g. zh-Hans."
    )

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        reached = self.phone or self.email or self.url or self.address
        if reached and self.organisation is None:
            raise ValueError("a contact has an organisation")
        if self.organisation is not None and not reached:
            raise ValueError("a contact has a phone, an email, a url or an address (RFC 8688)")
        return self


class Displays(Section):
    """How displays behave over time: pools (打显), local presence, rates, rotation."""

    signing: Literal["refuse", "lower", "label", "off"] = Field(
        "refuse",
        description="What signing does with a caller found pooled: no token (refuse), B at most"
        " (lower), only a label (label), or nothing (off).",
    )
    verifying: Literal["fail", "label", "off"] = Field(
        "fail",
        description="What verifying does with a signer, one SPC and origid, found pooled:"
        " TN-Validation-Failed with 608 (fail), only a label (label), or nothing (off).",
    )
    carriers: Literal["fail", "label", "off"] = Field(
        "label",
        description="The same for an SPC that is found over all its origids. If these change with"
        " each call, and all calls together look like one signer's pool, displays.verifying"
        " decides; changing origids alone count against nobody. fail fails every call that the"
        " carrier signs, and some honest carriers have a pool for a customer.",
    )
    contact: Text | None = Field(
        None,
        description="Whom a caller may turn to against whom something stands: named in answers and"
        " on the management API, with the case number. Unset: the contact of redress.",
    )
    cap: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Calls a minute that signing lets a suspected caller make; one over it is"
        " refused (CALLS_CAPPED: 429, by SIP 480, with Retry-After). Who is only labelled, as a"
        " census is, has none. 0: any number.",
    )
    thresholds: Path | None = Field(
        None, description="TOML file of thresholds, see docs/detection.md. Unset: the defaults."
    )
    max_keys: int = Field(
        100_000,
        ge=16,
        le=10_000_000,
        description="Callers and signers remembered, 1.7 to 150 KB each; most have little more than"
        " the former.",
    )
    clear_samples: bool = Field(
        False,
        description="Keep the calls that led to a finding with numbers in clear. Otherwise hashed"
        " as in the log.",
    )
