"""What stands in the place of a file of the data folder: no start, and no loop, waits for it."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from zhenxian.api.published.certificates import Publisher
from zhenxian.certs.files import octets_of
from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.service.data_folder import lock_data_folder
from zhenxian.service.identity_key import identity_key_of
from zhenxian.service.order_files import load_issuers, load_pins
from zhenxian.stores.analytics.file import ConductFile
from zhenxian.stores.analytics.sync import load_policy
from zhenxian.stores.clock import KeptClock
from zhenxian.stores.key_file import load_node_key, load_secret
from zhenxian.stores.sqlite.sorted_holdings import columns_path, load

SECONDS = 10.0


def _promptly(path, work):
    """What work gives or raises, however long it would wait for who writes to the pipe."""
    done = []

    def run():
        try:
            done.append(work())
        except (ConfigError, StoreUnavailableError, OSError) as error:
            done.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive() and path.is_fifo():
        os.close(os.open(path, os.O_RDWR))  # lets it go
    assert not thread.is_alive(), "it waits"
    return done[0]


def _fifo(path):
    os.mkfifo(path, 0o600)


def _folder(path):
    path.mkdir(mode=0o700)


def _endless(path):
    path.symlink_to("/dev/zero")


def _nowhere(path):
    path.symlink_to("/nowhere/at/all")


def _descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def _settings(path):
    return SimpleNamespace(registry=SimpleNamespace(identity_key=path))


CHAIN = "0" * 64 + ".pem"
READERS = {
    "log.key": load_secret,
    "node.key": lambda path: load_node_key(path, "n"),
    "named.key": lambda path: identity_key_of(_settings(path)),
    "issuers.toml": load_issuers,
    "nodes.toml": load_pins,
    "policy.toml": load_policy,
    "service.lock": lambda path: lock_data_folder(path.parent, "x"),
    CHAIN: lambda path: Publisher(path.parent).read(path.name),
    "any": octets_of,
}


@pytest.mark.parametrize("make", [_fifo, _folder, _endless])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_told_at_once(tmp_path, name, make):
    path = tmp_path / name
    make(path)
    before = _descriptors()
    error = _promptly(path, lambda: READERS[name](path))
    assert isinstance(error, ConfigError | StoreUnavailableError | OSError), error
    del error
    assert _descriptors() <= before


@pytest.mark.parametrize("make", [_fifo, _folder, _endless])
def test_sorted_holdings_that_are_no_file_are_none(tmp_path, make):
    path = columns_path(tmp_path / "registry.db")
    make(path)
    assert _promptly(path, lambda: load(tmp_path / "registry.db", "any")) is None


def test_a_file_that_grows_while_it_is_read_is_read_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 99)
    assert octets_of(path, 99) == b"x" * 99
    assert octets_of(Path("/proc/self/status"))  # of no size that anybody tells
    with pytest.raises(OSError, match="larger"):
        octets_of(path, 98)


@pytest.mark.parametrize("make", [_fifo, _folder, _endless, _nowhere])
def test_a_clock_that_cannot_be_read_is_as_good_as_none(tmp_path, make):
    path = tmp_path / "clock.json"
    make(path)
    assert _promptly(path, KeptClock(path).read) == (None, 0.0)


def test_where_no_process_can_lock_the_conduct_it_is_told(tmp_path):
    """Each would take another for the one that saves."""
    file = ConductFile(tmp_path / "conduct.db")
    lock = tmp_path / "conduct.lock"
    try:
        lock.mkdir()
        assert not file.leads()
        assert "conduct.lock" in file.unlocked
        lock.rmdir()
        assert file.leads()
        assert file.unlocked is None
        assert file.slot() == 0
    finally:
        with contextlib.suppress(AttributeError):
            file.close()
