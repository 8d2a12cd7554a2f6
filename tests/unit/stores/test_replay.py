"""One suite for every engine's replay store, against a plain model."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from passport.errors import StoreUnavailableError
from passport.jws import Token
from stores.memory import MemoryReplayStore
from stores.sqlite import SqliteReplayStore
from verifier.replay import replay_key

ENGINES = ["memory", "sqlite"]
KEY, OTHER = b"k" * 16, b"o" * 16


@pytest.fixture(params=ENGINES)
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryReplayStore()
        return
    opened = SqliteReplayStore(tmp_path / "replay.sqlite")
    yield opened
    opened.close()


def test_a_token_is_new_once(store):
    assert store.first_seen(KEY, None, 160, 100)
    assert not store.first_seen(KEY, None, 160, 100)
    assert store.first_seen(OTHER, None, 160, 100)


def test_the_same_call_may_ask_again_another_may_not(store):
    assert store.first_seen(KEY, "call-1", 160, 100)
    assert store.first_seen(KEY, "call-1", 160, 101)
    assert not store.first_seen(KEY, "call-2", 160, 101)
    assert not store.first_seen(KEY, None, 160, 101)


def test_without_call_id_the_second_question_is_a_replay_even_with_one(store):
    assert store.first_seen(KEY, None, 160, 100)
    assert not store.first_seen(KEY, "call-1", 160, 100)


def test_forgotten_only_after_its_time(store):
    assert store.first_seen(KEY, None, 160, 100)
    assert not store.first_seen(KEY, None, 160, 160)
    assert store.first_seen(KEY, None, 300, 161)


def test_a_full_memory_store_says_so_and_recovers():
    store = MemoryReplayStore(limit=2)
    assert store.first_seen(b"1", None, 160, 100)
    assert store.first_seen(b"2", None, 160, 100)
    with pytest.raises(StoreUnavailableError):
        store.first_seen(b"3", None, 160, 100)
    assert not store.first_seen(b"1", None, 160, 100)
    assert store.first_seen(b"3", None, 300, 161)
    assert len(store) == 1


def test_processes_share_a_sqlite_store(tmp_path):
    one, two = (SqliteReplayStore(tmp_path / "replay.sqlite") for _ in range(2))
    assert one.first_seen(KEY, None, 160, 100)
    assert not two.first_seen(KEY, None, 160, 100)
    one.close()
    two.close()


def test_stale_rows_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("stores.sqlite._PURGE_EVERY", 10)
    store = SqliteReplayStore(tmp_path / "replay.sqlite")
    for number in range(50):
        store.first_seen(bytes([number]), None, 100 + number, 100 + number)
    store.close()
    with sqlite3.connect(tmp_path / "replay.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM replay").fetchone()[0] <= 11
    connection.close()


def test_a_locked_or_broken_file_is_unavailable(tmp_path):
    path = tmp_path / "replay.sqlite"
    store = SqliteReplayStore(path)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError):
        store.first_seen(KEY, None, 160, 100)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert store.first_seen(KEY, None, 160, 100)
    store.close()
    (tmp_path / "not-a-db").write_bytes(b"junk" * 1000)
    with pytest.raises(StoreUnavailableError):
        SqliteReplayStore(tmp_path / "not-a-db")


def test_an_altered_s_does_not_make_a_new_token():
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = b"\x01" * 32, int.from_bytes(b"\x02" * 32, "big")
    token = Token(b"h", b"p", b"")
    first = replay_key(token, r + s.to_bytes(32, "big"))
    mirrored = replay_key(token, r + (order - s).to_bytes(32, "big"))
    assert first == mirrored
    assert replay_key(token, b"\x03" * 32 + b"\x02" * 32) != first
    assert replay_key(Token(b"h", b"q", b""), r + b"\x02" * 32) != first


class Machine(RuleBasedStateMachine):
    """Any sequence of questions gets the model's answers from both engines."""

    @initialize()
    def start(self):
        self.engines = [MemoryReplayStore(), SqliteReplayStore(":memory:")]
        self.model: dict[bytes, tuple[str | None, int]] = {}
        self.now = 1000

    @rule(
        key=st.sampled_from([b"a", b"b", b"c"]),
        call_id=st.sampled_from([None, "x", "y"]),
        later=st.integers(0, 40),
    )
    def ask(self, key, call_id, later):
        self.now += later
        until = self.now + 60
        known = self.model.get(key)
        if known is None or known[1] < self.now:
            expected = True
            self.model[key] = (call_id, until)
        else:
            expected = call_id is not None and known[0] == call_id
        for engine in self.engines:
            assert engine.first_seen(key, call_id, until, self.now) is expected

    def teardown(self):
        if hasattr(self, "engines"):
            self.engines[1].close()


TestMachine = Machine.TestCase
