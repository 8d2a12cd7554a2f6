"""`zhenxian sign` and `zhenxian verify`: one call, by the running service or on the spot."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.text import Text

from zhenxian.cli.common import Json, console, errors, print_json, read_argument
from zhenxian.cli.configured import Config, settings_of
from zhenxian.service.one_call import signed, verified

Time = Annotated[
    int | None,
    typer.Option(help="Seconds since 1970 (iat, Date). Default: now.", show_default=False),
]


def _sentence(body: bytes) -> str:
    error = json.loads(body).get("requestError", {})
    for kind in error.values():
        text = str(kind["text"])
        for index, value in enumerate(kind["variables"], 1):
            text = text.replace(f"%{index}", value)
        return text
    return body.decode()


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def sign(
        orig: Annotated[str, typer.Argument(help="The display: the number the callee sees.")],
        dest: Annotated[list[str], typer.Argument(help="The called number or numbers.")],
        attest: Annotated[
            str, typer.Option(help="Highest attestation to request: A, B, C. The registry decides.")
        ] = "A",
        access: Annotated[
            str | None, typer.Option(help="The access the call came in by, as registered.")
        ] = None,
        origid: Annotated[
            str, typer.Option(help="origid of a call whose access is not known.")
        ] = "00000000-0000-4000-8000-000000000000",
        crn: Annotated[
            str | None, typer.Option(help="Why the caller calls, stated in the token (RFC 9795).")
        ] = None,
        purpose: Annotated[
            str | None, typer.Option(help="Why the caller calls, stated to this service alone.")
        ] = None,
        caller: Annotated[
            str | None, typer.Option(help="Behind a privacy number: the caller's own number.")
        ] = None,
        extension: Annotated[
            str | None, typer.Option(help="Behind an AXE number: what was dialled after it.")
        ] = None,
        iat: Time = None,
        config: Config = None,
        as_json: Json = False,
    ) -> None:
        """Sign one call with the configured key, as the service would.

        Prints the Identity header; the reason for the attestation goes to standard error.
        Exit status 1 when signing is refused.

        Example: zhenxian sign 8675588880001 8613800138000 --access bank-trunk
        """
        members: dict[str, Any] = {
            "attest": attest,
            "orig": {"tn": orig},
            "dest": {"tn": dest},
            "iat": int(time.time()) if iat is None else iat,
            "origid": origid,
        }
        if access is not None:
            members["access"] = access
        if caller is not None:
            members["caller"] = {"tn": caller}
        stated = {"crn": crn, "purpose": purpose, "extension": extension}
        members |= {name: value for name, value in stated.items() if value is not None}
        answer = signed(settings_of(config), members)
        if as_json:
            print_json(json.loads(answer.body))
        elif answer.status == 200:
            token = json.loads(answer.body)["signingResponse"]
            print(token["identity"])
            if "decision" in token:
                errors.print(
                    f"attestation {token['attest']}: {token['decisionText']} ({token['decision']})"
                )
        else:
            errors.print(_sentence(answer.body))
        raise typer.Exit(0 if answer.status == 200 else 1)

    @app.command()
    def verify(
        identity: Annotated[
            str,
            typer.Argument(help="Identity header value; - reads standard input, @FILE a file."),
        ],
        orig: Annotated[str, typer.Option(help="P-Asserted-Identity or From number.")],
        dest: Annotated[list[str], typer.Option(help="To number.")],
        purpose: Annotated[
            str | None, typer.Option(help="What the call is for, such as its Call-Info says.")
        ] = None,
        date: Time = None,
        config: Config = None,
        as_json: Json = False,
    ) -> None:
        """Verify one call against the configured trust list, as the service would.

        Names every check that was made and the first that failed. Exit status 1 unless the call
        passed.

        Example: zhenxian verify - --orig 12155550100 --dest 12155550113 < identity.txt
        """
        members: dict[str, Any] = {
            "from": {"tn": orig},
            "to": {"tn": dest},
            "time": int(time.time()) if date is None else date,
            "identity": read_argument(identity),
            "explain": True,
        }
        if purpose is not None:
            members["purpose"] = purpose
        answer = verified(settings_of(config), members)
        passed = False
        if answer.status == 200:
            response = json.loads(answer.body)["verificationResponse"]
            passed = response["verstat"] == "TN-Validation-Passed"
        if as_json:
            print_json(json.loads(answer.body))
        elif answer.status == 200:
            _print_verdict(response)
        else:
            errors.print(_sentence(answer.body))
        raise typer.Exit(0 if passed else 1)


def _print_verdict(response: dict[str, Any]) -> None:
    console.print(response["verstat"], style="bold")
    if "reasoncode" in response:
        console.print(
            f"{response['reasoncode']} {response['reasontext']}: {response['reasondesc']}"
            f" ({response['reason']})"
        )
        if "reasonHeader" in response:
            console.print(f"Reason: {response['reasonHeader']}")
    else:
        console.print(f"attestation {response['attest']}, signed by SPC {response['spc']}")
    for entry in response.get("checks", []):
        for name in entry["passed"]:
            console.print(Text.assemble("  ", ("ok", "green"), f"    {name}"))
        if entry["failed"]:
            failed = f" {entry['failed']}: {entry['detail']}"
            console.print(Text.assemble("  ", ("failed", "red"), failed))
