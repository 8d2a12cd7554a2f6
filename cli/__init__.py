"""The `zhenxian` command line. Every command teaches with --help; --json is for machines.

Exit status: 0 done, and the answer is good; 1 done, and the answer is not (a call that is refused
or does not verify, a finding of doctor, a demonstration verdict that differs); 2 wrong usage;
3 it could not be done (configuration, files, network).
"""

from __future__ import annotations

import sys
from inspect import getdoc
from typing import Annotated, Final

import typer

from zhenxian import __version__
from zhenxian.cli import (
    calls,
    clock,
    demo,
    displays,
    doctor,
    fleet,
    inspect,
    keys,
    openapi,
    orders,
    pki,
    registry,
    serve,
    simulate,
)
from zhenxian.core.errors import ZhenxianError

EXIT_BAD_ANSWER: Final = 1
EXIT_USAGE: Final = 2
EXIT_FAILED: Final = 3

app = typer.Typer(
    name="zhenxian",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Zhenxian (真显): caller ID that can be believed.\n\n"
    "Signs calls from verified numbers with STIR/SHAKEN PASSporTs, and verifies them.\n\n"
    "Begin with [bold]zhenxian demo[/bold]; then [bold]zhenxian doctor[/bold] tells what your own"
    " settings still lack, and [bold]zhenxian serve[/bold] runs the service.\n\n"
    "Exit status: 0 good answer, 1 bad answer (refused, not verified, findings), 2 wrong usage,"
    " 3 could not be done.",
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"zhenxian {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


serve.register(app)
calls.register(app)
inspect.register(app)
app.add_typer(pki.app, name="pki")
app.add_typer(keys.app, name="key")
app.add_typer(registry.app, name="registry")
app.add_typer(orders.app, name="orders")
app.add_typer(fleet.app, name="fleet")
app.add_typer(clock.app, name="clock")
app.add_typer(displays.app, name="displays")
doctor.register(app)
openapi.register(app)
demo.register(app)
simulate.register(app)


def _as_paragraphs(group: typer.Typer) -> None:
    """Let help wrap at the terminal's width; lines that are indented stay lines."""
    for command in group.registered_commands:
        text = command.help or getdoc(command.callback) or ""
        command.help = "\n\n".join(
            part if part.startswith(" ") else " ".join(part.split()) for part in text.split("\n\n")
        )
    for below in group.registered_groups:
        if below.typer_instance is not None:
            _as_paragraphs(below.typer_instance)


_as_paragraphs(app)


def main() -> None:
    """Run the command line; errors of ours become one sentence and exit status 3."""
    try:
        app(prog_name="zhenxian")
    except ZhenxianError as error:
        for line in str(error).splitlines():
            print(f"zhenxian: {line}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
