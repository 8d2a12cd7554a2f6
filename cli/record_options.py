"""Arguments and options that the commands of records share."""

from __future__ import annotations

from typing import Annotated

import typer

from zhenxian.cli.client import segment
from zhenxian.cli.record_words import WHICH

Which = Annotated[str, typer.Argument(help=f"One of {WHICH}.")]
Key = Annotated[
    str, typer.Argument(help="The record's id; of holdings and refusals NUMBER or FIRST-LAST.")
]
Reason = Annotated[str, typer.Option(help="Why; kept in the history.")]
Members = Annotated[
    list[str] | None,
    typer.Argument(
        help="MEMBER=VALUE, as often as needed; lists are words with spaces, instants are seconds"
        " since 1970 or RFC 3339 with its offset."
    ),
]
IfMatch = Annotated[
    int | None,
    typer.Option(help="The version that was seen: refused (412) if it is another one by now."),
]
TakeOut = Annotated[
    bool,
    typer.Option(
        "--take-out",
        help="Take numbers out of ranges that other subjects hold; else such rows are refused.",
    ),
]
Once = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="The same request under one key is done once."),
]
After = Annotated[
    str, typer.Option(help="Continue after this key: `following` of the page before.")
]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Records of one page.")]
All = Annotated[bool, typer.Option("--all", help="Every page, not only the first.")]


def path_of(which: str, key: str) -> str:
    """The address of a record."""
    return f"/v1/{which}/{segment(key)}"


def headers_of(once: str | None, if_match: int | None = None) -> dict[str, str]:
    """Idempotency-Key and If-Match, as given."""
    headers = {"idempotency-key": once} if once is not None else {}
    return headers | ({"if-match": f'"{if_match}"'} if if_match is not None else {})
