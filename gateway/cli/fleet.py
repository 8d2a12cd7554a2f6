"""`zhenxian fleet`: what is done once in the life of a fleet."""

from __future__ import annotations

import asyncio

import typer

from gateway.app import node_key, open_fleet
from gateway.cli.common import Config, Json, console, print_json, settings_of

app = typer.Typer(
    no_args_is_help=True,
    help="Nodes that share one registry on Redis (settings: table fleet).\n\n"
    "`zhenxian orders status` shows the nodes and what they obey; /readyz of each node says what"
    " it lacks.",
)


@app.command()
def seed(config: Config = None, as_json: Json = False) -> None:
    """Give a Redis that holds no registry this node's: the first node of a fleet, or after a loss.

    Run it on the node that has most. A Redis that holds a registry is left alone; nodes that run
    go on by themselves.

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
def node(config: Config = None, as_json: Json = False) -> None:
    """Tell this node's name and the thumbprint of its key, as an entry of registry.nodes.

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
