"""`zhenxian pki survey`: what becomes of a folder of real certificates."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from zhenxian.certs.profile import ProfilePolicy
from zhenxian.certs.revocation import RevocationPolicy, RevocationView, build_view
from zhenxian.certs.survey import Case, Found, addresses, read_folder, stand_ins, survey
from zhenxian.certs.trustlist import TrustList, load_roots, load_trust_list
from zhenxian.cli.common import Json, console, print_json
from zhenxian.core.errors import ConfigError


class Profile(str, Enum):
    """As the setting trust.profile."""

    LENIENT = "lenient"
    STRICT = "strict"


class Lists(str, Enum):
    """Where revocation lists come from."""

    NONE = "none"
    GIVEN = "given"
    LETTER = "letter"
    MAIN = "main"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("survey")
    def run(
        folder: Annotated[
            Path, typer.Argument(help="PEM or DER files, and folders of them, as x5u serves them.")
        ],
        roots: Annotated[
            Path | None,
            typer.Option(help="Trusted roots. Default: the self-signed CAs of the folder."),
        ] = None,
        at: Annotated[
            str | None,
            typer.Option(help="When: 2025-08-18, or 2025-08-18T12:00, in UTC. Default: now."),
        ] = None,
        lists: Annotated[
            Lists,
            typer.Option(
                help="none: revocation is not checked; given: the lists of --crl; main and all:"
                " empty lists stand in, at the address that most certificates point to, or at"
                " every address that occurs, by issuers who may speak for all roots; letter: as"
                " main, but only for certificates that name the list's issuer."
            ),
        ] = Lists.ALL,
        crl: Annotated[
            list[Path] | None, typer.Option(help="A revocation list (PEM or DER). May be repeated.")
        ] = None,
        crl_issuers: Annotated[
            Path | None, typer.Option(help="Who may sign the lists of --crl, as trust.crl_issuers.")
        ] = None,
        profile: Annotated[
            Profile, typer.Option(help="As the setting trust.profile.")
        ] = Profile.LENIENT,
        cases: Annotated[
            bool, typer.Option(help="With --json: each certificate, not only sums.")
        ] = False,
        as_json: Json = False,
    ) -> None:
        """Count the certificates of a folder that are read and trusted, and say why others are not.

        CAs that one file lacks are taken from the others. A chain is live when it leads to a
        trusted root and every certificate of it is within its dates.

        Example: zhenxian pki survey certificates --at 2025-08-18
        """
        if crl and lists is not Lists.GIVEN:
            raise typer.BadParameter("--crl is for --lists given")
        moment = _moment(at)
        if not folder.is_dir():
            raise ConfigError(f"{folder}: not a folder")
        with _progress() as progress:
            reading = progress.add_task("reading", total=None)
            found = read_folder(folder, lambda: progress.advance(reading))
            trust = load_roots(roots) if roots is not None else found.anchors()
            view, problems = _view(lists, found, moment, trust, crl or (), crl_issuers)
            checking = progress.add_task("checking", total=len(found.leaves))
            outcome = list(
                survey(
                    found,
                    at=moment,
                    trust=trust,
                    revocation=view,
                    profile=ProfilePolicy(strict=profile is Profile.STRICT),
                    tick=lambda: progress.advance(checking),
                )
            )
        told = _told(found, outcome, moment, trust)
        told["lists"] = lists.value
        told["problems"] = list(problems)
        if cases:
            told["cases"] = [_case(case) for case in outcome]
        if as_json:
            print_json(told)
        else:
            _print(told)


def _moment(text: str | None) -> int:
    if text is None:
        return int(time.time())
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"--at {text!r}: a date such as 2025-08-18, or 2025-08-18T12:00, belongs there"
        ) from None
    return int((read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp())


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _view(
    lists: Lists,
    found: Found,
    at: int,
    trust: TrustList,
    crl: Sequence[Path],
    crl_issuers: Path | None,
) -> tuple[RevocationView, tuple[str, ...]]:
    if lists in (Lists.LETTER, Lists.MAIN, Lists.ALL):
        urls = [url for url, _ in addresses(found).most_common(None if lists is Lists.ALL else 1)]
        return stand_ins(found, urls, at=at, trust=trust, assigned=lists is not Lists.LETTER)
    try:
        content = [path.read_bytes() for path in crl]
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from None
    return build_view(
        content,
        issuers=load_trust_list(crl_issuers) if crl_issuers is not None else TrustList(),
        trust=trust,
        policy=RevocationPolicy.PREFER if lists is Lists.NONE else RevocationPolicy.REQUIRE,
    )


def _told(found: Found, cases: Sequence[Case], at: int, trust: TrustList) -> dict[str, Any]:
    live = [case for case in cases if case.live]
    trusted = [case for case in live if case.reason is None]
    return {
        "at": datetime.fromtimestamp(at, UTC).isoformat(),
        "files": found.files,
        "unreadable": dict(sorted(found.unreadable.items())),
        "certificates": found.certificates,
        "authorities": sum(map(len, found.authorities.values())),
        "leaves": len(found.leaves),
        "roots": len(trust.roots),
        "live": len(live),
        "trusted": len(trusted),
        "trusted_percent": round(100 * len(trusted) / len(live), 2) if live else None,
        "refused": _counted(case.reason.name for case in live if case.reason is not None),
        "not_live": _counted(
            case.reason.name for case in cases if not case.live and case.reason is not None
        ),
        "covered_by": _counted(by for case in trusted for by in case.covered),
        "departures": _counted(code for case in trusted for code in case.departures),
        "addresses": dict(addresses(found).most_common()),
    }


def _counted(items: Any) -> dict[str, int]:
    return dict(Counter(items).most_common())


def _case(case: Case) -> dict[str, Any]:
    return {
        "file": case.file,
        "subject": case.subject,
        "issuer": case.issuer,
        "live": case.live,
        "reason": case.reason.name if case.reason is not None else None,
        "detail": case.detail,
        "covered_by": case.covered,
        "departures": case.departures,
    }


def _print(told: dict[str, Any]) -> None:
    table = Table(title=f"Certificates at {told['at']}, lists: {told['lists']}", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right")

    def section(title: str, counted: dict[str, int]) -> None:
        if counted:
            table.add_section()
            table.add_row(Text(title, "bold"), "")
        for name, number in counted.items():
            table.add_row(f"  {name}", f"{number:,}")

    table.add_row("files", f"{told['files']:,}")
    table.add_row("  of them unreadable", f"{len(told['unreadable']):,}")
    table.add_row("different certificates", f"{told['certificates']:,}")
    table.add_row("  of them CAs", f"{told['authorities']:,}")
    table.add_row("trusted roots", f"{told['roots']:,}")
    table.add_row("live chains", f"{told['live']:,}")
    share = f" ({told['trusted_percent']} %)" if told["trusted_percent"] is not None else ""
    table.add_row("  of them trusted", f"{told['trusted']:,}{share}")
    section("live, but refused", told["refused"])
    section("not live", told["not_live"])
    section("certificates of trusted chains covered by", told["covered_by"])
    section("trusted chains with a departure from the profile", told["departures"])
    section("certificates that point to", told["addresses"])
    console.print(table)
    for problem in told["problems"]:
        console.print(problem)
