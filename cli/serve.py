"""`zhenxian serve`: run the service until it is told to stop."""

from __future__ import annotations

import io
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from zhenxian.cli.common import errors
from zhenxian.cli.configured import Config, settings_of
from zhenxian.service.reference import settings_rows
from zhenxian.service.run import run


def _epilog() -> str:
    lines = [
        f"[bold]{row.key}[/bold] = {escape(f'{row.default}  {row.text}')}\n\n"
        for row in settings_rows()
    ]
    return "Settings (in the file, or as ZHENXIAN_TABLE__KEY in the environment):\n\n" + "".join(
        lines
    )


def _sip(given: list[str]) -> dict[str, tuple[str, ...]]:
    """The options as the table [sip] has them."""
    found: dict[str, tuple[str, ...]] = {}
    for text in given:
        role, _, listener = text.partition("=")
        if role not in ("originating", "terminating") or not listener:
            raise typer.BadParameter(
                f"{text}: originating=LISTENER or terminating=LISTENER expected", param_hint="--sip"
            )
        found[role] = (*found.get(role, ()), listener)
    return found


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=_epilog())
    def serve(
        config: Config = None,
        listen: Annotated[
            str | None,
            typer.Option(help="address:port of the calls listener; overrides server.calls."),
        ] = None,
        workers: Annotated[
            int | None, typer.Option(help="Worker processes; overrides server.workers.")
        ] = None,
        sip: Annotated[
            list[str] | None,
            typer.Option(
                help="Take INVITEs, over sip.originating or sip.terminating: originating=LISTENER"
                " to sign, terminating=LISTENER to verify, as in originating=127.0.0.1:5070 (UDP"
                " and TCP) or terminating=udp:127.0.0.1:5071. May be repeated.",
            ),
        ] = None,
        until_eof: Annotated[
            bool,
            typer.Option(
                "--until-eof",
                help="Stop when standard input ends: so a program that starts the service on a pipe"
                " takes it along, however it ends itself.",
            ),
        ] = False,
    ) -> None:
        """Run the service until SIGINT or SIGTERM; it then finishes the calls in flight.

        It listens on 127.0.0.1:8080 by default, and refuses to listen beyond loopback without
        credentials. It reads keys, certificates, the trust list, revocation lists and API keys
        again when their files have changed and then stayed the same for a second, or at once on
        SIGHUP. It reads settings only at the start. Only one service can run on a data folder.
        """
        server: dict[str, Any] = {}
        if listen is not None:
            server["calls"] = listen
        if workers is not None:
            server["workers"] = workers
        tables = {"server": server, "sip": _sip(sip or [])}
        settings = settings_of(config, **{name: table for name, table in tables.items() if table})

        # What captures what the terminal is told would write to it, which a full disk refuses.
        told = io.StringIO()
        console = Console(
            file=told, force_terminal=errors.is_terminal, soft_wrap=True, highlight=False
        )
        name = ("zhenxian", "bold")
        console.print(Text.assemble(name, f" serves calls on {settings.server.calls}"))
        for address, signing in settings.sip.addresses():
            at = f"{address.transport}:{address.host}:{address.port}"
            does = "signs" if signing else "verifies"
            console.print(Text.assemble(name, f" {does} INVITEs on {at}"))
        raise typer.Exit(run(settings, told.getvalue(), until_eof=until_eof))
