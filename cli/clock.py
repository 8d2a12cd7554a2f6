"""`zhenxian clock`: what contradicts a node's clock, and that it is right all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from zhenxian.cli.client import DEFAULT_URL, Client, KeyFile, Url
from zhenxian.cli.common import Json, console, print_json

app = typer.Typer(
    no_args_is_help=True,
    help="The clock of a node. While it is in doubt, nothing is registered through the node.",
)


@app.command()
def show(url: Url = DEFAULT_URL, api_key_file: KeyFile = None, as_json: Json = False) -> None:
    """Show a node's time, and what contradicts it.

    Example: zhenxian clock show
    """
    with Client(url, api_key_file) as client:
        _print(client.get("/v1/clock"), as_json=as_json)


@app.command()
def accept(
    reason: Annotated[str, typer.Option(help="Why, for the log.")] = "it is right",
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Declare that a node's clock is right, which ends the present doubts.

    Commits that were dated in the future stay as they are; later ones get the right date.

    Example: zhenxian clock accept --reason "was two days behind until now"
    """
    with Client(url, api_key_file) as client:
        answer = client.request("POST", "/v1/clock/acceptance", {"reason": reason})
    _print(answer, as_json=as_json)


def _print(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    now = datetime.fromtimestamp(answer["time"], tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    console.print(f"it is {now} on that node")
    for text in answer["doubts"] or ["nothing contradicts it"]:
        console.print(text)
