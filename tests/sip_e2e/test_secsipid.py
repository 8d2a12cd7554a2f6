"""Kamailio's own secsipid module on either side of the service, and what it does not see."""

from __future__ import annotations

import pytest
from sip_e2e.ways import PATIENT, PLENTY, arrives, seen

from bench.sip.phones import Call
from bench.sip.scenarios import FAILED, PASSED, Expected
from bench.sip.stage import Line
from zhenxian.simulation.demo import BANK, NORTH, SHOP


@pytest.fixture(scope="module")
def own(stage):
    """The module's lines, with the key and the chain that the service signs with."""
    return stage.secsipid(NORTH) | {"ZX_LARGEST": PLENTY}


@pytest.fixture(scope="module")
def ours(stage):
    def lines(node):
        return {"ZX_SERVICE": node.base, "ZX_LARGEST": PLENTY, "ZX_TIMEOUT": PATIENT}

    return lines


def test_the_module_signs_and_the_service_verifies(stage, own, ours):
    with Line(
        stage, "module-signs", "secsipid.cfg", own, ours(stage.verifying),
        verifying_config="json.cfg",
    ) as line:  # fmt: skip
        arrives(line, "module-signs", Expected(attest="A"))
        line.middle.change("module-altered", lambda m: m.replaced("from", BANK, SHOP))
        arrives(
            line,
            "module-altered",
            Expected(verstat=FAILED, number=f"+{SHOP}", cause=438, same_from=False),
        )
        # It signs whatever it is told: whose number that is, is for the registry to know.
        spoofed = {"from_": f"<sip:+{SHOP}@a.example>"}
        arrives(line, "module-spoofs", Expected(number=f"+{SHOP}", attest="A"), **spoofed)


def test_the_service_signs_and_the_module_verifies(stage, own, ours):
    with Line(
        stage, "module-verifies", "json.cfg", ours(stage.signing), own,
        verifying_config="secsipid.cfg",
        environment={"SSL_CERT_FILE": str(stage.certificates.ca_file)},
    ) as line:  # fmt: skip
        arrives(line, "module-verifies", Expected(attest="A"))
        line.middle.change("module-failed", lambda m: m.replaced("from", BANK, SHOP))
        arrives(line, "module-failed", Expected(verstat=FAILED, number=f"+{SHOP}", same_from=False))
        # Nor does it know a token that was used before.
        again = line.stranger()
        copied = line.middle.seen["module-verifies"]
        assert again.call(copied.of_another_call("module-replay///1", again.via))[-1].status == 200
        again.close()
        (invite,) = line.callee.invites("module-replay")
        assert invite.one("p-asserted-identity") == f"<tel:+{BANK};verstat={PASSED}>"
        outcome, invites = seen(line, Call(name="module-unsigned", to="<sip:110@b.example>"))
        assert (outcome.final.status, len(invites)) == (200, 1)
