"""The container image is built from the Dockerfile, and run as it says that it may be."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest
from container import Builder, Container, first_process, stop
from running import free_port, signed, until, verdict

from zhenxian.simulation.demo import BANK

_LOOK = """
import os, pathlib, sys
assert (os.getuid(), os.getgid(), os.getgroups()) == (10001, 10001, []), os.getresuid()
assert "CapEff:\\t0000000000000000" in pathlib.Path("/proc/self/status").read_text()
for place in ("/x", "/etc/zhenxian/x", "/opt/zhenxian/x", "/usr/x", "/home/x"):
    try:
        pathlib.Path(place).write_text("")
    except OSError as error:
        assert error.errno == 30, error  # read-only, also for who might write
    else:
        raise AssertionError(place)
for place in ("/tmp/x", "/var/lib/zhenxian/x"):
    pathlib.Path(place).write_text("")
"""

_PREPARE = """
import pathlib, sys, time
from zhenxian.simulation.demo import prepare
folder = pathlib.Path("/var/lib/zhenxian")
prepare(folder, sys.argv[1], int(time.time()))
(folder / "state").rename(folder / "data")
"""


@pytest.fixture(scope="module")
def builder():
    made = Builder()
    yield made
    made.remove()


def test_the_image_is_built_and_serves(builder, tmp_path, record_property):
    record_property("told", f"container image: built on {builder.make_base()}")
    config = builder.build()
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "zhenxian", "doctor", "--alive"]
    assert config["Volumes"] == {"/var/lib/zhenxian": {}}
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    root = builder.mount()

    listener = f"127.0.0.1:{free_port()}"
    volume, settings, log = tmp_path / "volume", tmp_path / "zhenxian.toml", tmp_path / "log"
    volume.mkdir()
    settings.write_text("")
    builder.own(volume)
    mounts = {"/var/lib/zhenxian": volume, "/etc/zhenxian/zhenxian.toml": settings}
    container = Container(root, config, mounts)
    python = "/opt/zhenxian/bin/python"
    health = config["Healthcheck"]["Test"][1:]

    assert container.run(python, "-c", _LOOK, log=log) == 0, log.read_text()
    assert container.run(python, "-c", _PREPARE, listener, log=log) == 0, log.read_text()
    settings.write_text(builder.read(volume / "zhenxian.toml").replace('data = "state"', ""))
    assert container.run(*health, log=log) == 1

    serving = container.start(log=log)
    try:
        base = f"http://{listener}"

        def ready():
            try:
                return httpx.get(f"{base}/readyz", timeout=10).status_code == 200
            except httpx.TransportError:
                assert serving.poll() is None, log.read_text()
                return False

        until(ready, 60)
        assert container.run(*health, log=log) == 0, log.read_text()
        if os.geteuid() == 0:
            status = Path(f"/proc/{first_process(serving)}/status").read_text()
            assert "Uid:\t10001\t10001\t10001\t10001" in status
        with httpx.Client(base_url=base, timeout=20, trust_env=False) as client:
            answer = signed(client, BANK)
            assert (answer["attest"], answer["decision"]) == ("A", "HELD_AND_VERIFIED")
            judged = verdict(client, BANK, answer["identity"])
            assert judged["verstat"] == "TN-Validation-Passed"
        assert stop(serving) == 0, log.read_text()
        assert container.run(*health, log=log) == 1
    finally:
        serving.kill()
        serving.wait()
    assert "Traceback" not in log.read_text()
