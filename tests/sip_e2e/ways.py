"""What holds for each way of asking the service, by the files of deploy/kamailio as they are."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from bench.sip.phones import Call, until, verstat
from bench.sip.proxies import speaks
from bench.sip.scenarios import FAILED, NONE, PASSED, Expected, faults, run, scenarios
from bench.sip.stage import Line
from zhenxian.passport.jws import SigningKey
from zhenxian.registry.model import TargetKind
from zhenxian.registry.orders import Action, Instruction, sign_instruction
from zhenxian.simulation.demo import BANK, BANK_ORIGID, COURIER, REGULATOR, SHOP, SOUTH, pool_calls

TITLES = {one.call.name: one.title for one in scenarios(None)}
PLENTY = "65000"  # octets a datagram of the loopback network takes
PATIENT = "20000"  # milliseconds that a busy machine may take
_POOL_ORIGID = "a3000000-0000-4000-8000-000000000009"


def seen(line, call):
    outcome = line.caller.call(call)
    return outcome, line.callee.invites(call.name)


def arrives(line, name, expected, **call):
    found = faults(expected, *seen(line, Call(name=name, **call)))
    assert found == [], found


def told(calls, wanted):
    """Whether the end of a call was told, with the seconds of its short talk."""
    return any(call.items() >= wanted.items() and call.get("seconds") in range(3) for call in calls)


def asked(node):
    """How many questions a service has answered so far."""
    return len(re.findall(r'"event":"(?:signing|verification)"', node.logged()))


class Recorder:
    """Passes reports of calls that are over on to a service, and keeps them."""

    def __init__(self, node):
        self.calls, self.statuses = [], set()
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                try:
                    answer = httpx.post(
                        node.base + self.path, content=body, trust_env=False, timeout=20,
                        headers={"content-type": self.headers["content-type"]},
                    )  # fmt: skip
                except httpx.TransportError:  # the service is away: a test's doing
                    self.send_error(503)
                    return
                recorder.statuses.add(answer.status_code)
                recorder.calls += json.loads(body)
                self.send_response(answer.status_code)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class EveryWay:
    """Subclasses name their file and the lines of it that say where the service is."""

    config = ""
    rate = 100  # calls a second that a busy machine takes; `make demo-sip` has 300 for a minute

    @staticmethod
    def lines(node):
        """The lines that are changed for a service."""
        raise NotImplementedError

    @classmethod
    def line_of(cls, stage, name, timeout=PATIENT, **more):
        def own(node):
            return cls.lines(node) | {"ZX_LARGEST": PLENTY, "ZX_TIMEOUT": timeout}

        return Line(stage, name, cls.config, own(stage.signing), own(stage.verifying), **more)

    @pytest.fixture(scope="class")
    @classmethod
    def recorders(cls, stage):
        with Recorder(stage.signing) as signing, Recorder(stage.verifying) as verifying:
            yield signing, verifying

    @pytest.fixture(scope="class")
    @classmethod
    def line(cls, stage, recorders):
        told = tuple({"ended.cfg": {"ZX_REPORTS_TO": one.base}} for one in recorders)
        with cls.line_of(stage, cls.__name__, beside=told) as running:
            yield running
            for proxy in (running.originating, running.terminating):
                assert "exited by a signal" not in proxy.said()
                said = [x for x in proxy.said().splitlines() if "CRITICAL" in x]
                # dialog's own word for a BYE that is quicker than the ACK, or sent twice
                assert [x for x in said if "CRITICAL: dialog [" not in x] == []

    @pytest.fixture(scope="class")
    @classmethod
    def played(cls, stage, line):
        wanted = list(scenarios(stage))
        return {one.call.name: one.expected for one in wanted}, run(line, wanted)

    @pytest.mark.parametrize("name", TITLES)
    def test_what_caller_and_callee_see(self, played, name):
        expected, found = played
        assert faults(expected[name], *found[name]) == [], TITLES[name]

    def test_a_reinvite_is_no_second_question(self, stage, line):
        before = [asked(node) for node in (stage.signing, stage.verifying)]
        arrives(line, "once", Expected(attest="A"), again=True)
        first, second = line.callee.invites("once")
        assert len(first.all("identity")) == 1
        assert second.all("identity") == []
        arrives(line, "twice", Expected(attest="A"))
        wanted = [count + 2 for count in before]  # the log is written after the answer
        assert until(lambda: [asked(n) for n in (stage.signing, stage.verifying)] == wanted)

    def test_a_replay_fails_with_another_call_id_and_with_the_same_one_later(self, stage, line):
        arrives(line, "original", Expected(attest="A"))
        copied = line.middle.seen["original"]
        for call_id in ("replay///1@middle", copied.one("call-id")):
            stranger = line.stranger()
            with contextlib.closing(stranger):
                time.sleep(
                    2.1 if call_id == copied.one("call-id") else 0
                )  # verifier.repeat_seconds
                answers = stranger.call(copied.of_another_call(call_id, stranger.via))
            assert answers[-1].status == 200
        invites = [*line.callee.invites("replay"), *line.callee.invites("original")[1:]]
        verstats = [v for i in invites for v in i.all("p-asserted-identity")]
        assert verstats == [f"<tel:+{BANK};verstat={FAILED}>"] * 2

    def test_branches_of_a_fork_are_no_replays(self, line):
        """Somebody forked before the terminating proxy: two INVITEs that differ in Via."""
        for attempt in range(5):  # on a busy machine they are too far apart now and then
            if self.forked(line, f"forked-{attempt}") < 1.5:  # of verifier.repeat_seconds
                verstats = [verstat(i) for i in line.callee.invites(f"forked-{attempt}")]
                assert verstats == [PASSED, PASSED]
                return
        pytest.fail("no two branches came within verifier.repeat_seconds")

    def forked(self, line, name):
        """Two branches of a call; seconds from before the first to after the second."""
        line.middle.change(name, lambda _: None)  # the stranger carries it on
        caller = threading.Thread(target=line.caller.call, args=(Call(name=name, cancel=400),))
        caller.start()
        assert until(lambda: name in line.middle.seen)
        began = time.monotonic()
        with contextlib.closing(line.stranger()) as stranger:
            invite = line.middle.seen[name].without("record-route")
            for last in (False, True):
                via = f"SIP/2.0/UDP {stranger.via};branch=z9hG4bK{time.time_ns()}"
                answers = stranger.call(invite.having("Via", via), bye=last)
                assert answers[-1].status == 200
            took = time.monotonic() - began
        caller.join()
        return took

    def test_health(self, line):
        for proxy in (line.originating, line.terminating):  # by UDP, so that one asks again
            assert any(speaks(proxy.address) for _ in range(20))

    def test_an_order_is_in_force_with_the_next_call(self, stage, line):
        number = time.time_ns() // 1_000_000
        nodes = (stage.signing, stage.verifying)
        shop = {"from_": f"<sip:+{SHOP}@a.example>", "access": "call-centre-trunk"}
        arrives(line, "before-order", Expected(number=f"+{SHOP}", attest="A"), **shop)
        for node in nodes:
            order(node, "stop", number)
        try:
            arrives(line, "ordered", Expected(final=403, verstat=None), **shop)
            token = stage.token("1001", SHOP)
            line.middle.change("ordered-signed", lambda m: m.having("Identity", token).replaced(
                "from", BANK, SHOP))  # fmt: skip
            arrives(
                line,
                "ordered-signed",
                Expected(verstat=FAILED, number=f"+{SHOP}", cause=437, same_from=False),
            )
            line.middle.change("ordered-unsigned", lambda m: m.without("Identity").replaced(
                "from", BANK, SHOP))  # fmt: skip
            outcome, invites = seen(line, Call(name="ordered-unsigned"))
            assert outcome.final.status == 603
            assert invites == []
        finally:
            for node in nodes:
                order(node, "lift", number)
        arrives(line, "after-order", Expected(number=f"+{SHOP}", attest="A"), **shop)

    def test_ends_of_calls_are_told(self, line, recorders):
        arrives(line, "talks", Expected(attest="A"), talk=100)
        signing, verifying = recorders
        wanted = {"access": "bank-trunk", "answered": True,
                  "orig": f"+{BANK}", "dest": "+8613800138000"}  # fmt: skip
        assert until(lambda: told(signing.calls, wanted))
        assert signing.statuses == {200}
        ours = {"spc": "1001", "origid": BANK_ORIGID, **wanted}
        del ours["access"]
        assert until(lambda: told(verifying.calls, ours))
        assert verifying.statuses == {200}

    def test_certificate_host_down(self, stage, line):
        arrives(line, "host-up", Expected(attest="A"))
        stage.certificates.stop()
        try:
            arrives(line, "host-down-known", Expected(attest="A"))
            token = stage.token(SOUTH, COURIER, x5u=f"{stage.certificates.base}/new.pem")
            line.middle.change("host-down-new", lambda m: m.having("Identity", token).replaced(
                "from", BANK, COURIER))  # fmt: skip
            arrives(
                line,
                "host-down-new",
                Expected(verstat=NONE, number=f"+{COURIER}", cause=436, same_from=False),
            )
        finally:
            stage.certificates.start()

    def test_pools_are_refused_by_both_sides(self, stage, line):
        display = found_signing(stage.signing)
        arrives(line, "pooled", Expected(final=403, verstat=None),
                from_=f"<sip:+{display}@a.example>", access="pool-trunk")  # fmt: skip
        display, callee = found_verifying(stage)
        line.middle.change("pooled-arrives", lambda m: m.having(
            "Identity", stage.token(SOUTH, display, origid=_POOL_ORIGID, callee=callee)
        ).replaced("from", BANK, display).replaced("to", "8613800138000", callee))  # fmt: skip
        outcome, invites = seen(line, Call(name="pooled-arrives"))
        assert (outcome.final.first, invites) == ("SIP/2.0 608 Rejected", [])
        assert outcome.final.one("call-info") == (
            f"<{stage.certificates.base}/stir/v1/redress/contact.jws>;purpose=jwscard"
        )
        assert outcome.final.all("reason") == []

    def test_a_few_seconds_of_load(self, line):
        told = line.load(Call(name="load"), rate=self.rate, seconds=3)
        assert told.unexpected == {}
        assert told.verdicts == {PASSED: 3 * self.rate}


class EveryOutage:
    """The service stands still: by the time-outs of the files."""

    @pytest.fixture(scope="class")
    @classmethod
    def hurried(cls, stage):
        with cls.line_of(stage, f"{cls.__name__}-hurried", timeout="500") as running:
            yield running

    def test_a_service_that_stands_still_costs_half_a_second_and_soon_nothing(self, stage, hurried):
        for node, expected in (
            (stage.signing, Expected(verstat=NONE, identities=0)),
            (stage.verifying, Expected(verstat=NONE)),
        ):
            for attempt in range(3):  # what others take on this machine comes to the calls' times
                name = f"{node.folder.name}-{attempt}"
                times = self.standing_still(node, hurried, name, expected)
                assert until(lambda name=name: self.verifies_again(hurried, name))
                # The breaker opens with the sixth call; one call in two seconds tries again.
                assert min(times[:5]) >= 400, times
                if sorted(times[5:])[1] < min(times[:5]) - 100:
                    break
            else:
                pytest.fail(f"calls wait as before: {times} ms")

    def standing_still(self, node, line, name, expected):
        """What calls take while the service stands still, in milliseconds."""
        times = []
        with node.stalled():
            for index in range(8):
                outcome, invites = seen(line, Call(name=f"stalled-{name}-{index}"))
                times.append(outcome.milliseconds)
                found = faults(expected, outcome, invites)
                assert found == [], found
        return times

    def verifies_again(self, line, name):
        outcome, invites = seen(line, Call(name=f"again-{name}-{time.monotonic_ns()}"))
        return outcome.final.status == 200 and PASSED in str(invites[0].all("p-asserted-identity"))

    @pytest.fixture(scope="class")
    @classmethod
    def patient(cls, stage):
        """By time-outs that no machine is too slow for: the CANCEL comes while a question waits."""
        with cls.line_of(stage, f"{cls.__name__}-patient") as running:
            yield running

    def test_a_cancel_is_answered_while_a_question_waits(self, stage, patient):
        for node in (stage.signing, stage.verifying):
            with node.stalled():
                call = Call(name=f"cancelled-{node.folder.name}", cancel=100)
                outcome, invites = seen(patient, call)
            assert outcome.final.status == 487
            assert invites == []
            assert until(lambda node=node: self.verifies_again(patient, f"c-{node.folder.name}"))


def order(node, action, number):
    now = int(time.time())
    token = sign_instruction(
        Instruction(
            action=Action(action), order=f"sip-{number}", issuer=REGULATOR,
            number=number + (action == "lift"), reference="test", kind=TargetKind.SUBJECT,
            target="call-centre", since=now, iat=now,
        ),
        SigningKey.from_pem(node.world.regulator.read_bytes()),
        REGULATOR,
    )  # fmt: skip
    assert "id" in node.ask("POST", "/v1/orders?reason=test", {"token": token})


def unanswered(node, display, callee, **whose):
    """Tell that nobody answered: many numbers alone make no pool."""
    node.ask("POST", "/v1/displays/ended", [
        {**whose, "orig": display, "dest": callee, "answered": False, "seconds": 0}])  # fmt: skip


def found_signing(node):
    """Make a pool's calls until it is found; a display of it."""
    for display, callee in pool_calls():
        answer = node.ask("POST", "/stir/v1/signing", {"signingRequest": {
            "attest": "A", "orig": {"tn": display}, "dest": {"tn": [callee]},
            "iat": int(time.time()), "access": "pool-trunk"}})  # fmt: skip
        if "signingResponse" not in answer:
            return display
        unanswered(node, display, callee, access="pool-trunk")
    pytest.fail("the pool was not found")


def found_verifying(stage):
    for display, callee in pool_calls(first="8"):
        token = stage.token(SOUTH, display, callee=callee, origid=_POOL_ORIGID)
        answer = stage.verifying.ask("POST", "/stir/v1/verification", {"verificationRequest": {
            "from": {"tn": display}, "to": {"tn": [callee]}, "time": int(time.time()),
            "identity": token}})["verificationResponse"]  # fmt: skip
        if answer["verstat"] == FAILED:
            return display, callee
        unanswered(stage.verifying, display, callee, spc=SOUTH, origid=_POOL_ORIGID)
    pytest.fail("the pool was not found")
