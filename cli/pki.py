"""`zhenxian pki`: a development PKI, and what certificates say."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from zhenxian.certs.ca import create_development_pki
from zhenxian.cli import survey
from zhenxian.cli.common import Json, console, print_json
from zhenxian.cli.explain import print_chain, print_path
from zhenxian.cli.material import explain_material
from zhenxian.core.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Development PKI and certificate inspection.")
survey.register(app)


@app.command()
def create(
    folder: Annotated[
        Path, typer.Argument(help="Where to put it; the folder is made with mode 0700.")
    ],
    carrier: Annotated[
        list[str],
        typer.Option(help='A carrier as SPC=NAME, e.g. 1234="North Telecom". May be repeated.'),
    ],
    revoke: Annotated[
        list[str] | None, typer.Option(help="An SPC whose certificate is revoked.")
    ] = None,
    days: Annotated[
        int, typer.Option(min=2, max=3650, help="Days for which all of it is valid.")
    ] = 90,
    as_json: Json = False,
) -> None:
    """Make a root, an intermediate, a revocation list and a SHAKEN certificate for each carrier.

    For development and tests only: nobody else trusts it. A complete PKI of the same carriers is
    left as it is.

    Example: zhenxian pki create pki --carrier "1234=North Telecom" --carrier "5678=South Mobile"
    """
    carriers = {}
    for item in carrier:
        spc, equals, name = item.partition("=")
        if not equals or not spc.isalnum() or not spc.isascii() or not name:
            raise typer.BadParameter(f"{item!r}: SPC=NAME expected")
        carriers[spc] = name
    unknown = set(revoke or ()) - carriers.keys()
    if unknown:
        raise typer.BadParameter(f"--revoke {', '.join(sorted(unknown))}: no such carrier")
    made = create_development_pki(
        folder, carriers, now=int(time.time()), revoked=revoke or (), days=days
    )
    if as_json:
        print_json(
            {
                "root": made.root,
                "crl_issuers": made.crl_issuers,
                "crl_folder": made.crl_folder,
                "carriers": {spc: files._asdict() for spc, files in made.carriers.items()},
            }
        )
        return
    console.print(f"trust.roots = {made.root}")
    console.print(f"trust.crl_issuers = {made.crl_issuers}")
    console.print(f"trust.crl_folder = {made.crl_folder}")
    for spc, files in made.carriers.items():
        console.print(f"SPC {spc}: signer.key = {files.key}, signer.chain = {files.chain}")


@app.command()
def show(
    chain: Annotated[Path, typer.Argument(help="PEM chain, or one certificate in DER.")],
    as_json: Json = False,
) -> None:
    """Explain the certificates of a file, and how they differ from the SHAKEN profile.

    Verifying refuses a certificate that "violates" the profile. One that "departs from" it is
    refused only with the setting trust.profile = "strict". Exit status 1 when something
    violates it.
    """
    try:
        data = chain.read_bytes()
    except OSError as error:
        raise ConfigError(f"{chain}: {error.strerror}") from None
    found = explain_material(data, int(time.time()))
    if not found.certificates:
        raise ConfigError(f"{chain}: no certificate in it; `zhenxian inspect @{chain}` tells more")
    if as_json:
        told = {"certificates": found.certificates, "path": found.path}
        print_json({name: items for name, items in told.items() if items})
    else:
        print_chain(console, found.certificates)
        print_path(console, found.path)
    raise typer.Exit(1 if found.bad else 0)
