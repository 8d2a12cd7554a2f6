"""`zhenxian key`: API keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.auth import Role, add_key, load_keys
from gateway.cli.common import Json, console, print_json
from gateway.dialects.bodies import Dialect

app = typer.Typer(no_args_is_help=True, help="API keys: make one, list them.")

File = Annotated[Path, typer.Argument(help="The key file that auth.keys names.")]


@app.command()
def add(
    file: File,
    name: Annotated[str, typer.Option(help="Whose key it is, e.g. sbc-east-1.")],
    role: Annotated[
        list[Role],
        typer.Option(
            help="What it may do; give several times for several. proxy: sign and verify calls;"
            " registrar: subjects, resellers, holdings, accesses; platform: its own bindings;"
            " regulator: orders; auditor: all of the history; operator: metrics and reading."
        ),
    ],
    dialect: Annotated[
        Dialect | None, typer.Option(help="Answer this client in this dialect always.")
    ] = None,
    subject: Annotated[
        str, typer.Option(help="The registered subject a platform's key acts for.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Make a key and add its hash to the file. The key itself is shown once, now.

    Clients send it as `Authorization: Bearer KEY`, as the password of Basic, or as `X-API-Key`.
    A running service takes the new key over within a second.
    """
    key = add_key(file, name, role, dialect, subject)
    if as_json:
        print_json({"key": key, "name": name, "roles": [r.value for r in role]})
    else:
        console.print(key)


@app.command("list")
def list_keys(file: File, as_json: Json = False) -> None:
    """List the keys of a file: ids, names, roles. Keys themselves are not stored."""
    principals = [stored.principal for stored in load_keys(file).values()]
    rows = [
        {
            "id": p.id,
            "name": p.name,
            "roles": sorted(role.value for role in p.roles),
            "dialect": p.dialect.value if p.dialect else None,
            "subject": p.subject or None,
        }
        for p in principals
    ]
    if as_json:
        print_json({"keys": rows})
        return
    for row in rows:
        roles = ", ".join(row["roles"] or [])
        console.print(f"{row['id']}  {row['name']}  ({roles})")
