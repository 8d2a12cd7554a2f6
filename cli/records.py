"""`zhenxian registry`: the management API as commands, the same for every kind of record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from zhenxian.cli.batch import batch
from zhenxian.cli.client import DEFAULT_URL, Client, KeyFile, Url
from zhenxian.cli.common import Json, console, errors, print_json
from zhenxian.cli.questions import changes, history, trace, who
from zhenxian.cli.record_options import (
    After,
    All,
    IfMatch,
    Key,
    Limit,
    Members,
    Once,
    Reason,
    Which,
    headers_of,
    path_of,
)
from zhenxian.cli.record_tables import print_record, print_rows
from zhenxian.cli.record_words import IN_PATH, kind_of, members_help, row_of
from zhenxian.registry.members import MEMBERS
from zhenxian.registry.model import State

_NOT_SENT: Final = IN_PATH | {"version"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    members = members_help()
    for command in (
        list_, show, put, add, change, end, suspend, resume, close, rotate, history, who, trace,
        changes, batch,
    ):  # fmt: skip
        epilog = members if command in (put, add, change) else None
        app.command(command.__name__.rstrip("_"), epilog=epilog)(command)


def list_(
    which: Which,
    subject: Annotated[
        str | None,
        typer.Option(help="Only this subject's (holdings, accesses, exemptions, declarations)."),
    ] = None,
    limit: Limit = 100,
    after: After = "",
    every: All = False,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List records, a page at a time.

    Example: zhenxian registry list holdings --subject bank --all
    """
    kind = kind_of(which)
    query = {"limit": limit} | ({"subject": subject} if subject is not None else {})
    rows: list[dict[str, Any]] = []
    following: str | None = after
    with Client(url, api_key_file) as client:
        while following is not None:
            page = client.get(f"/v1/{which}", **query, after=following)
            rows += page.get(which, [])
            following = page.get("following")
            if not every:
                break
    if as_json:
        print_json({which: rows, "following": following})
        return
    print_rows(which, kind, rows)
    if following is not None:
        errors.print(f"more: --after {following}, or --all")


def show(
    which: Which,
    key: Key,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show one record and its version.

    Example: zhenxian registry show holdings 8675588880000-8675588889999
    """
    kind_of(which)
    with Client(url, api_key_file) as client:
        print_record(client.get(path_of(which, key)), as_json=as_json)


def put(
    which: Which,
    key: Key,
    reason: Reason,
    members: Members = None,
    if_match: IfMatch = None,
    idempotency_key: Once = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Put a record as a whole: members that are not given have their defaults.

    A number goes to another subject only with --if-match, which names the holding that ends.

    Example: zhenxian registry put holdings 8675588880001 subject=bank verification=verified
    "spcs=1234 5678" --reason "contract 17"
    """
    row = row_of(kind_of(which), members)
    headers = headers_of(idempotency_key, if_match)
    with Client(url, api_key_file) as client:
        print_record(_put(client, which, key, row, reason, headers), as_json=as_json)


def add(
    which: Which,
    key: Key,
    reason: Reason,
    members: Members = None,
    idempotency_key: Once = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Put a record that must not exist yet; otherwise it is refused (412) and stays as it is.

    Example: zhenxian registry add subjects bakery name=Bakery document_kind=licence
    document_number=91440300 --reason "contract 18"
    """
    row = row_of(kind_of(which), members)
    headers = headers_of(idempotency_key) | {"if-none-match": "*"}
    with Client(url, api_key_file) as client:
        print_record(_put(client, which, key, row, reason, headers), as_json=as_json)


def change(
    which: Which,
    key: Key,
    reason: Reason,
    members: Members = None,
    if_match: IfMatch = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Change some members of a record; the others stay, and nobody else's change is undone.

    Example: zhenxian registry change bindings ride-1 until=1790000000 --reason "ride is over"
    """
    altered = row_of(kind_of(which), members)
    if not altered:
        raise typer.BadParameter("MEMBER=VALUE expected")
    with Client(url, api_key_file) as client:
        print_record(
            _changed(client, which, key, altered, reason, if_match=if_match), as_json=as_json
        )


def end(
    which: Which,
    key: Key,
    reason: Reason,
    if_match: IfMatch = None,
    idempotency_key: Once = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """End a record, now; its history stays.

    Example: zhenxian registry end holdings 8675588880001 --reason "returned"
    """
    kind_of(which)
    headers = headers_of(idempotency_key, if_match)
    with Client(url, api_key_file) as client:
        client.request("DELETE", path_of(which, key), {"reason": reason}, headers=headers)
    if as_json:
        print_json({"ended": key})
    else:
        console.print(f"{which} {key}: ended")


def suspend(
    which: Which,
    key: Key,
    reason: Reason,
    if_match: IfMatch = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Suspend a subject, reseller or access: nothing of it signs until it is resumed.

    A subject's suspension covers all its numbers, those to come too, through any reseller.

    Example: zhenxian registry suspend subjects call-centre --reason "complaints of May"
    """
    print_record(
        _set_state(which, key, State.SUSPENDED, reason, if_match, url, api_key_file),
        as_json=as_json,
    )


def resume(
    which: Which,
    key: Key,
    reason: Reason,
    if_match: IfMatch = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Let a subject, reseller or access that was suspended or closed take part again.

    Example: zhenxian registry resume subjects call-centre --reason "contract 19"
    """
    print_record(
        _set_state(which, key, State.ACTIVE, reason, if_match, url, api_key_file), as_json=as_json
    )


def close(
    which: Which,
    key: Key,
    reason: Reason,
    if_match: IfMatch = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Close a subject, reseller or access that others rest on and that therefore cannot be ended.

    Example: zhenxian registry close resellers old-mvno --reason "licence withdrawn"
    """
    print_record(
        _set_state(which, key, State.CLOSED, reason, if_match, url, api_key_file), as_json=as_json
    )


def rotate(
    access: Annotated[str, typer.Argument(help="The access's id.")],
    reason: Reason,
    if_match: IfMatch = None,
    idempotency_key: Once = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Give an access a new origid; the old ones stay traceable and sign nothing.

    Example: zhenxian registry rotate bank-trunk --reason "yearly"
    """
    headers = headers_of(idempotency_key, if_match)
    path = f"{path_of('accesses', access)}/origid"
    with Client(url, api_key_file) as client:
        print_record(
            client.request("POST", path, {"reason": reason}, headers=headers), as_json=as_json
        )


def _put(
    client: Client,
    which: str,
    key: str,
    row: dict[str, Any],
    reason: str,
    headers: dict[str, str],
) -> dict[str, Any]:
    return client.request("PUT", path_of(which, key), {"reason": reason}, row, headers=headers)


def _changed(
    client: Client,
    which: str,
    key: str,
    altered: dict[str, Any],
    reason: str,
    *,
    if_match: int | None,
) -> dict[str, Any]:
    """Read, alter, put: refused when somebody else wrote in between."""
    found = client.get(path_of(which, key))
    seen = found["version"] if if_match is None else if_match
    row = {name: value for name, value in found.items() if name not in _NOT_SENT} | altered
    if "document_number" in altered:
        row.pop("document", None)
    return _put(client, which, key, row, reason, headers_of(None, seen))


def _set_state(
    which: str,
    key: str,
    state: State,
    reason: str,
    if_match: int | None,
    url: str,
    api_key_file: Path | None,
) -> dict[str, Any]:
    kind = kind_of(which)
    if not any(member.name == "state" for member in MEMBERS[kind]):
        raise typer.BadParameter(f"{which} have no state: end the record instead")
    with Client(url, api_key_file) as client:
        altered = {"state": state.value}
        return _changed(client, which, key, altered, reason, if_match=if_match)
