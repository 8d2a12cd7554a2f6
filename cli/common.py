"""Options and output that several commands share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]

_WIDTH = None if sys.stdout.isatty() else 160  # columns, where no terminal tells its own
# Without markup: much of what is printed others wrote, and theirs may look like it.
console = Console(soft_wrap=True, highlight=False, markup=False, width=_WIDTH)
errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def read_octets(value: str) -> bytes:
    """As read_argument, for what need not be text."""
    if value == "-":
        return sys.stdin.buffer.read()
    if value.startswith("@"):
        try:
            return Path(value[1:]).read_bytes()
        except OSError as error:
            raise typer.BadParameter(f"{value[1:]}: {error.strerror}") from None
    return value.encode()


def read_argument(value: str) -> str:
    """An argument as given, or standard input for "-", or a file's content for "@path"."""
    if value == "-":
        return sys.stdin.read().strip()
    if value.startswith("@"):
        try:
            return Path(value[1:]).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise typer.BadParameter(f"{value[1:]}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise typer.BadParameter(f"{value[1:]}: {error}") from None
    return value
