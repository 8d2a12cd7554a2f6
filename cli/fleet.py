"""`zhenxian fleet`: what is done once in the life of a fleet."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from zhenxian.cli.client import DEFAULT_URL, Client, KeyFile, Url
from zhenxian.cli.common import Json, console, print_json
from zhenxian.cli.configured import Config, settings_of
from zhenxian.registry.node_key import public_key, thumbprint
from zhenxian.service.build import node_key, open_fleet

app = typer.Typer(
    no_args_is_help=True,
    help="Nodes that share one registry on Redis (settings: table fleet).\n\n"
    "`zhenxian orders status` shows the nodes and what they obey; /readyz of each node names its"
    " problems.",
)


@app.command()
def seed(config: Config = None, as_json: Json = False) -> None:
    """Write this node's registry to a Redis that holds none: for a new fleet, or after a loss.

    Run it on the node that has the most commits. It does not touch a Redis that holds a registry.
    Running nodes go on by themselves.

    Example: zhenxian fleet seed -c /etc/zhenxian/zhenxian.toml
    """

    async def run() -> int:
        registry = open_fleet(settings_of(config))
        try:
            await registry.reseed()
            return registry.seq
        finally:
            await registry.aclose()

    commit = asyncio.run(run())
    if as_json:
        print_json({"commit": commit})
    else:
        console.print(f"Redis holds this node's registry, up to commit {commit}")


@app.command()
def nodes(url: Url = DEFAULT_URL, api_key_file: KeyFile = None, as_json: Json = False) -> None:
    """List the nodes that answer calls: last sign of life, last commit, release, key.

    Example: zhenxian fleet nodes --url http://127.0.0.1:8080
    """
    with Client(url, api_key_file) as client:
        answer = client.get("/v1/nodes")
    if as_json:
        print_json(answer)
        return
    pins = answer.get("pins")
    table = Table(show_lines=False)
    for name in ("node", "last seen", "commit", "release", "key", "thumbprint"):
        table.add_column(name, overflow="fold")
    for row in answer.get("nodes", []):
        mark = thumbprint(public_key(row["key"])) if row.get("key") else ""
        listed = "not pinned" if pins is None else "not in the list"
        if pins is not None and row["node"] in pins:
            listed = "pinned" if mark in pins[row["node"]] else "another key"
        seen = datetime.fromtimestamp(row["seen"], tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        values = (row["node"], seen, row["cursor"], row.get("version", ""), listed, mark)
        table.add_row(*(str(value) for value in values))
    console.print(table)


@app.command()
def node(config: Config = None, as_json: Json = False) -> None:
    """Print this node's name and the thumbprint of its key, as an entry of registry.nodes.

    Run it on each node once, and put the entries into one file that only operators change: then
    `zhenxian orders status` counts no acknowledgement that another key signed.

    Example: zhenxian fleet node -c /etc/zhenxian/zhenxian.toml >> nodes.toml
    """
    settings = settings_of(config)
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = node_key(settings)
    if as_json:
        print_json({"name": found.name, "key": found.thumbprint})
    else:
        print(f'[[node]]\nname = "{found.name}"\nkey = "{found.thumbprint}"')


@app.command()
def lost(
    acknowledge: Annotated[
        bool,
        typer.Option(
            "--acknowledge", help="Let the records that Redis has take effect on this node."
        ),
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for the log.")] = "looked at",
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List the commits that Redis lost, and the restrictions that this node keeps of them.

    Ask each node. Register again the changes that are to stand, then acknowledge: the node drops
    the other restrictions. Orders stay until their issuer gives them again.

    Example: zhenxian fleet lost --acknowledge --reason "made again, see ticket 7"
    """
    with Client(url, api_key_file) as client:
        if acknowledge:
            answer = client.request("DELETE", "/v1/losses", {"reason": reason})
        else:
            answer = client.get("/v1/losses")
    if as_json:
        print_json(answer)
        return
    if not answer["count"]:
        console.print("Redis lost nothing that this node had")
        return
    table = Table(show_lines=False)
    for name in ("commit", "when", "by", "reason", "changed"):
        table.add_column(name, overflow="fold")
    for row in answer["commits"]:
        when = datetime.fromtimestamp(row["time"], tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        values = (row["seq"], when, row["author"], row["reason"], _records(row["changed"]))
        table.add_row(*(str(value) for value in values))
    console.print(table)
    state = "was held until now" if acknowledge else "stays as strict as it was"
    console.print(f"{state}: {_records(answer['held']) or 'nothing'}")
    if answer["beyond"]:
        console.print("too many records to hold each: nothing is signed above B")


def _records(rows: list[dict[str, str]]) -> str:
    return ", ".join(f"{row['kind']} {row['key']}" for row in rows)
