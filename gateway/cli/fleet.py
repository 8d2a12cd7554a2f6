"""`zhenxian fleet`: what is done once in the life of a fleet."""

from __future__ import annotations

import asyncio

import typer

from gateway.app import open_fleet
from gateway.cli.common import Config, Json, console, print_json, settings_of

app = typer.Typer(
    no_args_is_help=True,
    help="Nodes that share one registry on Redis (settings: table fleet).\n\n"
    "`zhenxian orders status` shows the nodes and what they obey; /readyz of each node says what"
    " it lacks.",
)


@app.callback()
def _group() -> None:
    """Keep `seed` a command of its own, as more will come beside it."""


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
