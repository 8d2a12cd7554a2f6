"""`zhenxian registry history, who, trace, changes`: what was, and whose a number or origid is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zhenxian.cli.client import DEFAULT_URL, Client, KeyFile, Url, segment
from zhenxian.cli.common import Json, console, errors, print_json
from zhenxian.cli.record_options import Key, Limit, Which, path_of
from zhenxian.cli.record_tables import add_row, difference, moment, print_record, table_of, why
from zhenxian.cli.record_words import kind_of


def history(
    which: Which,
    key: Key,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show all versions of a record: when, by whom, why, and what each changed.

    Example: zhenxian registry history subjects bank
    """
    kind_of(which)
    with Client(url, api_key_file) as client:
        answer = client.get(f"{path_of(which, key)}/history")
    if as_json:
        print_json(answer)
        return
    table = table_of("version", "when", "by", "why", "what")
    before: dict[str, Any] = {}
    for version in answer.get("versions", []):
        record = version["record"]
        now = record or {}
        what = "ended" if record is None else difference(before, now)
        add_row(
            table,
            (
                version["version"],
                moment(version["time"]),
                version["author"],
                why(version),
                what,
            ),
        )
        before = now
    console.print(table)


def who(
    number: Annotated[str, typer.Argument(help="A number, + or not.")],
    at: Annotated[
        str | None,
        typer.Option(
            help="An instant: RFC 3339 with its offset, or seconds since 1970. Default: now.",
            show_default=False,
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show who holds a number, through which resellers; or who held it when a call was signed.

    Example: zhenxian registry who 8675588880001 --at 2026-05-17T09:30:00+08:00
    """
    with Client(url, api_key_file) as client:
        query = {"at": at} if at is not None else {}
        answer = client.get(f"/v1/numbers/{segment(number.removeprefix('+'))}", **query)
    if as_json:
        print_json(answer)
        return
    when = f" at {moment(answer['at'])}" if "at" in answer else ""
    lines = [f"{answer['number']}: {answer['label']} ({answer['label_zh']})"]
    if "at" in answer:
        version = answer["holding"]
        held = [{**version["record"], "version": version["version"]}] if version else []
    else:
        held = answer["holdings"]
    if not held:
        lines.append(f"held by nobody{when}")
    for place, row in enumerate(held):
        span = row["first"] if row["first"] == row["last"] else f"{row['first']}-{row['last']}"
        chain = " > ".join(["carrier", *answer["chain"]]) if place == 0 else row["reseller"]
        lines.append(
            f"{'held' if place == 0 else 'within a range'} by {row['subject']}{when}:"
            f" {span}, {row['verification']}, {row['use']}, through {chain or 'carrier'},"
            f" version {row['version']}"
        )
    order = answer.get("order")
    if order is not None:
        lines.append(f"stopped by order {order['id']}: {order['reference']}")
    console.print("\n".join(lines))


def trace(
    origid: Annotated[str, typer.Argument(help="The origid of a token.")],
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show whose an origid is or was, even if it was rotated since, or was a single call's.

    Example: zhenxian registry trace 123e4567-e89b-12d3-a456-426655440000
    """
    with Client(url, api_key_file) as client:
        row = client.get(f"/v1/origids/{segment(origid)}")
    if not as_json and "call" in row:
        call = row.pop("call")
        row |= {"signed_at": call["at"], "signed_by": call["node"]}
    print_record(row, as_json=as_json)


def changes(
    after: Annotated[int, typer.Option(min=0, help="Only what follows this commit.")] = 0,
    limit: Limit = 100,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List what was committed, in order: number, time, author, reason and what it changed.

    Example: zhenxian registry changes --after 4711
    """
    with Client(url, api_key_file) as client:
        answer = client.get("/v1/changes", after=after, limit=limit)
    if as_json:
        print_json(answer)
        return
    table = table_of("commit", "when", "by", "why", "what")
    for row in answer["changes"]:
        named = [f"{each['kind']} {each['key']}" for each in row["changed"]]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        what = "many records" if row["many"] else ", ".join(named[:3]) + more
        add_row(table, (row["seq"], moment(row["time"]), row["author"], why(row), what))
    console.print(table)
    if answer["following"] is not None:
        errors.print(f"more: --after {answer['following']}")
