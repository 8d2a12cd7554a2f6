"""The `zhenxian` command line. Every command teaches with --help; --json is for machines.

Exit status: 0 done, and the answer is good; 1 done, and the answer is not (a call that is refused
or does not verify, a finding of doctor, a demonstration verdict that differs); 2 wrong usage;
3 it could not be done (configuration, files, network).
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from zhenxian.core.errors import ZhenxianError
from zhenxian.service.supervisor import EXIT_FAILED

if TYPE_CHECKING:
    import typer

_ALL: Final = "commands"
_ALONE: Final = {"serve": "serving", "replay": "replaying"}


def main() -> None:
    """Run the command line; errors of ours become one sentence and exit status 3."""
    try:
        _app(sys.argv[1:2])(prog_name="zhenxian")
    except ZhenxianError as error:
        for line in str(error).splitlines():
            print(f"zhenxian: {line}", file=sys.stderr)
        sys.exit(EXIT_FAILED)


def _app(first: list[str]) -> typer.Typer:
    """The commands; to serve, or replay, that one alone: what the others import takes as long."""
    name = _ALONE.get("".join(first), _ALL)
    if name != _ALL:
        gc.disable()  # until calls are served, or replayed: see service.worker
    app: typer.Typer = import_module(f"zhenxian.cli.{name}").app
    return app
