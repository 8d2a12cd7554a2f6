"""`zhenxian registry batch`: many records, some thousands in each request."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from zhenxian.cli.client import DEFAULT_URL, Client, KeyFile, Url
from zhenxian.cli.common import Json, console, errors, print_json
from zhenxian.cli.record_options import Once, Reason, TakeOut, headers_of
from zhenxian.cli.record_words import csv_rows, kind_of, opened
from zhenxian.registry.imports import BATCHES, MAX_BATCH, Mode
from zhenxian.registry.model import NAMES

_TOLD: Final = 20  # refused rows shown to people; --json has all
_WHICH: Final = ", ".join(NAMES[kind] for kind in BATCHES)


def batch(
    which: Annotated[str, typer.Argument(help=f"One of {_WHICH}.")],
    file: Annotated[
        Path, typer.Argument(help="CSV with a header line, as export writes it; - for the input.")
    ],
    reason: Reason,
    mode: Annotated[
        Mode, typer.Option(help="Within one batch; all-or-nothing: one bad row, none is taken.")
    ] = Mode.ALL_OR_NOTHING,
    size: Annotated[int, typer.Option(min=1, max=MAX_BATCH, help="Rows of one batch.")] = MAX_BATCH,
    take_out: TakeOut = False,
    idempotency_key: Once = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Put many bindings, holdings or refusals, some thousands in each request.

    Each refused row is reported with its line. For files of more than a few batches use import.

    Example: zhenxian registry batch bindings rides.csv --reason "rides" --mode best-effort

    Exit status 1 when a row was refused.
    """
    kind = kind_of(which)
    if kind not in BATCHES:
        raise typer.BadParameter(f"{which} have no batches: put or import them")
    accepted = 0
    rejected: list[dict[str, Any]] = []
    with Client(url, api_key_file) as client, opened(file) as lines:
        rows = csv_rows(kind, lines)
        for number in itertools.count():
            part = list(itertools.islice(rows, size))
            if not part:
                break
            once = f"{idempotency_key}/{number}" if idempotency_key is not None else None
            answer = client.request(
                "POST",
                f"/v1/{which}/batch",
                {"reason": reason, "mode": mode.value, "take_out": str(take_out).lower()},
                [row for _, row in part],
                headers=headers_of(once),
                lines=[line for line, _ in part],
            )
            accepted += answer.get("accepted", 0)
            rejected += [
                {"line": part[each["row"]][0], "reason": each["detail"]}
                for each in answer.get("rejected", [])
            ]
    if as_json:
        print_json({"accepted": accepted, "rejected": rejected})
    else:
        for each in rejected[:_TOLD]:
            errors.print(f"line {each['line']}: {each['reason']}")
        console.print(f"{accepted} accepted, {len(rejected)} refused")
    raise typer.Exit(1 if rejected else 0)
