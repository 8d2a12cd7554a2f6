"""`zhenxian key`: API keys and client certificates."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from zhenxian.cli.common import Json, console, print_json
from zhenxian.core.errors import ConfigError
from zhenxian.service.keys import (
    ROLES,
    Dialect,
    Role,
    add_certificate,
    add_key,
    add_user,
    load_credentials,
)

app = typer.Typer(
    no_args_is_help=True, help="API keys and client certificates: add one, list them."
)

File = Annotated[Path, typer.Argument(help="The key file that auth.keys names.")]


@app.command()
def add(
    file: File,
    name: Annotated[str, typer.Option(help="Whose key it is, e.g. sbc-east-1.")],
    role: Annotated[
        list[Role],
        typer.Option(
            help="What the key may do; may be repeated. "
            + "; ".join(f"{role.value}: {text}" for role, text in ROLES.items())
            + "."
        ),
    ],
    dialect: Annotated[
        Dialect | None, typer.Option(help="Answer this client in this dialect always.")
    ] = None,
    subject: Annotated[
        str, typer.Option(help="The registered subject a platform's key acts for.")
    ] = "",
    certificate: Annotated[
        Path | None,
        typer.Option(
            help="No key: this client certificate (PEM), known by its fingerprint.",
            show_default=False,
        ),
    ] = None,
    distinguished_name: Annotated[
        str | None,
        typer.Option(
            help="No key: any client certificate with this subject (RFC 4514), such as"
            " CN=sbc-east,O=Carrier, so that it may be renewed.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and add its hash to the file. The key itself is shown once, now.

    Clients send it as `Authorization: Bearer KEY`, as the password of Basic, or as `X-API-Key`.
    A running service takes the new key over within two seconds.

    With --certificate or --distinguished-name a client certificate is added instead, which
    server.tls_client_ca must have issued. From the first such entry on, a certificate that no entry
    names has no access; without any entry every certificate has the role proxy.

    Example: zhenxian key add keys.toml --name sbc-east --role proxy --certificate sbc-east.pem
    """
    if Role.PLATFORM in role and Role.REGISTRAR not in role and not subject:
        raise typer.BadParameter("role platform: --subject expected, whose bindings it writes")
    if certificate is not None or distinguished_name is not None:
        _add_certificate(
            file, name, role, dialect, subject, certificate, distinguished_name, as_json=as_json
        )
        return
    key = add_key(file, name, role, dialect, subject)
    if as_json:
        print_json({"key": key, "name": name, "roles": [r.value for r in role]})
    else:
        console.print(key)


def _add_certificate(
    file: Path,
    name: str,
    role: list[Role],
    dialect: Dialect | None,
    subject: str,
    certificate: Path | None,
    distinguished_name: str | None,
    *,
    as_json: bool,
) -> None:
    if certificate is not None and distinguished_name is not None:
        raise typer.BadParameter("either --certificate or --distinguished-name expected")
    try:
        pem = certificate.read_bytes() if certificate is not None else None
    except OSError as error:
        raise ConfigError(f"{certificate}: {error.strerror}") from None
    known = add_certificate(
        file,
        name,
        role,
        certificate=pem,
        distinguished_name=distinguished_name,
        dialect=dialect,
        subject=subject,
    )
    if as_json:
        print_json({"certificate": known, "name": name, "roles": [r.value for r in role]})
    else:
        console.print(f"{name}: {known}")


@app.command("add-sip")
def add_sip(
    file: Annotated[Path, typer.Argument(help="The file of users that sip.digest names.")],
    name: Annotated[str, typer.Option(help="The user, e.g. proxy-east-1.")],
    realm: Annotated[
        str, typer.Option(help="The realm; one for all users of a file.")
    ] = "zhenxian",
    as_json: Json = False,
) -> None:
    """Make a user of the SIP redirect service and add its hashes to the file (digest, RFC 8760).

    The password is shown once, now. A service takes new users over when it starts.

    Example: zhenxian key add-sip sip-users.toml --name kamailio --realm carrier.example
    """
    password = secrets.token_urlsafe(24)
    add_user(file, name, realm, password)
    if as_json:
        print_json({"name": name, "realm": realm, "password": password})
    else:
        console.print(password)


@app.command("list")
def list_keys(file: File, as_json: Json = False) -> None:
    """List the keys and certificates of a file: ids, names, roles. Keys themselves are not stored.

    The id of a certificate begins with cert-.
    """
    found = load_credentials(file)
    principals = [stored.principal for stored in found.keys.values()]
    principals += [entry.principal for entry in found.certificates]
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
