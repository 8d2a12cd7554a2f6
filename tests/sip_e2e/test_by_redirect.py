"""Kamailio asks by SIP, with what stock Debian has."""

from __future__ import annotations

import socket
import threading

from sip_e2e.ways import PATIENT, PLENTY, EveryOutage, EveryWay, arrives

from bench.sip.phones import until
from bench.sip.scenarios import NONE, Expected
from bench.sip.stage import Line
from zhenxian.sip.message import read_head
from zhenxian.sip.responses import Origin, response


class TestRedirect(EveryWay, EveryOutage):
    config = "redirect.cfg"

    @staticmethod
    def lines(node):
        where = f"sip:{node.redirect}"
        return {"ZX_SIGNING": where, "ZX_VERIFYING": where}

    def test_a_service_that_is_away_and_comes_back(self, stage, hurried):
        with stage.signing.away():
            arrives(hurried, "no-signing", Expected(verstat=NONE, identities=0))
        with stage.verifying.away():
            arrives(hurried, "no-verifying", Expected(verstat=NONE))
        assert until(lambda: self.verifies_again(hurried, "restarted"))


class Forbids:
    """A redirect service that takes nobody: 403 without Reason."""

    def __enter__(self):
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _answer(self):
        while (received := self._socket.recvfrom(65_536))[0] != b"end":
            data, source = received
            if not data.startswith(b"INVITE "):
                continue
            self.asked += 1
            head = read_head(data)
            answer = response(head, Origin(*source, "udp"), 403, tag="stub")
            self._socket.sendto(answer, source)


def test_a_service_that_takes_no_question_of_the_proxy_stops_no_call(stage):
    with Forbids() as stub:
        own = {"ZX_SIGNING": f"sip:{stub.address}", "ZX_VERIFYING": f"sip:{stub.address}"}
        own |= {"ZX_LARGEST": PLENTY, "ZX_TIMEOUT": PATIENT}
        with Line(stage, "forbidden-redirect", "redirect.cfg", own, own) as line:
            arrives(line, "forbidden", Expected(verstat=NONE, identities=0))
        assert stub.asked >= 2
