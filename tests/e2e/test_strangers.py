"""What strangers put into a fleet's Redis leaves the nodes ready; it is told and logged."""

from __future__ import annotations

import json
import secrets
import time

import forks
import pytest
from fleet.redis_server import RedisServer
from running import Service, environment, signed, until, verdict

from zhenxian.simulation.demo import BANK

pytestmark = pytest.mark.redis

TWIN = json.dumps({"node": "a", "seen": 1 << 40, "cursor": 0, "version": "0", "key": "{}"})
JUNK = {
    "a delta of conduct": ("XADD", "{zx}:conduct", "*", "n", "other/7", "d", "junk"),
    "fields of conduct": ("XADD", "{zx}:conduct", "*", "x", "y"),
    "a finding": ("HSET", "{zx}:conduct:findings", "junk", "junk"),
    "an entry of a node": ("HSET", "{zx}:nodes", "stranger", "junk"),
    "a node of this name": ("HSET", "{zx}:nodes", "a", TWIN),
    "an acknowledgement": ("HSET", "{zx}:acks:o-1", "x:y", "junk"),
    "a replay key of another kind": ("RPUSH", "zx:seen:probe", "junk"),
    "keys of others": ("SET", "zx:whatever", "junk"),
    "a checkpoint list": ("SADD", "{zx}:checkpoints", "junk"),
}
OF_ANOTHER_KIND = ("{zx}:conduct", "{zx}:conduct:findings", "{zx}:nodes", "{zx}:checkpoints")


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture
def node(tmp_path, redis):
    key = tmp_path / "identity.key"
    key.write_bytes(secrets.token_bytes(32))
    key.chmod(0o600)
    service = Service(
        tmp_path / "a",
        registry__node="a",
        registry__identity_key=key,
        fleet__url=redis.url,
        fleet__timeout=10,
    )
    seeding = ["fleet", "seed", "-c", service.world.config]
    forks.run(seeding, environment(**service.settings)).check_returncode()
    yield service.start()
    service.stop()
    assert "Traceback" not in service.logged()


LATE = "replays: Redis cannot be asked for replays"  # within 0.2 s, on a machine that is busy


def stays_ready(node, rounds=12):
    """Asked again and again: ready, signing A and verifying. What it remarks at the last."""
    with node.client() as client:

        def stays():
            answer = client.get("/readyz")
            late = all(problem.startswith(LATE) for problem in answer.json()["problems"])
            assert late, answer.text
            given = signed(client, BANK)
            assert given["attest"] == "A"
            judged = verdict(client, BANK, given["identity"])
            time.sleep(0.2)
            if answer.status_code != 200 or judged["reason"] == "REPLAY_UNKNOWN":
                return False
            assert judged["verstat"] == "TN-Validation-Passed"
            return answer

        for _ in range(rounds):
            answer = until(stays)
        return " ".join(answer.json().get("remarks", []))


def test_junk_in_redis_is_a_remark(node, redis):
    with node.client() as client:
        until(lambda: client.get("/readyz").status_code == 200)
    for words in JUNK.values():
        redis.ask(*words)
    stays_ready(node)
    until(lambda: "other/7" in stays_ready(node, 1))
    node.stop()
    node.start()
    with node.client() as client:
        until(lambda: client.get("/readyz").status_code == 200)
    stays_ready(node)


def test_keys_of_another_kind_are_a_remark(node, redis):
    with node.client() as client:
        until(lambda: client.get("/readyz").status_code == 200)
    for key in OF_ANOTHER_KIND:
        redis.ask("DEL", key)
        redis.ask("SET", key, "junk")
    stays_ready(node)
    until(lambda: stays_ready(node, 1))
    for key in OF_ANOTHER_KIND:
        redis.ask("DEL", key)
    with node.client() as client:
        until(lambda: "remarks" not in client.get("/readyz").json())
