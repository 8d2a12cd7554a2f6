"""`zhenxian serve`: run the service until it is told to stop."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zhenxian.cli.common import Config, errors, settings_of
from zhenxian.service.reference import settings_rows
from zhenxian.service.run import run


def _epilog() -> str:
    lines = [f"[bold]{row.key}[/bold] = {row.default}  {row.text}\n\n" for row in settings_rows()]
    return "Settings (in the file, or as ZHENXIAN_TABLE__KEY in the environment):\n\n" + "".join(
        line.replace("[]", "\\[]") for line in lines
    )


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=_epilog())
    def serve(
        config: Config = None,
        listen: Annotated[
            str | None,
            typer.Option(help="address:port of the calls listener, over server.calls."),
        ] = None,
        workers: Annotated[
            int | None, typer.Option(help="Worker processes, over server.workers.")
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
        """Run the service until SIGINT or SIGTERM; calls in flight are finished.

        Listens on 127.0.0.1:8080 unless told otherwise, and refuses to listen beyond loopback
        without credentials. Keys, certificates, holdings, the trust list, revocation lists and
        API keys are taken over when their files have changed and been left alone for a second;
        at once on SIGHUP. Settings are read at the start only. One service runs on a data folder.
        """
        overrides: dict[str, Any] = {}
        if listen is not None:
            overrides["calls"] = listen
        if workers is not None:
            overrides["workers"] = workers
        settings = settings_of(config, **({"server": overrides} if overrides else {}))

        def ready() -> None:
            errors.print(f"[bold]zhenxian[/bold] serves calls on {settings.server.calls}")

        raise typer.Exit(run(settings, ready, until_eof=until_eof))
