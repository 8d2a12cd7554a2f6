"""A privacy number's binding ends while calls come in, and while one runs."""

from __future__ import annotations

import threading
import time

from running import signing, verdict

from zhenxian.api.calls.messages import SIGNING
from zhenxian.simulation.demo import PRIVACY, RIDER

LEFT = 3  # seconds from setting the end to it
CALLERS = 3


def _ask(client):
    """When a call was asked for, when it was answered, and how."""
    body = signing(PRIVACY, access="platform-trunk", caller={"tn": RIDER})
    begun = time.time()
    answer = client.post(SIGNING, json=body)
    return begun, time.time(), answer


def test_calls_race_the_end_of_their_binding_and_a_running_one_is_not_touched(serve):
    service = serve()
    with service.client() as client:
        kept = client.get("/v1/bindings/ride-1").json()
        end = int(time.time()) + LEFT
        body = {name: value for name, value in kept.items() if name not in ("id", "version")}
        changed = client.put("/v1/bindings/ride-1?reason=test", json={**body, "until": end})
        assert changed.status_code == 200, changed.text

        seen = []

        def call():
            with service.client() as own:
                begun = 0.0
                while begun < end + 0.5:  # so that each of them comes too late at least once
                    begun, *_ = asked = _ask(own)
                    seen.append(asked)

        threads = [threading.Thread(target=call) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

        before = [answer for _, done, answer in seen if done < end]
        after = [answer for begun, _, answer in seen if begun >= end]
        assert before
        assert after
        # To the instant, not to the second: whatever was answered in time was signed, whatever came
        # too late was not, and what was under way at that instant is one or the other.
        assert {answer.status_code for answer in before} == {200}
        attested = {answer.json()["signingResponse"]["attest"] for answer in before}
        assert attested == {"A"}
        assert {answer.status_code for answer in after} == {403}
        assert all("NOT_BOUND" in answer.text for answer in after)
        assert {answer.status_code for *_, answer in seen} == {200, 403}

        # The last call that was signed goes on: its token verifies though its binding has ended,
        # which is kept for an hour yet.
        identity = before[-1].json()["signingResponse"]["identity"]
        assert client.get("/v1/bindings/ride-1").json()["until"] == end
        told = verdict(client, PRIVACY, identity, callId="running-call")
        assert told["verstat"] == "TN-Validation-Passed"
        again = verdict(client, PRIVACY, identity, callId="running-call")
        assert again["verstat"] == "TN-Validation-Passed"
        versions = client.get("/v1/bindings/ride-1/history").json()["versions"]
        assert versions[-1]["record"]["until"] == end
    assert "Traceback" not in service.logged()
