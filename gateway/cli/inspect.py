"""`zhenxian inspect`: explain an Identity header, a token or a certificate."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from certs.chain import parse_chain
from certs.x5u import X5uPolicy
from gateway.cli.common import Json, console, print_json, read_argument
from gateway.explain import explain_chain, explain_identity, print_chain, print_steps

_BARE_TOKEN = re.compile(r"[A-Za-z0-9_\-]*\.[A-Za-z0-9_\-]*\.[A-Za-z0-9_\-]+\Z")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def inspect(
        value: Annotated[
            str,
            typer.Argument(
                help="Identity header value, or PEM certificates; - reads standard input, @FILE"
                " a file."
            ),
        ],
        window: Annotated[int, typer.Option(help="Seconds iat may lie from now.", min=1)] = 60,
        as_json: Json = False,
    ) -> None:
        """Explain any Identity header or certificate in plain words.

        Each claim, each check that needs no key, what failed and why, with its source. Whether
        the signature verifies is told by `zhenxian verify`, which fetches the certificate.
        Exit status 1 when something is wrong.

        Example: zhenxian inspect @identity.txt; zhenxian inspect @chain.pem
        """
        text = read_argument(value)
        now = int(time.time())
        if "-----BEGIN" in text:
            explained = explain_chain(parse_chain(text.encode()), now)
            bad = any(v["must"] for entry in explained for v in entry["violations"])
            if as_json:
                print_json({"certificates": explained})
            else:
                print_chain(console, explained)
            raise typer.Exit(1 if bad else 0)
        if _BARE_TOKEN.match(text):
            raise typer.BadParameter(
                "this is a token alone; give the Identity header with its parameters:"
                " TOKEN;info=<URI>;alg=ES256;ppt=shaken"
            )
        headers = explain_identity(text, now, window, X5uPolicy())
        bad = any(step["state"] == "bad" for steps in headers for step in steps)
        if as_json:
            print_json({"headers": headers})
        else:
            print_steps(console, headers)
        raise typer.Exit(1 if bad else 0)
