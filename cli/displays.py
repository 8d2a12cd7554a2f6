"""`zhenxian displays`: whose displays are used as a pool, by which figures, and objections."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from zhenxian.cli.client import DEFAULT_URL, Client, KeyFile, Url, segment
from zhenxian.cli.common import Json, console, print_json

app = typer.Typer(
    no_args_is_help=True,
    help="Conduct: whose displays are used as a pool (打显), and by which figures.\n\n"
    "A key is access:ID, subject:ID or reseller:ID (calls signed here), signer:SPC/ORIGID or"
    " spc:SPC (calls verified here), agent:PLATFORM/NUMBER (who calls behind a privacy number,"
    " 隐私号)."
    " `zhenxian registry put exemptions` leaves a caller alone for longer. What is cleared after an"
    " objection stays on record.",
)


class Standing(StrEnum):
    """The states that stand against a caller."""

    SUSPECTED = "suspected"
    POOLED = "pooled"


_COLOURS: Final = {"pooled": "red", "suspected": "yellow"}
_PAGE: Final = 1000

KeyText = Annotated[str, typer.Argument(help="Such as access:bank-trunk; see `displays`.")]


@app.command("list")
def list_(
    state: Annotated[Standing | None, typer.Option(help="Only these.", show_default=False)] = None,
    case: Annotated[
        str | None, typer.Option(help="Only the one with this case number.", show_default=False)
    ] = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List the callers and signers that are suspected or pooled now.

    Example: zhenxian displays list --state pooled
    """
    with Client(url, api_key_file) as client:
        query = {} if state is None else {"state": state.value}
        if case is not None:
            query["case"] = case
        found = list(_pages(client, "/v1/displays", "findings", **query))
    if as_json:
        print_json({"findings": found})
        return
    table = Table("key", "state", "measure", "since", "until unless confirmed", "case", "figures")
    for one in found:
        colour = _COLOURS[one["state"]]
        table.add_row(
            one["key"],
            Text(one["state"], colour),
            one["measure"],
            _time(one["since"]),
            _time(one["until"]),
            one.get("case", ""),
            _figures(one),
        )
    console.print(table if found else "nobody is suspected or pooled")


@app.command()
def show(
    key: KeyText, url: Url = DEFAULT_URL, api_key_file: KeyFile = None, as_json: Json = False
) -> None:
    """All figures of one key, each beside what a pool reaches; and the calls that led to a finding.

    Example: zhenxian displays show access:bank-trunk
    """
    with Client(url, api_key_file) as client:
        told = client.get(f"/v1/displays/{segment(key)}")
    if as_json:
        print_json(told)
        return
    colour = _COLOURS.get(told["state"], "green")
    console.print(
        Text.assemble(f"{told['key']}: ", (told["state"], colour), f", {told['calls']} calls")
    )
    if not told["measures"]:
        console.print("no call of that key was counted")
        return
    table = Table("measure", "strength", "figure", "measured", "a pool has")
    for measure in told["measures"]:
        name, strength = measure["measure"], f"{measure['strength']:.2f}"
        for figure, value in measure["figures"].items():
            table.add_row(name, strength, figure, f"{value:g}", _threshold(measure, figure))
            name = strength = ""
        if not measure["figures"]:
            table.add_row(name, strength, "nothing near a pool", "", "")
    console.print(table)
    if told["finding"] is not None:
        console.print(told["finding"]["sentence"])
        for name in ("plain", "whatToDo", "plainChinese", "whatToDoChinese"):
            if told["finding"].get(name):  # an older service tells none
                console.print(told["finding"][name])
        for sample in told["samples"]:
            callee = sample["callee"] or "-"
            console.print(f"  {_time(sample['at'])}  {sample['display']} to {callee}")


@app.command()
def clear(
    key: KeyText,
    reason: Annotated[str, typer.Option(help="Why; it is on record.")],
    caller: Annotated[
        bool, typer.Option("--caller", help="Its subject, all accesses and origids at once.")
    ] = False,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Clear a key after an objection, on record. The same conduct is found again.

    A caller may stand in the list twice, as access and as subject: each is cleared by itself,
    unless --caller clears everything of whose it is. What speaks for it stays.

    Example: zhenxian displays clear access:bank-trunk --reason "new dialler, audited" --caller
    """
    if caller:
        _clear_caller(key, reason, url, api_key_file, as_json=as_json)
        return
    with Client(url, api_key_file) as client:
        place = client.delete(f"/v1/displays/{segment(key)}", {"reason": reason})
        clearing = client.get(place) if place is not None else None
    if as_json:
        print_json({"cleared": key, "clearing": clearing})
        return
    console.print(f"{key} is cleared")
    if clearing is not None:
        told = f"on record as {clearing['id']}, by {clearing['by']}: {clearing['sentence']}"
        console.print(told)


def _clear_caller(
    key: str, reason: str, url: str, api_key_file: Path | None, *, as_json: bool
) -> None:
    with Client(url, api_key_file) as client:
        told = client.post("/v1/clearings", {"key": key, "reason": reason})
    if as_json:
        print_json({"cleared": key, "clearings": told["clearings"]})
        return
    for one in told["clearings"]:
        console.print(f"{one['key']} is cleared: on record as {one['id']}")


@app.command()
def cleared(
    key: Annotated[
        str | None, typer.Option(help="Only this key's, such as access:bank-trunk.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List what was cleared after objections: key, when, by whom, why, and the findings.

    Example: zhenxian displays cleared --key access:bank-trunk
    """
    with Client(url, api_key_file) as client:
        rows = [
            one
            for one in _pages(client, "/v1/clearings", "clearings")
            if key is None or one["key"] == key
        ]
    if as_json:
        print_json({"clearings": rows})
        return
    table = Table("key", "cleared", "by", "why", "was", "what stood against it")
    for one in rows:
        values = (one["key"], _time(one["at"]), one["by"], one["reason"], one["state"])
        table.add_row(*values, one["sentence"])
    console.print(table if rows else "nothing was cleared")


def _pages(client: Client, path: str, name: str, **query: str | int) -> Iterator[dict[str, Any]]:
    query["limit"] = _PAGE
    while True:
        page = client.get(path, **query)
        yield from page[name]
        if page["following"] is None:
            return
        query["after"] = page["following"]


def _figures(finding: dict[str, Any]) -> str:
    told = []
    for name in finding["thresholds"]:
        figure = name.removeprefix("<=")
        if figure in finding["figures"]:
            told.append(f"{figure} {finding['figures'][figure]:.3g}")
    return "; ".join(told)


def _threshold(measure: dict[str, Any], figure: str) -> str:
    limits = measure["thresholds"]
    if figure in limits:
        return f"at least {limits[figure]:g}"
    return f"at most {limits[f'<={figure}']:g}" if f"<={figure}" in limits else ""


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
