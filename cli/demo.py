"""`zhenxian demo`: sample carriers, a registry and calls, with the verdict expected of each."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import track
from rich.table import Table
from rich.text import Text

from zhenxian.cli.common import Json, console, errors, print_json
from zhenxian.simulation.client import Client
from zhenxian.simulation.demo import DemonstrationError, Line, World, demonstrate, prepare

_SERVE: Final = (sys.executable, "-m", "zhenxian", "serve", "--until-eof")
_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 15


def _free(listener: str) -> str:
    """The listener, or the same address with a free port when somebody listens there."""
    host, _, port = listener.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"


@contextlib.contextmanager
def _service(world: World, client: Client, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service in a process of its own, answering; it ends with this one at the latest."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            [*_SERVE, "--config", str(world.config)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not client.alive():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise DemonstrationError(f"the service did not start:\n{tail}")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _table(lines: list[Line]) -> Table:
    table = Table(title="Demonstration calls", title_justify="left", show_lines=False)
    for name in ("call", "display", "attestation", "verstat", "reason"):
        table.add_column(name, overflow="fold")
    colours = {"TN-Validation-Passed": "green", "TN-Validation-Failed": "red"}
    for line in lines:
        colour = colours.get(line.verstat, "yellow")
        reason = Text(line.reason)
        if not line.good:
            reason.append(f"  expected {' '.join(filter(None, line.expected))}", "bold red")
        table.add_row(line.call, line.display, line.attest, Text(line.verstat, colour), reason)
    return table


def _interrupt(number: int, _: object) -> None:
    """End as with Ctrl-C: what was begun is put away."""
    raise SystemExit(128 + number)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def demo(
        folder: Annotated[
            Path, typer.Option(help="Where the development PKI and the state go.")
        ] = Path("data/demo"),
        listen: Annotated[
            str, typer.Option(help="address:port; another port is taken when this one is in use.")
        ] = "127.0.0.1:8080",
        keep_serving: Annotated[
            bool, typer.Option("--keep-serving", help="Go on serving after the calls.")
        ] = False,
        as_json: Json = False,
    ) -> None:
        """Make a development PKI, start the service, and make honest and fraudulent calls.

        Prints the outcome of each call. Exit status 1 when a verdict is not the expected one.
        """
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                signal.signal(number, _interrupt)
        listener = _free(listen)
        base = f"http://{listener}"
        world = prepare(folder.resolve(), listener, int(time.time()))
        client = Client(base)
        log = folder / "service.log"
        with _service(world, client, log) as process:
            calls = demonstrate(client, world)
            lines = list(
                calls
                if as_json
                else track(calls, "calling", total=25, console=errors, transient=True)
            )
            good = all(line.good for line in lines)
            if as_json:
                print_json({"calls": [{**line._asdict(), "good": line.good} for line in lines]})
            else:
                console.print(_table(lines))
                for line in lines:
                    if line.figures:
                        console.print(f"{line.call}\n  {line.figures}")
                if not good:
                    errors.print("a verdict is not the expected one", style="bold red")
            if keep_serving:
                _invite(base, world, log)
                with contextlib.suppress(KeyboardInterrupt):
                    process.wait()
        client.close()
        raise typer.Exit(0 if good else 1)


def _invite(base: str, world: World, log: Path) -> None:
    console.print(f"\nServing until Ctrl-C. Settings: {world.config}, log: {log}")
    for name, path in (
        ("signing", "/stir/v1/signing"),
        ("verification", "/stir/v1/verification"),
        ("interactive docs", "/docs"),
        ("metrics", "/metrics"),
        ("readiness", "/readyz"),
    ):
        console.print(f"  {name:17} {base}{path}")
