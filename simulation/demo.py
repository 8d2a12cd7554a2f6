"""The demonstration: sample carriers, a registry, and calls honest and not, over real HTTP."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpcore
import msgspec
from msgspec.structs import replace

from zhenxian.api.published.certificates import PATH, Publisher
from zhenxian.certs.ca import DevelopmentPki, create_development_pki
from zhenxian.core.errors import ZhenxianError
from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import IdentityHeader, parse_identity_header
from zhenxian.passport.jws import SigningKey, Token, b64url_decode, b64url_encode
from zhenxian.passport.ppt.shaken import Attestation, Shaken
from zhenxian.registry.journal import put
from zhenxian.registry.model import (
    KINDS,
    Access,
    AccessKind,
    Binding,
    BindingModel,
    Holding,
    Kind,
    Record,
    Reseller,
    Subject,
    TargetKind,
    Use,
    Verification,
)
from zhenxian.registry.orders import Action, Instruction, sign_instruction
from zhenxian.simulation.client import CALLED, Client
from zhenxian.stores.key_file import load_node_key
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import REGISTRY_FILE

NORTH, SOUTH, BANNED = "1001", "2002", "6666"
CARRIERS: Final = {NORTH: "North Telecom", SOUTH: "South Mobile", BANNED: "Banned Voice"}

BANK: Final = "8675588880001"
COURIER: Final = "8613900139000"
SHOP: Final = "8675566660001"
SHOP_SECOND: Final = "8675566660002"
MVNO: Final = "8617100001234"
RESOLD: Final = "8617100005678"
HOTLINE: Final = "95001"
CARRIER_SERVICE: Final = "10086"
CALLEE: Final = CALLED
PRIVACY: Final = "700100020000001"
RIDER: Final = "8613700137000"
_UNKNOWN: Final = "8675511112222"

BANK_ORIGID: Final = "b0000000-0000-4000-8000-000000000001"
CENTRE_ORIGID: Final = "c0000000-0000-4000-8000-000000000002"
_MVNO_ORIGID: Final = "d0000000-0000-4000-8000-000000000003"
_GATEWAY_ORIGID: Final = "e0000000-0000-4000-8000-000000000004"
_PLATFORM_ORIGID: Final = "f0000000-0000-4000-8000-000000000005"
_RESOLD_ORIGID: Final = "a0000000-0000-4000-8000-000000000006"
POOL_ORIGID: Final = "a1000000-0000-4000-8000-000000000007"
_BOX_ORIGID: Final = "a2000000-0000-4000-8000-000000000008"
_POOL_CALLS: Final = 250  # calls after which a pool must have been found
_BRANCH_ORIGID: Final = "a3000000-0000-4000-8000-000000000009"
_BRIEF: Final = (5, 12)  # of a pool, every fifth callee answers, for so many seconds
_TALKS: Final = (2, 80)  # of a bank, every second
# Area codes of cities in which the call company rents numbers.
_CITIES: Final = (
    "10", "20", "21", "22", "23", "24", "25", "27", "28", "29", "311", "351", "371", "411", "431",
    "451", "471", "512", "531", "532", "551", "571", "574", "591", "592", "731", "755", "771",
    "791", "851", "871", "898", "931", "971", "991",
)  # fmt: skip

REGULATOR: Final = "regulator"


def _city_number(code: str, index: int, first: str = "6") -> str:
    """The index-th fixed-line number of an area code."""
    return f"86{code}{first}{index:0{(12 if len(code) == 2 else 13) - 3 - len(code)}d}"


def _held(
    first: str, last: str, subject: str, spc: str, *, verified: bool = True,
    use: Use = Use.DIRECT, reseller: str = "",
) -> Holding:  # fmt: skip
    return Holding(
        numbers=TNRange(TN(first), TN(last or first)),
        subject=subject,
        verification=Verification.VERIFIED if verified else Verification.UNVERIFIED,
        use=use,
        spcs=(spc,),
        reseller=reseller,
        evidence="sample contract" if verified else "",
    )


def records(now: int) -> tuple[Record, ...]:
    """The sample registry: who is who, who holds what, and one binding of a privacy number."""
    return (
        Subject(id="bank", name="Sample Bank"),
        Subject(id="courier", name="Sample Courier"),
        Subject(id="call-centre", name="Sample Call Centre"),
        Subject(id="mvno-customer", name="Somebody Ltd"),
        Subject(id="workshop", name="Sample Workshop"),
        Subject(id="platform", name="Sample Privacy Platform"),
        Reseller(id="sample-mvno", name="Sample MVNO", role="mvno"),
        Reseller(id="sample-agent", name="Sample Agent", role="call centre", parent="sample-mvno"),
        _held("8675588880000", "8675588889999", "bank", NORTH),
        _held(COURIER, "", "courier", SOUTH),
        _held(SHOP, "", "call-centre", NORTH),
        _held(SHOP_SECOND, "", "call-centre", NORTH),
        _held("8617100001000", "8617100001999", "mvno-customer", NORTH, verified=False,
              reseller="sample-mvno"),
        _held(RESOLD, "", "workshop", NORTH, reseller="sample-agent"),
        _held(HOTLINE, "", "bank", NORTH, use=Use.DO_NOT_ORIGINATE),
        _held("700100020000000", "700100020009999", "platform", NORTH, use=Use.PRIVACY),
        Access(id="bank-trunk", origid=BANK_ORIGID, subject="bank"),
        Access(id="call-centre-trunk", origid=CENTRE_ORIGID, subject="call-centre"),
        Access(id="mvno-trunk", origid=_MVNO_ORIGID, subject="mvno-customer",
               kind=AccessKind.ACCOUNT),
        Access(id="platform-trunk", origid=_PLATFORM_ORIGID, subject="platform"),
        Access(id="workshop-trunk", origid=_RESOLD_ORIGID, subject="workshop"),
        Binding(id="ride-1", platform="platform", model=BindingModel.AXB, x=TN(PRIVACY),
                a=TN(RIDER), since=now, b=TN(CALLEE)),
        Subject(id="pool-company", name="Sample Call Company"),
        Access(id="pool-trunk", origid=POOL_ORIGID, subject="pool-company"),
        *(_held(_city_number(code, 0), _city_number(code, 99), "pool-company", NORTH)
          for code in _CITIES),
        Subject(id="branch-bank", name="Sample Bank with Branches"),
        Access(id="branch-trunk", origid=_BRANCH_ORIGID, subject="branch-bank"),
        *(_held(_city_number(code, 0, "7"), _city_number(code, 99, "7"), "branch-bank", NORTH)
          for code in _CITIES),
    )  # fmt: skip


def _missing(data: Path, wanted: Sequence[Record]) -> list[Record]:
    """Those that the registry does not have; what somebody changed since stays as it is.

    Beside a binding of another privacy number, of an earlier release, its own gets another name.
    """
    registry, lacking = RegistryFile(data / REGISTRY_FILE, writer=True), list[Record]()
    try:
        for one in wanted:
            found = registry.get(KINDS[type(one)], one.key)
            before = found[1] if found is not None else None
            if isinstance(one, Binding) and isinstance(before, Binding) and before.x != one.x:
                named = replace(one, id=f"{one.id}-{one.x}")
                before = None if registry.get(Kind.BINDING, named.key) is None else named
                one = named  # noqa: PLW2901, the same binding under another name
            if before is None:
                lacking.append(one)
        return lacking
    finally:
        registry.close()


def register(data: Path, changes: Sequence[Record], now: int) -> None:
    """Put records into the registry file of a data folder; the service need not run.

    Raises:
        ZhenxianError: they contradict what is there; nothing was written.
    """
    registry = RegistryFile(data / REGISTRY_FILE, writer=True)
    try:
        registry.write(
            [put(record) for record in changes],
            author="demonstration",
            reason="sample data",
            now=now,
        )
    finally:
        registry.close()


class World(NamedTuple):
    """What the demonstration made on disk."""

    config: Path
    pki: DevelopmentPki
    published: Path
    regulator: Path


class Line(NamedTuple):
    """One line of the table, and what it should have been."""

    call: str
    display: str
    attest: str
    verstat: str
    reason: str
    expected: tuple[str, str, str]
    figures: str = ""  # what conduct showed

    @property
    def good(self) -> bool:
        """True when the outcome is the expected one."""
        return (self.attest, self.verstat, self.reason) == self.expected


def prepare(folder: Path, listener: str, now: int) -> World:
    """Make PKI, registry and settings below a folder; an existing PKI or registry is kept.

    Raises:
        ConfigError: the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pki = create_development_pki(folder / "pki", CARRIERS, now=now, revoked=(BANNED,))
    state = folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    register(state, _missing(state, records(now)), now)
    regulator = create_issuer(folder / "orders", REGULATOR)
    publisher = Publisher(state / "published")
    for spc in CARRIERS:
        publisher.publish(pki.carriers[spc].chain.read_bytes())
    config = folder / "zhenxian.toml"
    config.write_text(
        f"""# Made by `zhenxian demo`: a development service with sample carriers.
data = "state"

[server]
calls = "{listener}"

[numbers]
country = "CN"

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
issuers = "{regulator.issuers}"

[sip]
access_header = "X-Access"  # as deploy/ names it; listeners are given by --sip

[redress]
organisation = "{CARRIERS[NORTH]}"
email = "redress@north.example"
""",
        encoding="utf-8",
    )
    return World(config, pki, state / "published", regulator.key)


class _Issuer(NamedTuple):
    issuers: Path
    key: Path


def create_issuer(folder: Path, name: str) -> _Issuer:
    """A key pair for someone who gives orders, and the settings file that admits them."""
    folder.mkdir(mode=0o700, exist_ok=True)
    made = _Issuer(folder / "issuers.toml", folder / f"{name}.pem")
    if not made.key.exists():
        node = load_node_key(made.key, name)
        (folder / f"{name}.pub.pem").write_bytes(node.key.verifying_key.public_pem)
        made.issuers.write_text(f'[[issuer]]\nname = "{name}"\nkey = "{name}.pub.pem"\n')
    return made


def token_of(
    pki: DevelopmentPki,
    base: str,
    spc: str,
    orig: str,
    *,
    iat: int | None = None,
    key: SigningKey | None = None,
    callee: str = CALLEE,
    origid: str = _GATEWAY_ORIGID,
    x5u: str | None = None,
) -> str:
    """An Identity header that a carrier signed, whatever the registry says, attestation A.

    Args:
        base: where chains are published, up to the chain's name.
        key: another key than the certificate's.
        x5u: another place than that.
    """
    files = pki.carriers[spc]
    x5u = x5u or base + Publisher.name(files.chain.read_bytes())
    passport = PASSporT(
        Header(x5u, "shaken"),
        TN(orig),
        Destination((TN(callee),)),
        int(time.time()) if iat is None else iat,
        Shaken(Attestation.A, origid),
    )
    header = b64url_encode(passport.header.dumps())
    payload = b64url_encode(passport.payload())
    signer = key or SigningKey.from_pem(files.key.read_bytes())
    signature = b64url_encode(signer.sign(header + b"." + payload))
    return IdentityHeader(Token(header, payload, signature), x5u, "ES256", "shaken").dumps()


class _Demonstration:
    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world

    def elsewhere(
        self,
        spc: str,
        orig: str,
        *,
        iat: int | None = None,
        key: SigningKey | None = None,
        callee: str = CALLEE,
        origid: str = _GATEWAY_ORIGID,
    ) -> str:
        """A token that another carrier signed, attestation A, with its own certificate."""
        base = self._client.base + PATH
        return token_of(
            self._world.pki, base, spc, orig, iat=iat, key=key, callee=callee, origid=origid
        )

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
        caller: str | None = None,
    ) -> Line:
        """A call signed here; then verified as it arrives, perhaps changed on its way."""
        more = {"caller": {"tn": caller}} if caller is not None else {}
        answer = self._client.sign(orig, "A", access, origid, **more)
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
            "bank calls from its own number", BANK, "bank-trunk", BANK_ORIGID,
            ("A", passed, "HELD_AND_VERIFIED"),
        )  # fmt: skip
        yield self.signed(
            "call centre shows the bank's number (spoofed)", BANK, "call-centre-trunk",
            CENTRE_ORIGID, ("refused", "", "DISPLAY_OF_ANOTHER"),
        )  # fmt: skip
        yield self.signed(
            "MVNO number without a real name behind it", MVNO, "mvno-trunk", _MVNO_ORIGID,
            ("refused", "", "HOLDING_UNVERIFIED"),
        )  # fmt: skip
        yield self.signed(
            "somebody calls as the bank's hotline", HOTLINE, "bank-trunk", BANK_ORIGID,
            ("refused", "", "DO_NOT_ORIGINATE"),
        )  # fmt: skip
        yield self.signed(
            "somebody calls as a carrier's service number", CARRIER_SERVICE, "call-centre-trunk",
            CENTRE_ORIGID, ("refused", "", "DO_NOT_ORIGINATE"),
        )  # fmt: skip
        yield self.signed(
            "workshop calls from its number, resold by agent and MVNO", RESOLD, "workshop-trunk",
            _RESOLD_ORIGID, ("A", passed, "HELD_AND_VERIFIED"),
        )  # fmt: skip
        yield self.signed(
            "rider calls the customer behind a privacy number, bound", PRIVACY, "platform-trunk",
            _PLATFORM_ORIGID, ("A", passed, "BOUND"), caller=RIDER,
        )  # fmt: skip
        yield self.signed(
            "somebody else calls behind the same privacy number", PRIVACY, "platform-trunk",
            _PLATFORM_ORIGID, ("refused", "", "NOT_BOUND"), caller=MVNO,
        )  # fmt: skip
        yield self.signed(
            "call centre shows a number nobody is known to hold", _UNKNOWN, "call-centre-trunk",
            CENTRE_ORIGID, ("B", passed, "DISPLAY_UNKNOWN"),
        )  # fmt: skip
        yield self.signed(
            "gateway traffic, access unknown", _UNKNOWN, None, _GATEWAY_ORIGID,
            ("C", passed, "ACCESS_UNKNOWN"),
        )  # fmt: skip
        yield self.signed(
            "shop's signed call, display changed on its way", SHOP, "call-centre-trunk",
            CENTRE_ORIGID, ("A", failed, "ORIG_MISMATCH"), shown=BANK,
        )  # fmt: skip
        yield self.signed(
            "the same, and the token changed to match", SHOP, "call-centre-trunk",
            CENTRE_ORIGID, ("A", failed, "SIGNATURE_INVALID"), shown=BANK, change=_forge,
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
        yield self.branches_signed()
        yield self.pool_signed()
        yield self.pool_arrived()
        number = time.time_ns() // 1_000_000
        self.order("stop", number)
        try:
            yield self.signed(
                "the regulator stops the call centre: its number", SHOP, "call-centre-trunk",
                CENTRE_ORIGID, ("refused", "", "ORDERED"),
            )  # fmt: skip
            yield self.signed(
                "and its second number, which no order names", SHOP_SECOND, "call-centre-trunk",
                CENTRE_ORIGID, ("refused", "", "ORDERED"),
            )  # fmt: skip
            yield self.arrived(
                "nor does a call of it from elsewhere verify", SHOP_SECOND,
                self.elsewhere(NORTH, SHOP_SECOND), ("-", failed, "ORDERED"),
            )  # fmt: skip
        finally:
            self.order("lift", number)
        yield self.signed(
            "the order is lifted", SHOP, "call-centre-trunk",
            CENTRE_ORIGID, ("A", passed, "HELD_AND_VERIFIED"),
        )  # fmt: skip

    def branches_signed(self) -> Line:
        """A bank's branches call their customers: as many numbers, of as many cities, as a pool."""
        name = "bank whose branches call customers of their own cities"
        expected = ("A", "", "HELD_AND_VERIFIED")
        for call, (display, callee) in enumerate(pool_calls(first="7"), 1):
            answer = self._client.sign(
                display, "A", "branch-trunk", _BRANCH_ORIGID, dest={"tn": [callee]}
            )
            if "signingResponse" not in answer:
                reason = answer["requestError"]["policyException"]["variables"][0]
                return Line(f"{name}: call {call}", display, "refused", "", reason, expected)
            self._client.ended(call, _TALKS, display, callee, access="branch-trunk")
            signed = answer["signingResponse"]
            if signed["decision"] != expected[2]:
                break
        given, reason = signed["attest"], signed["decision"]
        return Line(f"{name}: {call} calls", display, given, "", reason, expected)

    def pool_signed(self) -> Line:
        """The call company shows each callee a number of the callee's city, until it is found."""
        name = "call company shows each callee a local number (打显)"
        expected = ("refused", "", "POOLED_DISPLAY")
        for call, (display, callee) in enumerate(pool_calls(), 1):
            answer = self._client.sign(
                display, "A", "pool-trunk", POOL_ORIGID, dest={"tn": [callee]}
            )
            if "signingResponse" in answer:
                self._client.ended(call, _BRIEF, display, callee, access="pool-trunk")
                continue
            reason = answer["requestError"]["policyException"]["variables"][0]
            figures = _plain(answer)
            return Line(f"{name}: call {call}", display, "refused", "", reason, expected, figures)
        return Line(f"{name}: {_POOL_CALLS} calls", "", "A", "", "not found", expected)

    def pool_arrived(self) -> Line:
        """The same from a carrier that signs whatever its customer shows."""
        name = "another carrier signs such calls, each token genuine"
        expected = ("-", "TN-Validation-Failed", "DISPLAY_POOLED")
        for call, (display, callee) in enumerate(pool_calls(first="8"), 1):
            token = self.elsewhere(SOUTH, display, callee=callee, origid=_BOX_ORIGID)
            verdict = self._client.verify(display, token, callee=callee)
            if verdict["verstat"] != "TN-Validation-Passed":
                figures = _plain(verdict)
                rejection = verdict.get("sipResponse", {})
                answer = f"{rejection.get('code')} {rejection.get('phrase')}"
                figures += f"\n  the proxy answers {answer}, Call-Info: {rejection.get('callInfo')}"
                return Line(
                    f"{name}: call {call}", display, "-", verdict["verstat"], verdict["reason"],
                    expected, figures,
                )  # fmt: skip
            whose = {"spc": SOUTH, "origid": _BOX_ORIGID}
            self._client.ended(call, _BRIEF, display, callee, **whose)
        return Line(f"{name}: {_POOL_CALLS} calls", "", "A", "", "not found", expected)

    def order(self, action: str, number: int) -> None:
        """Give an order of the sample regulator, or lift it."""
        now = int(time.time())
        token = sign_instruction(
            Instruction(
                action=Action(action),
                order=f"demo-{number}",
                issuer=REGULATOR,
                number=number + (action == "lift"),
                reference="demonstration",
                kind=TargetKind.SUBJECT,
                target="call-centre",
                since=now,
                iat=now,
            ),
            SigningKey.from_pem(self._world.regulator.read_bytes()),
            REGULATOR,
        )
        answer = self._client.post("/v1/orders?reason=demonstration", {"token": token})
        if "id" not in answer:
            raise DemonstrationError(f"the order was not accepted: {answer}")


def pool_calls(first: str = "6") -> Iterator[tuple[str, str]]:
    """Displays and callees: each callee once, shown a number of its own city."""
    chosen = random.Random(86)  # noqa: S311 -- the same calls in every run
    for call in range(_POOL_CALLS):
        code = chosen.choice(_CITIES)
        yield _city_number(code, chosen.randrange(100), first), _city_number(code, call, "5")


def _plain(answer: Mapping[str, Any]) -> str:
    """What was found, as the caller is told it."""
    found = answer.get("finding", {})
    return f"{found.get('plain', '')}\n  {found.get('plainChinese', '')}"


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
