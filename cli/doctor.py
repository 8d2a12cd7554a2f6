"""`zhenxian doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer
from cryptography.hazmat.backends.openssl import backend
from rich.text import Text

from zhenxian.certs.chain import TrustedSigner, Untrusted
from zhenxian.cli.common import Json, console, print_json
from zhenxian.cli.configured import Config, settings_of
from zhenxian.core.errors import ConfigError, ZhenxianError
from zhenxian.passport.es256 import Choice, available, library
from zhenxian.registry.model import Kind, span
from zhenxian.service.build import build
from zhenxian.service.problems import problems, remarks
from zhenxian.service.run import check_exposure, default_settings_file
from zhenxian.service.service import Service
from zhenxian.service.settings import Settings, listener_address

RENEW_BEFORE = 7 * 86_400  # seconds; a certificate that ends sooner is a finding
_MOST_PERSONS = 20  # who hold more numbers than one may
_MOST_CODED = 20  # holdings of nationwide numbers with their area code
CLOCK_SLACK = 5  # seconds between this clock and a fresh file's; more is a finding

State = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """One line of the report."""

    state: State
    subject: str
    text: str
    advice: str = ""


def examine(config: Path | None, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Look at everything, one finding each; never raises."""
    try:
        settings = settings_of(config)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield Finding("problem", "settings", line, "correct it, or see docs/settings.md")
        return
    source = config or default_settings_file()
    yield Finding("ok", "settings", f"read from {source}" if source else "defaults, no file")
    try:
        check_exposure(settings)
        yield Finding("ok", "exposure", "reachable with credentials, or from this machine only")
    except ConfigError as error:
        yield Finding("problem", "exposure", str(error), "")
    yield from _clock(settings, clock)
    try:
        service = build(settings, clock=clock)
    except ZhenxianError as error:
        yield Finding("problem", "start", str(error), "correct it: the service does not start")
        return
    yield Finding("ok", "engine", _engine(settings))
    yield from _numbers(settings)
    yield from _signing(service, clock)
    yield from _trust(service)
    yield from _registry(service)
    yield from _reachability(settings)
    yield Finding("ok", "cryptography", backend.openssl_version_text())
    yield Finding("ok", "signatures", f"ES256 by {library().version()}", _quicker())
    asyncio.run(service.close())


def _engine(settings: Settings) -> str:
    """What keeps the registry. The address of Redis, which may have a password, is not told."""
    if not settings.fleet.url:
        return f"embedded, in {settings.data}"
    return f"fleet {settings.fleet.name} on Redis, this node's copy in {settings.data}"


def _quicker() -> str:
    """What makes signatures quicker; empty where it is in use, or was not wanted."""
    if available(Choice.AWS_LC):
        return ""
    return "optional: pip install 'zhenxian[aws-lc]' makes and checks them in a quarter less time"


def _clock(settings: Settings, clock: Callable[[], float]) -> Iterator[Finding]:
    """A clock that is wrong makes every token stale; a file just written tells the kernel's."""
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = settings.data / f".doctor-{os.getpid()}"
        probe.write_bytes(b"")
        apart = abs(probe.stat().st_mtime - clock())
        probe.unlink()
    except OSError as error:
        yield Finding(
            "problem",
            "data folder",
            f"{settings.data}: {error.strerror}",
            "make it writable for the service's user",
        )
        return
    synchronised = Path("/run/systemd/timesync/synchronized").exists()
    if apart > CLOCK_SLACK:
        yield Finding(
            "problem",
            "clock",
            f"the file system's clock is {apart:.0f} s away",
            "run NTP: tokens are refused when clocks differ by more than 60 s",
        )
    else:
        known = "synchronised by systemd-timesyncd" if synchronised else "source not known"
        yield Finding("ok", "clock", f"{time.strftime('%F %T', time.gmtime(clock()))} UTC, {known}")


def _numbers(settings: Settings) -> Iterator[Finding]:
    country = settings.country
    if country is None:
        yield Finding(
            "warning",
            "numbers",
            "no country is set: numbers that begin with 0 are refused, no emergency number is known"
            " (110 can be shown, and a call to it refused), and only urn:service:sos is a call for"
            " help",
            "set numbers.country",
        )
    else:
        yield Finding("ok", "numbers", f"national and emergency numbers are those of {country}")
        if not settings.numbers.hosts:
            yield Finding(
                "warning",
                "hosts",
                "no host is known to be this carrier's own: sip:110@ims.example is an extension"
                " there, so a call to it is no call for help, and who shows it gets C",
                "set numbers.hosts",
            )
    if country == "CN" and not settings.numbers.middle:
        yield Finding(
            "warning",
            "middle numbers",
            "numbers outside of 700 may be middle numbers here; since the beginning of 2026 they"
            " may not in China",
            'set numbers.middle = [{country = "CN", until = "2026-01-01"}]',
        )


def _signing(service: Service, clock: Callable[[], float]) -> Iterator[Finding]:
    if service.keys is None:
        yield Finding(
            "warning",
            "signing",
            "no key and chain are configured: nothing can be signed",
            "set signer.key and signer.chain",
        )
        return
    credential = service.keys.current
    left = credential.not_after - clock()
    if clock() < credential.not_before:
        yield Finding(
            "problem",
            "certificate",
            f"is not valid before {_moment(credential.not_before)}: nothing can be signed",
            "look at the clock, or install a key and chain that are valid now",
        )
    elif left < 0:
        yield Finding("problem", "certificate", "has expired", "install a new key and chain")
    elif left < RENEW_BEFORE:
        yield Finding(
            "warning", "certificate", f"ends in {left / 86_400:.1f} days", "renew it soon"
        )
    else:
        yield Finding("ok", "certificate", f"SPC {credential.spc}, {left / 86_400:.0f} days left")
    yield Finding("ok", "x5u", credential.x5u)
    outcome = service.verifier.signer(credential.chain, int(clock()))
    if isinstance(outcome, Untrusted):
        yield Finding(
            "problem",
            "own chain",
            f"would not verify here: {outcome.detail} ({outcome.reason.name})",
            "check trust.roots, the chain's intermediates and the revocation lists",
        )
    elif isinstance(outcome, TrustedSigner):
        yield Finding("ok", "own chain", "verifies against the trust list")


def _trust(service: Service) -> Iterator[Finding]:
    roots = service.verifier.trust.roots.roots
    if roots:
        yield Finding("ok", "trust list", f"{len(roots)} trusted roots")
    else:
        yield Finding(
            "problem",
            "trust list",
            "empty: no call can verify",
            "set trust.roots to the roots of your STI-PA",
        )
    missing = service.lists.missing()
    yield from (
        Finding("problem", "readiness", text, "")
        for text in problems(service)
        if not text.startswith(("signing:", "verifying: the trust list")) and text not in missing
    )
    yield from (
        Finding("warning", "revocation list", text, "the running service fetches it")
        for text in missing
    )
    yield from (
        Finding("warning", "remark", text, "") for text in remarks(service) if text not in missing
    )


def _registry(service: Service) -> Iterator[Finding]:
    records = service.registry.records
    lacking = [
        kind.value
        for kind in (Kind.SUBJECT, Kind.HOLDING, Kind.ACCESS)
        if not records.page(kind, limit=1).rows
    ]
    if lacking:
        yield Finding(
            "warning",
            "registry",
            f"no {', no '.join(lacking)} is registered: nothing earns attestation A",
            "zhenxian registry import, or the API under /v1/",
        )
        return
    seq, when = records.last()
    yield Finding("ok", "registry", f"{seq} commits, the last {_moment(when)}")
    for subject, carrier, count in records.over_limit(_MOST_PERSONS):
        yield Finding(
            "warning",
            "registry",
            f"person {subject} holds {count} numbers{f' at carrier {carrier}' if carrier else ''},"
            " more than one may (registry.numbers_a_person)",
            "end holdings, or set subjects' kind to enterprise where they are one",
        )
    for held, bare in records.behind_codes(service.plan, _MOST_CODED):
        alone = held.numbers.size == 1
        yield Finding(
            "warning",
            "registry",
            f"holding {span(held.numbers)} of {held.subject} has no effect"
            f"{'' if alone else ' on some of its numbers'}: calls that show"
            f" {'it' if alone else 'them'} are read as {bare}{'' if alone else ' and the like'},"
            " without country and area code",
            f"register again as {bare} what {held.subject} holds of these, and end this one",
        )


def _moment(when: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(when))


def _reachability(settings: Settings) -> Iterator[Finding]:
    for name, listener in (("calls", settings.server.calls), ("admin", settings.server.admin)):
        if listener is None:
            continue
        host, port = listener_address(listener)
        try:
            socket.create_connection((host, port), timeout=1).close()
            yield Finding("ok", f"{name} listener", f"{listener} answers")
        except OSError:
            yield Finding(
                "warning",
                f"{name} listener",
                f"{listener} does not answer",
                "start it: zhenxian serve",
            )


def alive(settings: Settings) -> bool:
    """True when the calls listener answers its health route; for container health checks."""
    host, port = listener_address(settings.server.calls)
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = "127.0.0.1" if "." in host else "::1"
    if settings.server.tls_cert is not None:
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError:
            return False
        return True
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.sendall(
                b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            )
            return connection.makefile("rb").readline().startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def doctor(
        config: Config = None,
        as_json: Json = False,
        alive_only: Annotated[
            bool,
            typer.Option("--alive", help="Only ask whether the service answers (health check)."),
        ] = False,
    ) -> None:
        """Check settings, keys, clock, engine, trust and reachability, and say what to do.

        Exit status 1 when there is a problem; warnings alone leave it 0.
        """
        if alive_only:
            raise typer.Exit(0 if alive(settings_of(config)) else 1)
        findings = list(examine(config))
        if as_json:
            print_json({"findings": [finding._asdict() for finding in findings]})
        else:
            colours = {"ok": "green", "warning": "yellow", "problem": "red"}
            for finding in findings:
                mark = (f"{finding.state:8}", colours[finding.state])
                console.print(Text.assemble(mark, f" {finding.subject}: {finding.text}"))
                if finding.advice:
                    console.print(f"         → {finding.advice}")
        bad = any(finding.state == "problem" for finding in findings)
        sys.stdout.flush()
        raise typer.Exit(1 if bad else 0)
