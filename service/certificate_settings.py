"""The tables [trust] and [fetch] of the settings: what certificates are judged by, and had from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from zhenxian.service.setting_types import Section


class ListIssuers(Section):
    """One table of trust.crl_issuers: who may sign indirect revocation lists, and about what."""

    certificates: Path
    roots: Path | None = None
    addresses: tuple[Annotated[str, Field(pattern=r"^(https?|HTTPS?)://[!-~]+$")], ...] = ()


def _list_issuers(value: object) -> object:
    """A path alone is one table, and the environment gives tables as JSON."""
    if value is None:
        return ()
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ValueError(f"not JSON: {error}") from None
    return ({"certificates": value},) if isinstance(value, str | Path) else value


ListIssuersSetting = Annotated[tuple[ListIssuers, ...], NoDecode, BeforeValidator(_list_issuers)]


class Trust(Section):
    """What certificates are judged by."""

    roots: Path | None = Field(
        None, description="PEM bundle, or folder of PEM files: the trusted roots (STI-PA list)."
    )
    crl_issuers: ListIssuersSetting = Field(
        (),
        description="Who may sign indirect revocation lists: a PEM bundle or folder, or tables with"
        " certificates (the same), roots (bundle or folder of the roots below which their lists"
        " hold) and addresses (URLs of lists that do not name their own). With roots, or with a"
        " single trusted root, their lists also cover certificates that point to the list's own"
        " address without naming its issuer, and those without any point that an STI-CA issued;"
        " otherwise only certificates that name the list's issuer.",
    )
    crl_folder: Path | None = Field(
        None, description="Folder of revocation lists. Unset: crl in the data folder."
    )
    crl_urls: tuple[str, ...] = Field(
        (), description="Revocation lists to fetch besides those that certificates name."
    )
    revocation: Literal["require", "prefer"] = Field(
        "require",
        description="Without a fresh list a certificate is refused (require), or passes with a"
        " note in the verdict and a metric (prefer). A revoked one never passes.",
    )
    profile: Literal["lenient", "strict"] = Field(
        "lenient",
        description="What departs from the SHAKEN profile without bearing on trust (key usages"
        " beside digitalSignature, policies, forms of subjects, length of serial numbers, form of"
        " distribution points, algorithms of CAs) passes with a note in the verdict and a metric"
        " (lenient), or is refused (strict).",
    )


class Fetch(Section):
    """Fetching certificates and revocation lists."""

    repositories: tuple[str, ...] = Field(
        (), description="Hosts or URL prefixes certificates may come from. Empty: any public host."
    )
    allow_http_loopback: bool = Field(
        False, description="Development only: also http on the loopback address, any port."
    )
    ca_file: Path | None = Field(
        None, description="PEM bundle that authenticates https hosts. Unset: the system's."
    )
    seconds: float = Field(5.0, gt=0, le=60, description="Total time of one fetch.")
    chains: int = Field(
        16_384,
        ge=64,
        le=65_536,
        description="Chains of other carriers kept in memory, with the results of validating them;"
        " seven eighths of them for those under which a signature has verified. With fewer than"
        " carriers whose calls are verified, chains are fetched and validated at calls, about a"
        " millisecond each.",
    )
    stale_seconds: int = Field(
        86_400,
        ge=0,
        description="How long a chain stays usable while its host is down.",
    )
    failure_seconds: int = Field(
        30, ge=1, le=3600, description="How long a failed fetch is not tried again."
    )
