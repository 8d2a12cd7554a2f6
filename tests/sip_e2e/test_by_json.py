"""Kamailio asks in JSON, by http_async_client."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sip_e2e.ways import PATIENT, PLENTY, EveryOutage, EveryWay, arrives

from bench.sip.scenarios import NONE, Expected
from bench.sip.stage import Line
from zhenxian.api.calls.requests import Dialect
from zhenxian.api.calls.responses import refused
from zhenxian.core.reasons import Reason


class TestJson(EveryWay, EveryOutage):
    config = "json.cfg"

    @staticmethod
    def lines(node):
        return {"ZX_SERVICE": node.base}


class Forbids(BaseHTTPRequestHandler):
    """The service, to a key whose role permits no calls."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = refused(Reason.FORBIDDEN, (), Dialect.ATIS)
        self.send_response(403)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.asked += 1

    def log_message(self, *_):
        pass


def test_a_service_that_takes_no_question_of_the_proxy_stops_no_call(stage):
    with ThreadingHTTPServer(("127.0.0.1", 0), Forbids) as stub:
        stub.asked = 0
        threading.Thread(target=stub.serve_forever).start()
        own = {"ZX_SERVICE": f"http://127.0.0.1:{stub.server_port}"}
        own |= {"ZX_LARGEST": PLENTY, "ZX_TIMEOUT": PATIENT}
        try:
            with Line(stage, "forbidden-json", "json.cfg", own, own) as line:
                arrives(line, "forbidden", Expected(verstat=NONE, identities=0))
        finally:
            stub.shutdown()
        assert stub.asked >= 2
