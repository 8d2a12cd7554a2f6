"""The command line as a whole: its help, its one option, and how texts of help wrap."""

from __future__ import annotations

from inspect import getdoc
from typing import Annotated, Final

import typer

from zhenxian import __version__

_HELP: Final = (
    "Zhenxian (真显): caller ID that can be believed.\n\n"
    "Signs calls from verified numbers with STIR/SHAKEN PASSporTs, and verifies them.\n\n"
    "Begin with [bold]zhenxian demo[/bold]; then [bold]zhenxian doctor[/bold] tells what your own"
    " settings still lack, and [bold]zhenxian serve[/bold] runs the service.\n\n"
    "Exit status: 0 good answer, 1 bad answer (refused, not verified, findings), 2 wrong usage,"
    " 3 could not be done."
)


def command_line() -> typer.Typer:
    """All of it but the commands."""
    made = typer.Typer(
        name="zhenxian",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        help=_HELP,
    )
    made.callback()(_options)
    return made


def _print_version(asked: bool) -> None:
    if asked:
        print(f"zhenxian {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def as_paragraphs(group: typer.Typer) -> None:
    """Let help wrap at the terminal's width; lines that are indented stay lines."""
    for command in group.registered_commands:
        text = command.help or getdoc(command.callback) or ""
        command.help = "\n\n".join(
            part if part.startswith(" ") else " ".join(part.split()) for part in text.split("\n\n")
        )
    for below in group.registered_groups:
        if below.typer_instance is not None:
            as_paragraphs(below.typer_instance)
