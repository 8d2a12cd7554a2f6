"""The tables [signer] and [verifier] of the settings: the roles STI-AS and STI-VS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from zhenxian.core.errors import ParseError
from zhenxian.core.reading import Reading
from zhenxian.service.setting_types import Country, Section


class Signer(Section):
    """The STI-AS role."""

    key: Path | None = Field(None, description="PEM private key, P-256, mode 0600.")
    chain: Path | None = Field(None, description="PEM chain, the SHAKEN certificate first.")
    x5u: str | None = Field(
        None,
        description="Where others fetch the chain, if it is published elsewhere. Unset: below"
        " publish_base, by content.",
    )
    publish_base: str | None = Field(
        None,
        description="Public base URL of this service for its own certificates, e.g."
        " https://cert.example.com. Unset: the calls listener.",
    )
    iat_window: int = Field(
        60,
        ge=1,
        le=3600,
        description="Seconds by which iat of a signing request may differ from now.",
    )
    claimed_diversions: Literal["refuse", "C"] = Field(
        "refuse",
        description="What a call gets that shows somebody else's number, and is only claimed to be"
        " forwarded (Diversion, History-Info) from a number that its access holds. refuse: no"
        " token, since any caller can make that claim. C: gateway attestation.",
    )
    diversions: int = Field(
        8,
        ge=1,
        le=64,
        description="To how many destinations one received call may be diverted with a signature"
        " (div) while it is fresh, such as phones that ring together.",
    )
    origid: Literal["access", "call"] = Field(
        "access",
        description="What a token's origid stands for: the access, so that verifiers can"
        " distinguish the conduct of callers; or the call, with a random value, as RFC 8588"
        " section 10 recommends. `zhenxian registry trace` finds the access of either.",
    )
    origid_days: int = Field(
        90,
        ge=1,
        le=3660,
        description="How many days this service remembers whose the origids of calls were, on this"
        " node's disk (about 105 octets each) and, in a fleet, on Redis (about 250).",
    )


class Unsigned(Section):
    """One table of verifier.unsigned: whose calls are to be signed, and what if one is not."""

    spc: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,32}$")] | None = None
    country: Country | None = None
    action: Literal["none", "label", "fail"]

    @model_validator(mode="after")
    def _of_one(self) -> Self:
        if (self.spc is None) == (self.country is None):
            raise ValueError("expected either spc or country")
        return self


class Verifier(Section):
    """The STI-VS role."""

    date_window: int = Field(
        60, ge=1, le=3600, description="Seconds by which Date may differ from now (RFC 8224: 60)."
    )
    iat_window: int = Field(
        60, ge=1, le=3600, description="Seconds by which iat may differ from now."
    )
    diverted_window: int = Field(
        60,
        ge=1,
        le=10_800,
        description="Seconds by which iat of the original token of a diverted call may lie before"
        " now. More than iat_window lets calls be forwarded or transferred later, but the called"
        " party can show that caller to others for as long (RFC 8946: three hours at most).",
    )
    repeat_seconds: float = Field(
        2.0,
        ge=0,
        le=30,
        description="How long the same credential, or address without credentials, may ask about a"
        " call again: with the same callId, or the same body and X-RequestID. 0: never.",
    )
    types: tuple[Literal["shaken", "baseline"], ...] = Field(
        ("shaken",), description="PASSporT types whose verification decides a call."
    )
    country: Country | None = Field(
        None,
        description="The older name of numbers.country, which governs signing as well.",
    )
    unsigned: tuple[Unsigned, ...] = Field(
        (),
        description="What becomes of a call that is not signed: tables with spc or country, and"
        " action none, label or fail. A rule for the spc that holds the number goes before one"
        " for its country. Without a rule: none.",
    )
    health_numbers: tuple[str, ...] = Field(
        ("9999999999", "7777777777"),
        description="Numbers that health requests of SBCs carry on both sides. A request between"
        " them without Identity header does not count as a call that should be signed.",
    )

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        named = [entry.spc or entry.country for entry in self.unsigned]
        if len(named) != len(set(named)):
            raise ValueError("unsigned: an spc or country is named twice")
        return self

    @field_validator("health_numbers")
    @classmethod
    def _numbers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for number in value:
                Reading().filed(number, "health_numbers")
        except ParseError as error:
            raise ValueError(str(error)) from None
        return value
