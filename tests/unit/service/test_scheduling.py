"""What gives way to the calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from zhenxian.service.spawn import spawned_module
from zhenxian.service.threads import ready_threads

_PROGRAM = """
import ctypes, json, os, platform
from zhenxian.service import scheduling
scheduling.give_way()
told = ctypes.create_string_buffer(scheduling._ATTRIBUTES.size)
get = {314: 315, 274: 275}[scheduling._SET[platform.machine()]]
failed = ctypes.CDLL(None).syscall(get, 0, told, len(told), 0)
slice_ = scheduling._ATTRIBUTES.unpack(told.raw)[5]
print(json.dumps([os.nice(0), os.sched_getscheduler(0), failed, slice_]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux' scheduler")
def test_it_works_in_batches_of_long_slices():
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    nice, policy, failed, slice_ = json.loads(ended.stdout)
    assert (nice, policy) == (os.nice(0), os.SCHED_BATCH)
    kernel = tuple(map(int, os.uname().release.split(".")[:2]))
    assert failed or kernel < (6, 12) or slice_ == 100_000_000


@pytest.mark.skipif(os.nice(0) > 9, reason="no room to be nicer")
def test_it_is_nicer_before_it_looks_for_installed_packages(tmp_path, monkeypatch):
    """It took a processor from calls for 50 ms, of each import and each large list."""
    told = tmp_path / "told"
    (tmp_path / "sitecustomize.py").write_text(
        f"import os\nopen({str(told)!r}, 'w').write(str(os.nice(0)))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = spawned_module("zhenxian.service.aside", (), "zhenxian.service.list_reader")
    process.orders.close()
    assert process.out.read()  # an empty list is none
    process.end()
    assert int(told.read_text()) == os.nice(0) + 10


def test_where_a_sandbox_forbids_it_it_is_done_without(monkeypatch):
    def forbidden(*_):
        raise PermissionError

    for name in ("sched_getscheduler", "sched_setscheduler", "getpriority", "nice"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, forbidden)
            # In a thread of its own, whose policy it would be.
            threads = ready_threads(2)
            assert threads.submit(lambda: 1).result(20) == 1
            threads.shutdown()
