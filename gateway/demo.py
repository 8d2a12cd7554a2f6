"""The demonstration: sample carriers, a registry, and calls honest and not, over real HTTP."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpcore
import msgspec

from certs.ca import DevelopmentPki, create_development_pki
from gateway.calls import SIGNING, VERIFICATION
from gateway.publish import PATH, Publisher
from passport.claims import Destination, Header, PASSporT
from passport.errors import ZhenxianError
from passport.identity import IdentityHeader, parse_identity_header
from passport.jws import SigningKey, Token, b64url_decode, b64url_encode
from passport.ppt.shaken import Attestation, Shaken
from passport.tn import TN
from registry.csvfile import ACCESS_COLUMNS, HOLDING_COLUMNS

NORTH, SOUTH, BANNED = "1001", "2002", "6666"
CARRIERS: Final = {NORTH: "North Telecom", SOUTH: "South Mobile", BANNED: "Banned Voice"}

BANK: Final = "8675588880001"
COURIER: Final = "8613900139000"
SHOP: Final = "8675566660001"
MVNO: Final = "8617100001234"
HOTLINE: Final = "95001"
CALLEE: Final = "8613800138000"
_UNKNOWN: Final = "8675511112222"

_BANK_ORIGID: Final = "b0000000-0000-4000-8000-000000000001"
_CENTRE_ORIGID: Final = "c0000000-0000-4000-8000-000000000002"
_MVNO_ORIGID: Final = "d0000000-0000-4000-8000-000000000003"
_GATEWAY_ORIGID: Final = "e0000000-0000-4000-8000-000000000004"

HOLDINGS: Final = (
    ("8675588880000", "8675588889999", "bank", "verified", "direct", NORTH),
    (COURIER, "", "courier", "verified", "direct", SOUTH),
    (SHOP, "", "call-centre", "verified", "direct", NORTH),
    ("8617100001000", "8617100001999", "mvno-customer", "unverified", "direct", NORTH),
    (HOTLINE, "", "bank", "verified", "do-not-originate", NORTH),
)
ACCESSES: Final = (
    ("bank-trunk", _BANK_ORIGID, "bank", "good"),
    ("call-centre-trunk", _CENTRE_ORIGID, "call-centre", "good"),
    ("mvno-trunk", _MVNO_ORIGID, "mvno-customer", "good"),
)


class World(NamedTuple):
    """What the demonstration made on disk."""

    config: Path
    pki: DevelopmentPki
    published: Path


class Line(NamedTuple):
    """One line of the table, and what it should have been."""

    call: str
    display: str
    attest: str
    verstat: str
    reason: str
    expected: tuple[str, str, str]

    @property
    def good(self) -> bool:
        """True when the outcome is the expected one."""
        return (self.attest, self.verstat, self.reason) == self.expected


def prepare(folder: Path, listener: str, now: int) -> World:
    """Make PKI, registry and settings below a folder; an existing PKI is kept.

    Raises:
        ConfigError: the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pki = create_development_pki(folder / "pki", CARRIERS, now=now, revoked=(BANNED,))
    for name, columns, rows in (
        ("holdings.csv", HOLDING_COLUMNS, HOLDINGS),
        ("accesses.csv", ACCESS_COLUMNS, ACCESSES),
    ):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)
    state = folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    publisher = Publisher(state / "published")
    for spc in CARRIERS:
        publisher.publish(pki.carriers[spc].chain.read_bytes())
    config = folder / "zhenxian.toml"
    config.write_text(
        f"""# Made by `zhenxian demo`: a development service with sample carriers.
data = "state"

[server]
calls = "{listener}"

[signer]
key = "{pki.carriers[NORTH].key}"
chain = "{pki.carriers[NORTH].chain}"

[trust]
roots = "{pki.root}"
crl_issuers = "{pki.crl_issuers}"
crl_folder = "{pki.crl_folder}"

[fetch]
allow_http_loopback = true  # certificates are fetched from this service itself

[registry]
holdings = "holdings.csv"
accesses = "accesses.csv"
""",
        encoding="utf-8",
    )
    return World(config, pki, state / "published")


class Client:
    """Speaks ATIS-1000082 to the service as a SIP proxy does."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._http = httpcore.ConnectionPool()

    def alive(self) -> bool:
        """True when the service answers."""
        try:
            return self._http.request("GET", f"{self.base}/healthz").status == 200
        except httpcore.NetworkError:
            return False

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One request; the decoded answer."""
        response = self._http.request(
            "POST",
            self.base + path,
            headers={"content-type": "application/json"},
            content=msgspec.json.encode(body),
        )
        decoded: dict[str, Any] = msgspec.json.decode(response.content)
        return decoded

    def sign(self, orig: str, attest: str, access: str | None, origid: str) -> dict[str, Any]:
        """Ask for a signature."""
        request: dict[str, Any] = {
            "attest": attest,
            "orig": {"tn": orig},
            "dest": {"tn": [CALLEE]},
            "iat": int(time.time()),
            "origid": origid,
        }
        if access is not None:
            request["access"] = access
        return self.post(SIGNING, {"signingRequest": request})

    def verify(self, orig: str, identity: str | None, date: int | None = None) -> dict[str, Any]:
        """Ask for a verdict."""
        request: dict[str, Any] = {
            "from": {"tn": orig},
            "to": {"tn": [CALLEE]},
            "time": int(time.time()) if date is None else date,
        }
        if identity is not None:
            request["identity"] = identity
        answer: dict[str, Any] = self.post(VERIFICATION, {"verificationRequest": request})
        response: dict[str, Any] = answer["verificationResponse"]
        return response


class _Demonstration:
    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world

    def elsewhere(
        self, spc: str, orig: str, *, iat: int | None = None, key: SigningKey | None = None
    ) -> str:
        """A token that another carrier signed, attestation A, with its own certificate."""
        files = self._world.pki.carriers[spc]
        chain = files.chain.read_bytes()
        x5u = self._client.base + PATH + Publisher.name(chain)
        passport = PASSporT(
            Header(x5u, "shaken"),
            TN(orig),
            Destination((TN(CALLEE),)),
            int(time.time()) if iat is None else iat,
            Shaken(Attestation.A, _GATEWAY_ORIGID),
        )
        header = b64url_encode(passport.header.dumps())
        payload = b64url_encode(passport.payload())
        signer = key or SigningKey.from_pem(files.key.read_bytes())
        signature = b64url_encode(signer.sign(header + b"." + payload))
        return IdentityHeader(Token(header, payload, signature), x5u, "ES256", "shaken").dumps()

    def signed(
        self,
        call: str,
        orig: str,
        access: str | None,
        origid: str,
        expected: tuple[str, str, str],
        *,
        shown: str | None = None,
        change: Callable[[str], str] | None = None,
    ) -> Line:
        """A call signed here; then verified as it arrives, perhaps changed on its way."""
        answer = self._client.sign(orig, "A", access, origid)
        if "signingResponse" not in answer:
            reason = answer["requestError"]["policyException"]["variables"][0]
            return Line(call, orig, "refused", "", reason, expected)
        response = answer["signingResponse"]
        identity = str(response["identity"])
        display = shown or orig
        if change is not None:
            identity = change(identity)
        verdict = self._client.verify(display, identity)
        reason = verdict["reason"]
        if reason == "VERIFIED":
            reason = response["decision"]
        return Line(call, display, response["attest"], verdict["verstat"], reason, expected)

    def arrived(
        self,
        call: str,
        orig: str,
        identity: str | None,
        expected: tuple[str, str, str],
        date: int | None = None,
    ) -> Line:
        """A call that comes from elsewhere."""
        verdict = self._client.verify(orig, identity, date)
        return Line(
            call,
            orig,
            verdict.get("attest", "-"),
            verdict["verstat"],
            verdict["reason"],
            expected,
        )

    def lines(self) -> Iterator[Line]:
        passed, failed, none = (
            "TN-Validation-Passed",
            "TN-Validation-Failed",
            "No-TN-Validation",
        )
        yield self.signed(
            "bank calls from its own number", BANK, "bank-trunk", _BANK_ORIGID,
            ("A", passed, "HELD_AND_VERIFIED"),
        )  # fmt: skip
        yield self.signed(
            "call centre shows the bank's number (spoofed)", BANK, "call-centre-trunk",
            _CENTRE_ORIGID, ("refused", "", "DISPLAY_OF_ANOTHER"),
        )  # fmt: skip
        yield self.signed(
            "MVNO number without a real name behind it", MVNO, "mvno-trunk", _MVNO_ORIGID,
            ("refused", "", "HOLDING_UNVERIFIED"),
        )  # fmt: skip
        yield self.signed(
            "somebody calls as the bank's hotline", HOTLINE, "bank-trunk", _BANK_ORIGID,
            ("refused", "", "DO_NOT_ORIGINATE"),
        )  # fmt: skip
        yield self.signed(
            "call centre shows a number nobody is known to hold", _UNKNOWN, "call-centre-trunk",
            _CENTRE_ORIGID, ("B", passed, "DISPLAY_UNKNOWN"),
        )  # fmt: skip
        yield self.signed(
            "gateway traffic, access unknown", _UNKNOWN, None, _GATEWAY_ORIGID,
            ("C", passed, "ACCESS_UNKNOWN"),
        )  # fmt: skip
        yield self.signed(
            "shop's signed call, display changed on its way", SHOP, "call-centre-trunk",
            _CENTRE_ORIGID, ("A", failed, "ORIG_MISMATCH"), shown=BANK,
        )  # fmt: skip
        yield self.signed(
            "the same, and the token changed to match", SHOP, "call-centre-trunk",
            _CENTRE_ORIGID, ("A", failed, "SIGNATURE_INVALID"), shown=BANK, change=_forge,
        )  # fmt: skip
        courier = self.elsewhere(SOUTH, COURIER)
        yield self.arrived(
            "courier's call, signed by its carrier", COURIER, courier, ("A", passed, "VERIFIED")
        )
        yield self.arrived(
            "the courier's token again, with another call", COURIER, courier,
            ("-", failed, "REPLAYED"),
        )  # fmt: skip
        old = int(time.time()) - 600
        yield self.arrived(
            "a token ten minutes old", COURIER, self.elsewhere(SOUTH, COURIER, iat=old),
            ("-", none, "IAT_STALE"),
        )  # fmt: skip
        yield self.arrived(
            "another carrier signs for the bank's number", BANK, self.elsewhere(SOUTH, BANK),
            ("-", failed, "SPC_NOT_HOLDER"),
        )  # fmt: skip
        yield self.arrived(
            "a carrier whose certificate was revoked", _UNKNOWN,
            self.elsewhere(BANNED, _UNKNOWN), ("-", failed, "CERT_REVOKED"),
        )  # fmt: skip
        own = SigningKey.from_pem(self._world.pki.carriers[BANNED].key.read_bytes())
        yield self.arrived(
            "signed with a key that is not the certificate's", COURIER,
            self.elsewhere(SOUTH, COURIER, key=own), ("-", failed, "SIGNATURE_INVALID"),
        )  # fmt: skip
        yield self.arrived(
            "a call without Identity header (or an SBC's health request)", BANK, None,
            ("-", none, "NO_IDENTITY"),
        )  # fmt: skip


def _forge(identity: str) -> str:
    """Write the bank's number into a token that was signed for the shop's."""
    token = parse_identity_header(identity).token
    payload = b64url_decode(token.payload, "payload").replace(SHOP.encode(), BANK.encode())
    return identity.replace(token.payload.decode(), b64url_encode(payload).decode())


def demonstrate(client: Client, world: World) -> Iterator[Line]:
    """Make the calls, one after the other.

    Raises:
        DemonstrationError: an answer that is no answer.
    """
    try:
        yield from _Demonstration(client, world).lines()
    except (KeyError, msgspec.DecodeError, httpcore.NetworkError) as error:
        raise DemonstrationError(f"the service gave no usable answer: {error!r}") from error


class DemonstrationError(ZhenxianError):
    """The service did not answer as one does."""
