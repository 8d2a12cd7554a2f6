"""`zhenxian orders`: sign orders, give them to a service, and see which nodes obey."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from zhenxian.cli.client import (
    DEFAULT_URL,
    Client,
    KeyFile,
    ServiceUnreachableError,
    Url,
    read_secret,
    segment,
)
from zhenxian.cli.common import Json, console, errors, print_json, read_argument
from zhenxian.cli.obedience import examine, order_in, order_of_row
from zhenxian.cli.obedience_tables import overview, plain, print_one
from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.passport.jws import SigningKey
from zhenxian.registry.model import TargetKind
from zhenxian.registry.orders import (
    Action,
    Instruction,
    Issuer,
    read_instruction,
    sign_instruction,
)
from zhenxian.service.order_files import load_issuers, load_pins
from zhenxian.service.registry_files import load_node_key

app = typer.Typer(
    no_args_is_help=True, help="Orders: give and lift them, and see which nodes obey."
)

_PAGE: Final = 1000  # orders asked for at once
_REGISTERED: Final = {TargetKind.SUBJECT: "subjects", TargetKind.RESELLER: "resellers"}
_NO_TARGET: Final = (
    "exactly one of --subject, --reseller, --spc, --range, --phone, --certificate expected"
)

IssuerName = Annotated[str, typer.Option(help="Your name in the service's list of issuers.")]
Key = Annotated[Path, typer.Option(help="Your private key (PEM, mode 0600).")]
Number = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Your counter: higher than that of every instruction before, or it is refused as a"
        " replay. Default: the time in milliseconds.",
        show_default=False,
    ),
]
Reference = Annotated[str, typer.Option(help="The legal reference, kept and shown.")]
OptionalUrl = Annotated[
    str | None,
    typer.Option(
        help=f"Give it to this service, e.g. {DEFAULT_URL}. Default: print the token only.",
        show_default=False,
    ),
]
Subject = Annotated[str | None, typer.Option(help="A subject: all its numbers and accesses.")]
Reseller = Annotated[str | None, typer.Option(help="A reseller, and all who come through it.")]
Spc = Annotated[str | None, typer.Option(help="A service provider code.")]
Range = Annotated[str | None, typer.Option("--range", help="Numbers, FIRST-LAST.")]
Phone = Annotated[str | None, typer.Option(help="One number.")]
Certificate = Annotated[
    str | None, typer.Option(help="A certificate, by serial number in hexadecimal.")
]


@app.command("key")
def make_key(
    out: Annotated[Path, typer.Argument(help="The private key to make; mode 0600.")],
    public: Annotated[Path, typer.Option(help="Where the public key goes, for the services.")],
    as_json: Json = False,
) -> None:
    r"""Make an issuer's key pair (P-256, PEM). Existing files are never overwritten.

    The service's file of issuers then has:

      [\[issuer]]

      name = "regulator"

      key = "regulator.pub.pem"

      may = ["subject", "number"]

    Example: zhenxian orders key regulator.pem --public regulator.pub.pem
    """
    for file in (out, public):
        if file.exists():
            raise ConfigError(f"{file} exists; nothing was made")
    made = load_node_key(out, out.stem)
    try:
        with public.open("xb") as opened:
            opened.write(made.key.verifying_key.public_pem)
    except OSError as error:
        raise StoreUnavailableError(
            f"{public}: {error.strerror}; the private key is in {out}"
        ) from None
    if as_json:
        print_json({"key": out, "public": public, "thumbprint": made.thumbprint})
    else:
        console.print(f"{out} (keep it), {public} (give it), thumbprint {made.thumbprint}")


@app.command()
def stop(
    issuer: IssuerName,
    key: Key,
    reference: Reference,
    subject: Subject = None,
    reseller: Reseller = None,
    spc: Spc = None,
    numbers: Range = None,
    phone: Phone = None,
    certificate: Certificate = None,
    order: Annotated[
        str | None, typer.Option(help="The order's id. Default: ISSUER-NUMBER.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="From when: seconds since 1970, or RFC 3339 with its offset. Default: now.",
            show_default=False,
        ),
    ] = None,
    number: Number = None,
    url: OptionalUrl = None,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Order that a target is stopped: it may sign nothing, and nothing of it verifies.

    Without --url the signed token is printed, to be carried elsewhere. A subject or reseller that
    is not registered may be ordered too, and is warned of: its name may be mistyped.

    Example: zhenxian orders stop --issuer regulator --key regulator.pem
    --reference "MIIT 2026-17" --subject call-centre --url http://127.0.0.1:8080
    """
    target = _target(subject, reseller, spc, numbers, phone, certificate)
    if target is None:
        raise typer.BadParameter(_NO_TARGET)
    moment = time.time()
    counter = int(moment * 1000) if number is None else number
    instruction = Instruction(
        action=Action.STOP,
        order=f"{issuer}-{counter}" if order is None else order,
        issuer=issuer,
        number=counter,
        reference=reference,
        kind=target[0],
        target=target[1],
        since=int(moment) if since is None else _instant(since),
        iat=int(moment),
    )
    token = sign_instruction(instruction, _signing_key(key), issuer)
    if url is None:
        _print_token(token, instruction.order, as_json=as_json)
        return
    with Client(url, api_key_file) as client:
        _give(client, token, reference, as_json=as_json)
        _warn_of_nobody(client, *target)


@app.command()
def lift(
    order: Annotated[str, typer.Argument(help="The id of the order.")],
    issuer: IssuerName,
    key: Key,
    reference: Reference,
    subject: Subject = None,
    reseller: Reseller = None,
    spc: Spc = None,
    numbers: Range = None,
    phone: Phone = None,
    certificate: Certificate = None,
    number: Number = None,
    url: OptionalUrl = None,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Lift an order of yours, at once.

    What the order stops is part of what is signed. With --url it need not be given: it is taken
    from the order that the service has, once your own key has proved that you gave it.

    Example: zhenxian orders lift ORDER --issuer regulator --key regulator.pem --url URL
    """
    signing = _signing_key(key)
    target = _target(subject, reseller, spc, numbers, phone, certificate)
    if target is None and url is None:
        raise typer.BadParameter(f"{_NO_TARGET}, or --url")
    moment = time.time()

    def signed(kind: TargetKind, name: str) -> str:
        return sign_instruction(
            Instruction(
                action=Action.LIFT,
                order=order,
                issuer=issuer,
                number=int(moment * 1000) if number is None else number,
                reference=reference,
                kind=kind,
                target=name,
                since=int(moment),
                iat=int(moment),
            ),
            signing,
            issuer,
        )

    if url is None:
        assert target is not None
        _print_token(signed(*target), order, as_json=as_json)
        return
    with Client(url, api_key_file) as client:
        if target is None:
            own = {issuer: Issuer(issuer, (signing.verifying_key,))}
            found = order_in(_acknowledgements(client, order))
            given = read_instruction(found.token, own, int(moment))
            if given.order != order:
                raise ConfigError(f"the service answered with order {given.order}, not {order}")
            target = given.kind, given.target
        _give(client, signed(*target), reference, as_json=as_json)


@app.command()
def give(
    token: Annotated[str, typer.Argument(help="The signed token, or @FILE, or - for the input.")],
    reference: Reference,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Give a token to a service that stop or lift printed elsewhere, such as beside the key.

    The service checks it: 422 for what is no order token, 403 for one that nobody entitled signed,
    409 for one that was given before or is older than the issuer's last.

    Example: zhenxian orders give @order.jwt --reference "MIIT 2026-17"

    Exit status 1 when the service refuses it.
    """
    with Client(url, api_key_file) as client:
        _give(client, read_argument(token), reference, as_json=as_json)


@app.command()
def status(
    order: Annotated[
        str | None, typer.Argument(help="The id of an order. Default: all of them.")
    ] = None,
    issuers: Annotated[
        Path | None,
        typer.Option(
            help="The issuers' file: checks the orders' own signatures too.", show_default=False
        ),
    ] = None,
    nodes: Annotated[
        Path | None,
        typer.Option(
            help="Your own list of nodes and their keys (as registry.nodes). Default: the"
            " service's.",
            show_default=False,
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show which nodes obey an order, and since when.

    Each node signs what it acknowledges with a key of its own; the signatures are verified here.
    A good signature proves who obeys only if the key is the node's: with a list of nodes, an
    acknowledgement with another key does not count, a listed node that is silent is missing, and so
    is a node that runs and is not listed. Without any list the column says "not pinned".
    The delay counts from the second in which the order was signed or, if that is later, from which
    it was to hold.

    Exit status 1 when a node has not acknowledged, or an answer does not stand up.
    """
    known = load_issuers(issuers) if issuers is not None else None
    pins = load_pins(nodes)
    with Client(url, api_key_file) as client:
        names = [order] if order is not None else list(_order_ids(client))
        found = [examine(_acknowledgements(client, name), name, known, pins) for name in names]
    if as_json:
        print_json({"orders": [plain(each) for each in found]})
    elif order is not None:
        print_one(found[0])
    else:
        console.print(overview(found))
    raise typer.Exit(0 if all(each.good for each in found) else 1)


def _target(
    subject: str | None, reseller: str | None, spc: str | None, numbers: str | None,
    phone: str | None, certificate: str | None,
) -> tuple[TargetKind, str] | None:  # fmt: skip
    given = [
        (kind, value)
        for kind, value in (
            (TargetKind.SUBJECT, subject),
            (TargetKind.RESELLER, reseller),
            (TargetKind.SPC, spc),
            (TargetKind.RANGE, numbers),
            (TargetKind.NUMBER, phone),
            (TargetKind.CERTIFICATE, certificate),
        )
        if value is not None
    ]
    if len(given) > 1:
        raise typer.BadParameter(_NO_TARGET)
    return given[0] if given else None


def _warn_of_nobody(client: Client, kind: TargetKind, target: str) -> None:
    """An order may come before its target is registered, but more often it is mistyped."""
    if kind not in _REGISTERED:
        return
    try:
        status, _ = client.exchange("GET", f"/v1/{_REGISTERED[kind]}/{segment(target)}", {})
    except ServiceUnreachableError:
        return  # the order is given already
    if status == HTTPStatus.NOT_FOUND:
        errors.print(
            f"warning: no {kind.value} {target} is registered there; if the name is mistyped, the"
            " order stops nobody",
        )


def _instant(text: str) -> int:
    try:
        if text.isascii() and text.isdecimal() and len(text) < 13:
            return int(text)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return int(moment.timestamp())
    except (ValueError, OverflowError):
        pass
    raise typer.BadParameter(
        f"--since {text!r}: seconds since 1970, or RFC 3339 with its offset expected"
    )


def _signing_key(file: Path) -> SigningKey:
    try:
        return SigningKey.from_pem(read_secret(file))
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if str(file) in text else f"{file}: {text}") from None


def _print_token(token: str, order: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"order": order, "token": token})
    else:
        print(token)


def _give(client: Client, token: str, reference: str, *, as_json: bool) -> None:
    answer = client.post("/v1/orders", {"token": token}, reason=reference)
    if as_json:
        print_json(answer)
        return
    order = order_of_row(answer)
    what = "in force" if order.lifted is None else "lifted"
    console.print(f"order {order.id} {what}: {order.kind.value} {order.target}")


def _acknowledgements(client: Client, order: str) -> dict[str, Any]:
    return client.get(f"/v1/orders/{segment(order)}/acknowledgements")


def _order_ids(client: Client) -> Iterator[str]:
    after = ""
    while True:
        page = client.get("/v1/orders", limit=_PAGE, after=after)
        for row in page.get("orders", []):
            yield order_of_row(row).id
        after = page.get("following") or ""
        if not after:
            return
