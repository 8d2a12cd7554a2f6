"""`zhenxian inspect`: explain an Identity header, certificates, requests, keys."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from zhenxian.certs.x5u import X5uPolicy
from zhenxian.cli.common import Json, console, print_json, read_octets
from zhenxian.cli.explain import explain_identity, print_chain, print_path, print_steps
from zhenxian.cli.material import explain_material, is_material, print_objects

_BARE_TOKEN = re.compile(r"[A-Za-z0-9_\-]*\.[A-Za-z0-9_\-]*\.[A-Za-z0-9_\-]+\Z")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def inspect(
        value: Annotated[
            str,
            typer.Argument(
                help="Identity header value, or certificates, a CSR, keys or a revocation list in"
                " PEM or DER; - reads standard input, @FILE a file."
            ),
        ],
        window: Annotated[
            int, typer.Option(help="Seconds by which iat may differ from now.", min=1)
        ] = 60,
        as_json: Json = False,
    ) -> None:
        """Explain any Identity header, certificate, request or key in plain words.

        It shows each claim, each check that needs no key, and what failed and why, with its source.
        `zhenxian verify` fetches the certificate and checks the signature. Of a private key only
        its public half is shown.
        Exit status 1 when something is wrong.

        Example: zhenxian inspect @identity.txt; zhenxian inspect @chain.pem
        """
        data = read_octets(value)
        now = int(time.time())
        if is_material(data):
            found = explain_material(data, now)
            if as_json:
                told = {
                    "certificates": found.certificates,
                    "path": found.path,
                    "objects": found.objects,
                }
                print_json({name: items for name, items in told.items() if items})
            else:
                print_chain(console, found.certificates)
                print_path(console, found.path)
                print_objects(console, found.objects)
            raise typer.Exit(1 if found.bad else 0)
        try:
            text = data.decode().strip()
        except UnicodeDecodeError:
            raise typer.BadParameter(
                "neither text nor DER: an Identity header, or certificates, a CSR, keys or a"
                " revocation list belong there"
            ) from None
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
