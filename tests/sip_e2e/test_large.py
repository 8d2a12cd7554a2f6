"""An INVITE that a datagram should not carry goes by TCP, and by UDP to who refuses it."""

from __future__ import annotations

import pytest
from sip_e2e.ways import PATIENT, seen

from bench.sip.phones import Call
from bench.sip.scenarios import PASSED
from bench.sip.stage import Line


@pytest.mark.parametrize("transports", [("u1", "t1"), ("u1",)], ids=["tcp", "udp-only"])
def test_over_1300_octets(stage, transports):
    def lines(node):
        where = f"sip:{node.redirect}"
        return {"ZX_SIGNING": where, "ZX_VERIFYING": where, "ZX_TIMEOUT": PATIENT}

    name = "-".join(transports)
    with Line(
        stage, f"large-{name}", "redirect.cfg", lines(stage.signing), lines(stage.verifying),
        transports=transports,
    ) as line:  # fmt: skip
        outcome, (invite,) = seen(line, Call(name="large"))
        assert outcome.final.status == 200
        assert PASSED in invite.one("p-asserted-identity")
        assert len(outcome.sent.dumps()) < 600
        assert len(invite.dumps()) > 1300
        hops = [via.split(" ")[0] for via in invite.all("via")]
        assert hops == [
            f"SIP/2.0/{'TCP' if 't1' in transports else 'UDP'}",  # to the callee
            "SIP/2.0/TCP",  # between the proxies
            "SIP/2.0/UDP",  # the caller's own
        ]
