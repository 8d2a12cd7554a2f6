"""What steps back behind the calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, json, os, platform
from zhenxian.service import aside
aside.step_back()
told = ctypes.create_string_buffer(aside._ATTRIBUTES.size)
get = {314: 315, 274: 275}[aside._SET[platform.machine()]]
failed = ctypes.CDLL(None).syscall(get, 0, told, len(told), 0)
slice_ = aside._ATTRIBUTES.unpack(told.raw)[5]
print(json.dumps([os.nice(0), os.sched_getscheduler(0), failed, slice_]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux' scheduler")
def test_it_is_nicer_a_batch_and_gives_way_at_once():
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    nice, policy, failed, slice_ = json.loads(ended.stdout)
    assert (nice, policy) == (min(19, os.nice(0) + 10), os.SCHED_BATCH)
    kernel = tuple(map(int, os.uname().release.split(".")[:2]))
    assert failed or kernel < (6, 12) or slice_ == 100_000_000
