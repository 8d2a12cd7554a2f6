"""What somebody writes into an INVITE, or does on a connection, to be taken for another."""

from __future__ import annotations

import asyncio
import re

import pytest
from sips import Reply, invite

from zhenxian.simulation.demo import BANK, CALLEE, COURIER
from zhenxian.sip import stream
from zhenxian.sip.access import AccessRules, networks
from zhenxian.sip.admission import Door
from zhenxian.sip.advice import Action, Advice
from zhenxian.sip.digest import Digest, add_user, load_users
from zhenxian.sip.message import parse
from zhenxian.sip.routes import JSON, as_lines
from zhenxian.sip.stream import StreamProtocol

TERMINATING = "/sip/v1/terminating"
PASSED = "TN-Validation-Passed"


def _identity(reply):
    assert reply["Identity"] is not None
    return f"Identity: {reply['Identity']}"


# Calls for help


@pytest.mark.parametrize("called", ["<sip:110@b.example;user=phone>", "<urn:service:sos>"])
def test_who_writes_a_call_for_help_into_to_alone_gets_no_signature(line_of, called):
    line = line_of(trunk="call-centre-trunk")
    reply = line.ask(called=called)
    assert (reply.code, reply["Identity"]) == (302, None)
    assert line.ask(called=called, uri="urn:service:sos")["Identity"] is not None


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("called", ["<sip:110@b.example;user=phone>", "<urn:service:sos>"])
def test_a_signature_for_a_call_for_help_is_for_no_fork_that_goes_elsewhere(
    line_of, called, together
):
    line = line_of(trunk="call-centre-trunk")
    both = [
        invite(called=called, call_id="one@a.example", uri=uri)
        for uri in ("urn:service:sos", f"tel:+{CALLEE}")
    ]
    replies = line.send(*both) if together else [line.send(one)[0] for one in both]
    assert [reply["Identity"] is not None for reply in replies] == [True, False]


@pytest.mark.parametrize(
    "uri",
    [
        f"sip:+{CALLEE};phone-context=+8x@b.example",  # nothing that we read, and others route
        f"sip:{CALLEE[2:]};phone-context=+861@b.example",
        f"sip:+{CALLEE}99999@b.example",  # dialled too long: a network takes what it needs
        "sip:4711@b.example",  # an extension
    ],
)
def test_where_a_call_for_help_by_to_alone_goes_need_not_be_understood(line_of, uri):
    line = line_of(trunk="call-centre-trunk")
    reply = line.ask(called="<sip:110@b.example;user=phone>", uri=uri)
    assert (reply.code, reply["Identity"]) == (302, None)


@pytest.mark.parametrize("uri", ["urn:service:sos", "tel:110", "sip:110@192.0.2.9"])
def test_a_call_for_help_goes_on_whoever_asks_and_however_it_is_written(line_of, uri):
    strange = line_of(door=Door(AccessRules(), allowed=networks(("198.51.100.0/24",))))
    assert strange.ask(uri=uri).code == 302
    assert strange.ask().code == 403
    line = line_of()
    broken = invite(uri=uri).replace(b"CSeq: 1 INVITE", b"CSeq: 1 OPTIONS")
    assert [reply.code for reply in line.send(broken)] == [302]
    assert [reply.code for reply in line.send(broken.replace(uri.encode(), b"sip:a@b"))] == [400]


AT_ANOTHER = "sip:110@elsewhere.example"  # an extension there, or the centre


def test_a_call_for_help_at_a_host_that_is_not_ours_is_not_rejected(line_of):
    line = line_of(trunk="call-centre-trunk", sip={"failed": "reject"})
    for uri, called in ((AT_ANOTHER, f"<{AT_ANOTHER}>"), (AT_ANOTHER, f"<tel:+{CALLEE}>")):
        reply = line.ask(uri=uri, called=called)
        assert (reply.code, reply["Identity"]) == (302, None)
    own = line_of()
    assert own.ask(uri=AT_ANOTHER, called=f"<{AT_ANOTHER}>")["Identity"]  # as of any extension
    # What goes to a subscriber, whatever To says, is as any other.
    assert line.ask(called=f"<{AT_ANOTHER}>").code == 403
    assert (
        line.ask(uri="sip:111@elsewhere.example", called="<sip:111@elsewhere.example>").code == 403
    )


def test_a_call_for_help_at_a_host_that_is_not_ours_goes_on_when_it_is_verified(line_of):
    line = line_of(sip={"failed": "reject"})
    line.ask(_identity(line.ask()), signing=False)  # the certificate is there
    for uri, code in ((AT_ANOTHER, 302), (f"sip:+{CALLEE}@b.example", 438)):
        spoof = line.ask(
            _identity(line.ask()), caller=f"<sip:+{COURIER}@a.example>", uri=uri, signing=False
        )
        assert spoof.code == code
        assert PASSED not in (spoof["P-Asserted-Identity"] or "")


def test_a_call_for_help_whose_caller_cannot_be_read_goes_on(line_of):
    line = line_of()
    reply = line.ask("P-Asserted-Identity: nobody", uri=AT_ANOTHER)
    assert (reply.code, reply["Identity"]) == (302, None)
    assert line.ask("P-Asserted-Identity: nobody", uri="tel:110").code == 302
    assert line.ask("P-Asserted-Identity: nobody").code == 400


@pytest.mark.parametrize("method", ["OPTIONS", "BYE", "MESSAGE", "CANCEL"])
def test_no_other_request_is_signed_or_verified_over_http(line_of, method):
    desk = line_of().desk
    headers = {"content-type": "message/sip", "accept": "application/json"}
    for path, field in (
        ("/sip/v1/originating?access=bank-trunk", "Subject: x"),
        ("/sip/v1/terminating", f"P-Asserted-Identity: <tel:+{BANK};verstat={PASSED}>"),
    ):
        octets = invite(field, method=method)
        told = desk.http("POST", path, content=octets, headers=headers).json()
        assert (told["action"], told["headers"]) == ("continue", [])
        assert told["text"] == f"{method} begins no call"
        assert told["remove"] == (["P-Asserted-Identity"] if "verstat" in field else [])
    assert not desk.logged()


# Displays


def test_a_token_of_one_number_vouches_for_no_other_that_is_shown(line_of):
    asserted = f"P-Asserted-Identity: <tel:+{BANK}>"
    for first, verstat in (("asserted", "No-TN-Validation"), ("from", "TN-Validation-Failed")):
        line = line_of(sip={"caller": first})
        line.ask(_identity(line.ask()), signing=False)  # the certificate is there
        reply = line.ask(
            _identity(line.ask()), asserted, caller=f"<sip:+{COURIER}@a.example>", signing=False
        )
        assert reply["P-Asserted-Identity"].endswith(f";verstat={verstat}>")
        assert reply["P-Attestation-Indicator"] is None
    same = line.ask(_identity(line.ask()), asserted, signing=False)
    assert same["P-Asserted-Identity"] == f"<tel:+{BANK};verstat={PASSED}>"


def test_forks_that_show_another_number_are_asked_about(line):
    own, call = f"P-Asserted-Identity: <tel:+{BANK}>", {"call_id": "one@a", "tag": "t1"}
    spoofed = {"caller": f"<sip:+{COURIER}@a.example>", **call}
    assert [reply.code for reply in line.send(invite(own, **call))] == [302]
    assert [reply.code for reply in line.send(invite(own, **spoofed))] == [403]
    both = {"call_id": "two@a", "tag": "t1"}
    together = line.send(invite(own, **both), invite(own, **(spoofed | both)))
    assert [reply.code for reply in together] == [302, 403]


VERSTATS = [
    f"<sip:+{BANK};verstat={PASSED}@a.example>",
    f"<sip:+{BANK};VERSTAT={PASSED}@a.example>",
    f"<sip:+{BANK};%76erstat={PASSED}@a.example>",
    f"<sip:+{BANK};verstat=TN%2DValidation%2DPassed@a.example>",
    f"<sip:+{BANK}@a.example;verstat={PASSED}>",
    f"<tel:+{BANK};verstat={PASSED}>",
]


@pytest.mark.parametrize("caller", VERSTATS)
def test_a_verstat_that_came_with_from_does_not_stay(line_of, caller):
    line = line_of()
    assert line.ask(caller=caller, signing=False).code == 403
    asserted = f"P-Asserted-Identity: <tel:+{BANK}>, <tel:+{COURIER}>"  # cannot be read
    for lines in ((), (asserted,)):
        told = _posted(line.desk, *lines, caller=caller)
        assert "From" in told["remove"]
        (sender,) = [each for each in told["headers"] if each.startswith("From: ")]
        assert "erstat" not in sender
        assert sender.endswith(";tag=a1")


def _posted(desk, *lines, **more):
    headers = {"content-type": "message/sip", "accept": JSON}
    answer = desk.http("POST", TERMINATING, content=invite(*lines, **more), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_who_pretends_to_be_in_a_dialog_is_not_believed(line):
    called = f"<sip:+{CALLEE}@b.example>;tag=b9"
    claims = (f"P-Asserted-Identity: <tel:+{BANK};verstat={PASSED}>", "P-Attestation-Indicator: A")
    told = _posted(line.desk, *claims, called=called)
    assert told["remove"] == ["P-Asserted-Identity", "P-Attestation-Indicator"]
    usual = _posted(line.desk, f"P-Asserted-Identity: <tel:+{BANK}>", called=called)
    assert usual["remove"] == []


def test_names_of_fields_are_no_expressions():
    advice = Advice(action=Action.CONTINUE, reason="x", text="x", remove=(".*", "X-A+", "From"))
    line = as_lines(advice).decode().split("\n")[1]
    pattern = re.compile(f"({line})")
    assert [name for name in (".*", "X-A+", "From") if pattern.fullmatch(name)] == [
        ".*",
        "X-A+",
        "From",
    ]
    assert not any(pattern.fullmatch(name) for name in ("Route", "X-A", "X-AA", ".", "*"))


def test_a_withheld_caller_is_named_in_no_compact_field(line):
    number = f"<tel:+{BANK}>"
    told = _posted(line.desk, "Privacy: id", f"s: call +{BANK}", f"b: {number}", ".*: " + BANK)
    assert {"Referred-By", "b", "Subject", "s", ".*"} <= {*told["remove"]}


# Who asks


@pytest.mark.parametrize(
    ("lines", "caller"),
    [
        (("X-Trunk: bank-trunk", "X-Trunk: call-centre-trunk"), "<sip:a@b>"),
        ((), "<sip:a@b;otg=bank-trunk>;otg=call-centre-trunk"),
        ((), "<sip:a@b;otg=bank-trunk;otg=call-centre-trunk>"),
    ],
)
def test_an_access_that_two_tell_is_none(lines, caller):
    rules = AccessRules(parameter="otg", header="X-Trunk")
    assert rules.access(parse(invite(*lines, caller=caller)), "192.0.2.1") is None
    one = parse(invite("X-Trunk: bank-trunk", "X-Trunk: bank-trunk"))
    assert rules.access(one, "192.0.2.1") == "bank-trunk"


def _tended(line):
    start = len(line.replies)
    line.clock.now += 1
    line.redirector.transactions.tend()
    return line.replies[start:]


@pytest.mark.parametrize("what", ["digest", "rate", "extension"])
def test_who_is_not_taken_is_answered_once(line_of, tmp_path, what):
    add_user(tmp_path / "users.toml", "proxy", "zhenxian", "secret")
    digest = Digest(load_users(tmp_path / "users.toml"), b"k" * 32, lambda: 1_000.0)
    door = Door(AccessRules(), digest=digest) if what == "digest" else Door(AccessRules())
    if what == "rate":
        door = Door(AccessRules(), rate=0.5)
    line = line_of(door=door)
    lines = ("Require: dance",) if what == "extension" else ()
    request = invite(*lines)
    assert line.send(request)[0].code == {"digest": 401, "rate": 503, "extension": 420}[what]
    assert _tended(line) == []
    assert len(line.redirector.transactions) == 0
    help_ = line.send(invite(*lines, uri="urn:service:sos"))
    assert [reply.code for reply in help_] == [302]
    assert _tended(line) == []


def test_credentials_serve_in_one_process_alone(line_of, tmp_path):
    add_user(tmp_path / "users.toml", "proxy", "zhenxian", "secret")
    marks = set()
    for _ in range(2):  # as another worker has it, or the same after a restart
        line = line_of(sip={"digest": str(tmp_path / "users.toml")})
        marks.add(line.desk.service.sip_digest._mark("x"))
    assert len(marks) == 2


# Transactions


def test_a_branch_that_is_used_again_for_another_call_is_no_retransmission(line):
    first, other = invite(branch="z9hG4bKx"), invite(branch="z9hG4bKx", called="<sip:+8610@b>")
    answers = [line.send(first)[0], line.send(other)[0], line.send(other)[0]]
    assert [reply["Call-ID"] for reply in answers] == [
        Reply(b"SIP/2.0 200 x\r\n" + data.partition(b"\r\n")[2])["Call-ID"]
        for data in (first, other, other)
    ]
    assert answers[1].data == answers[2].data
    assert len(line.redirector.transactions) == 1


def test_both_listeners_are_asked_about_one_request(line):
    request = invite()
    assert line.send(request)[0]["Identity"] is not None
    assert line.send(request, signing=False)[0]["P-Asserted-Identity"] is not None


# Connections


class Transport:
    """A connection's other end: what was written, and whether it is open."""

    def __init__(self, host="192.0.2.1"):
        self.host, self.octets, self.open, self.reading = host, b"", True, True

    def get_extra_info(self, _):
        return self.host, 5060

    def write(self, octets):
        self.octets += octets

    def is_closing(self):
        return not self.open

    def close(self):
        self.open = False

    abort = close

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    @property
    def codes(self):
        return [int(code) for code in re.findall(rb"SIP/2.0 ([0-9]{3})", self.octets)]


@pytest.fixture
def connected(line):
    """Runs a talk over connections: connected(talk), which is given a function that makes one."""

    def run(talk, limit=8):
        open_ = set()

        def connect(host="192.0.2.1"):
            protocol = StreamProtocol(line.redirector, open_, limit, signing=True, transport="tcp")
            transport = Transport(host)
            protocol.connection_made(transport)
            return protocol, transport

        async def within():
            try:
                await talk(connect)
            finally:
                for protocol in list(open_):
                    protocol.connection_lost(None)

        asyncio.run(within())

    return run


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: 0\r\nl: %d",
        b"l: 0\r\nContent-Length: %d",
        b"Subject: x\nContent-Length: %d\r\nContent-Length: 0",
        b"Subject: x\n\r\nContent-Length: 0\r\nX: %d",
    ],
)
def test_no_body_becomes_a_request_of_its_own(connected, lengths):
    hidden = invite(method="OPTIONS")
    outer = invite().replace(b"Content-Length: 0", lengths % len(hidden))

    async def talk(connect):
        protocol, transport = connect()
        protocol.data_received(outer + hidden)
        await asyncio.sleep(0)
        assert not transport.open
        assert 200 not in transport.codes

    connected(talk)


def test_what_can_be_told_apart_does_not_end_the_connection(connected):
    odd = [
        invite(*["X: y"] * 300),
        invite().replace(b"Max-Forwards: 70", b"Subject: a\nb\r\nMax-Forwards: 70"),
        invite().replace(b"Content-Length: 0", b"Content-Length: 0\r\nl: 0"),
        invite("X: " + "x" * 70_000),
    ]

    async def talk(connect):
        protocol, transport = connect()
        for data in odd:
            protocol.data_received(data)
        protocol.data_received(invite(body="x" * 70_000)[:40_000])
        protocol.data_received(b"x" * 40_000)  # the rest of it, and of nothing
        await asyncio.sleep(0)
        assert transport.codes[:4] == [400, 400, 400, 513]
        assert transport.open

    connected(talk)


def test_a_large_body_is_not_kept_and_what_follows_is_read(connected):
    large = invite(body="x" * 200_000)

    async def talk(connect):
        protocol, transport = connect()
        for at in range(0, len(large), 5_000):
            protocol.data_received(large[at : at + 5_000])
            assert len(protocol._data) < 66_000
        protocol.data_received(invite(method="OPTIONS"))
        await asyncio.sleep(0)
        assert sorted(transport.codes) == [200, 302]

    connected(talk)


def test_an_octet_in_a_while_keeps_no_connection(connected, monkeypatch):
    monkeypatch.setattr(stream, "MESSAGE_SECONDS", 0.2)

    async def talk(connect):
        protocol, transport = connect()
        loop = asyncio.get_running_loop()
        until = loop.time() + 30
        while transport.open and loop.time() < until:
            protocol.data_received(b"I")
            await asyncio.sleep(0.02)
        assert not transport.open

    connected(talk)


def test_octets_that_come_alone_cost_little(connected, benchmark_seconds):
    head = invite(*["X: y"] * 200, body="x" * 30_000)

    async def talk(connect):
        protocol, transport = connect()
        with benchmark_seconds(1.0):
            for at in range(len(head)):
                protocol.data_received(head[at : at + 1])
        await asyncio.sleep(0)
        assert transport.codes == [302]

    connected(talk)


def test_answers_that_nobody_fetches_are_not_asked_for(connected):
    async def talk(connect):
        protocol, transport = connect()
        protocol.pause_writing()
        assert not transport.reading
        protocol.resume_writing()
        assert transport.reading

    connected(talk)


def test_who_has_most_connections_makes_room(connected):
    async def talk(connect):
        _, quiet = connect("192.0.2.9")
        many = [connect("192.0.2.66")[1] for _ in range(30)]
        assert quiet.open
        assert sum(transport.open for transport in many) == 7
        assert many[-1].open

    connected(talk)


@pytest.mark.parametrize("answered", [True, False])
def test_who_asks_again_on_a_new_connection_is_answered_there(connected, answered):
    """A proxy whose connection was cut off, as where others crowd it out."""

    async def talk(connect):
        asked = invite()
        protocol, transport = connect()
        protocol.data_received(asked)
        if answered:
            await asyncio.sleep(0)
        protocol.abort()
        protocol.connection_lost(None)
        again, following = connect()
        again.data_received(asked)
        await asyncio.sleep(0)
        assert following.codes == [302]
        assert transport.codes == [302] * answered

    connected(talk)
