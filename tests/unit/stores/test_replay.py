"""One suite for every engine's replay store, against a plain model."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.passport.jws import Token
from zhenxian.stores.replay.file import SqliteReplayStore
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.stores.replay.recent import MAX_ANSWER, Recent
from zhenxian.verifier.replay import (
    CALL,
    NEW,
    REPLAY,
    Question,
    Sight,
    Sighted,
    Sighting,
    replay_key,
)

ENGINES = ["memory", "sqlite"]
KEY, OTHER = b"k" * 16, b"o" * 16


def seen(key, call=None, request=None, *, asker=b"proxy", at=100.0, until=160, answer=b"yes"):
    """A sighting as the front end makes them: asker and Call-ID, asker and request."""
    question = Question(
        at,
        (asker, call) if call is not None else None,
        (asker, b"id", request) if request is not None else None,
    )
    return Sighting(key, until, question, answer)


@pytest.fixture(params=ENGINES)
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryReplayStore()
        return
    opened = SqliteReplayStore(tmp_path / "replay.sqlite")
    yield opened
    opened.close()


def test_a_token_is_new_once(store):
    for question in (None, Question(100.0)):
        key = bytes([question is None]) * 16
        assert store.sight(Sighting(key, 160, question), 100) == NEW
        assert store.sight(Sighting(key, 160, question), 100) == REPLAY
        assert store.sight(seen(key, b"call", b"body"), 100) == REPLAY
    assert store.sight(Sighting(OTHER, 160), 100) == NEW


def test_the_same_call_may_ask_again_another_may_not(store):
    assert store.sight(seen(KEY, b"call-1"), 100) == NEW
    assert store.sight(seen(KEY, b"call-1", at=101), 101) == CALL
    assert store.sight(seen(KEY, b"call-1", b"body", at=101), 101) == CALL
    assert store.sight(seen(KEY, b"call-2"), 101) == REPLAY
    assert store.sight(seen(KEY), 101) == REPLAY
    assert store.sight(Sighting(KEY, 160), 101) == REPLAY


def test_whoever_copies_the_call_or_the_whole_request_is_another_asker(store):
    assert store.sight(seen(KEY, b"call-1", b"body"), 100) == NEW
    assert store.sight(seen(KEY, b"call-1", b"body", asker=b"another"), 100) == REPLAY


def test_the_same_request_gets_the_answer_that_the_first_was_given(store):
    assert store.sight(seen(KEY, None, b"body", answer=b"first"), 100) == NEW
    again = seen(KEY, None, b"body", at=101.9, answer=b"second")
    assert store.sight(again, 101) == Sighted(Sight.REQUEST, b"first")
    assert store.sight(seen(KEY, None, b"other body", at=101.9), 101) == REPLAY


def test_another_request_about_the_same_call_is_the_same_call(store):
    assert store.sight(seen(KEY, b"call-1", b"body"), 100) == NEW
    assert store.sight(seen(KEY, b"call-1", b"other body"), 100) == CALL
    assert store.sight(seen(KEY, b"call-1", b"body"), 100).sight is Sight.REQUEST


@pytest.mark.parametrize(
    ("later", "sight"),
    [(0.0, Sight.REQUEST), (1.999, Sight.REQUEST), (2.0, Sight.REPLAY), (59.0, Sight.REPLAY),
     (-1.9, Sight.REQUEST), (-2.0, Sight.REPLAY)],
)  # fmt: skip
def test_a_question_may_be_asked_again_for_a_moment_after_the_first(store, later, sight):
    store.sight(seen(KEY, b"call-1", b"body"), 100)
    between = seen(KEY, b"call-1", b"body", at=100 + later / 2)
    store.sight(between, 100)  # asking again makes the moment no longer
    again = seen(KEY, b"call-1", b"body", at=100 + later)
    assert store.sight(again, int(100 + later)).sight is sight


def test_without_a_window_no_question_may_be_asked_again(tmp_path):
    sqlite = SqliteReplayStore(tmp_path / "replay.sqlite", 0)
    for store in (MemoryReplayStore(window=0), sqlite):
        assert store.sight(seen(KEY, b"call-1", b"body"), 100) == NEW
        assert store.sight(seen(KEY, b"call-1", b"body"), 100) == REPLAY
    sqlite.close()


def test_an_answer_that_is_too_large_is_not_kept_outside(tmp_path):
    store = SqliteReplayStore(tmp_path / "replay.sqlite")
    store.sight(seen(KEY, None, b"body", answer=bytes(MAX_ANSWER + 1)), 100)
    assert store.sight(seen(KEY, None, b"body"), 100) == Sighted(Sight.REQUEST, b"")
    store.close()


def test_a_call_id_and_a_body_of_any_length_are_kept_in_a_fixed_size(tmp_path):
    path = tmp_path / "replay.sqlite"
    store = SqliteReplayStore(path)
    store.sight(seen(KEY, b"c" * 100_000, b"b" * 100_000, answer=b""), 100)
    store.sight(seen(OTHER, b"c", b"b", answer=b""), 100)
    store.close()
    with sqlite3.connect(path) as connection:
        sizes = connection.execute("SELECT length(value) FROM sightings").fetchall()
    connection.close()
    assert sizes[0] == sizes[1]


def test_parts_of_a_question_do_not_run_into_each_other(store):
    store.sight(seen(KEY, b"1call", asker=b"proxy"), 100)
    assert store.sight(seen(KEY, b"call", asker=b"proxy1"), 100) == REPLAY


def test_forgotten_only_after_its_time(store):
    assert store.sight(seen(KEY), 100) == NEW
    assert store.sight(seen(KEY), 160) == REPLAY
    assert store.sight(seen(KEY, until=300), 161) == NEW


def test_a_full_memory_store_says_so_and_recovers():
    store = MemoryReplayStore(limit=2)
    assert store.sight(seen(b"1"), 100) == NEW
    assert store.sight(seen(b"2"), 100) == NEW
    with pytest.raises(StoreUnavailableError):
        store.sight(seen(b"3"), 100)
    assert store.sight(seen(b"1"), 100) == REPLAY
    assert store.sight(seen(b"3", until=300), 161) == NEW
    assert len(store) == 1


def test_what_is_kept_of_questions_in_memory_is_bounded_and_forgotten():
    recent = Recent(2.0, limit=100_000)
    for number in range(1_000):
        question = Question(100.0, None, (b"proxy", b"id", bytes(700)))
        recent.keep(number.to_bytes(16, "big"), question, bytes(200))
    assert 50 < len(recent) < 100
    assert recent.again((0).to_bytes(16, "big"), question) == REPLAY
    assert recent.again((999).to_bytes(16, "big"), question).sight is Sight.REQUEST
    recent.keep(KEY, Question(102.0, (b"proxy", b"call")), b"")
    assert len(recent) == 1
    recent.keep(KEY, Question(103.0, (b"proxy", b"call")), b"")
    assert len(recent) == 1


def test_processes_share_a_sqlite_store(tmp_path):
    one, two = (SqliteReplayStore(tmp_path / "replay.sqlite") for _ in range(2))
    assert one.sight(seen(KEY, None, b"body", answer=b"first"), 100) == NEW
    assert two.sight(seen(KEY), 100) == REPLAY
    assert two.sight(seen(KEY, None, b"body"), 100) == Sighted(Sight.REQUEST, b"first")
    one.close()
    two.close()


def test_tokens_that_an_earlier_release_has_seen_stay_seen(tmp_path):
    path = tmp_path / "replay.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE replay (key BLOB PRIMARY KEY, call_id TEXT, until INTEGER NOT NULL)"
            " WITHOUT ROWID"
        )
        connection.execute("INSERT INTO replay VALUES (?, 'call-1', 160)", (KEY,))
    connection.close()
    stores = [SqliteReplayStore(path) for _ in range(2)]
    assert stores[1].sight(seen(KEY, b"call-1"), 100) == REPLAY
    assert stores[0].sight(seen(OTHER), 100) == NEW
    for store in stores:
        store.close()


def test_stale_rows_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("zhenxian.stores.replay.file._PURGE_EVERY", 10)
    store = SqliteReplayStore(tmp_path / "replay.sqlite")
    for number in range(50):
        store.sight(seen(bytes([number]), until=100 + number), 100 + number)
    store.close()
    with sqlite3.connect(tmp_path / "replay.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM sightings").fetchone()[0] <= 11
    connection.close()


def test_a_locked_or_broken_file_is_unavailable(tmp_path):
    path = tmp_path / "replay.sqlite"
    store = SqliteReplayStore(path)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError):
        store.sight(seen(KEY), 100)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert store.sight(seen(KEY), 100) == NEW
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
        self.model: dict[bytes, tuple[Sighting, int]] = {}
        self.now = 1000

    @rule(
        key=st.sampled_from([b"a", b"b", b"c"]),
        call=st.sampled_from([None, b"x", b"y"]),
        request=st.sampled_from([None, b"x", b"y"]),
        asker=st.sampled_from([b"p", b"q"]),
        later=st.one_of(st.integers(0, 3), st.integers(0, 80)),
    )
    def ask(self, key, call, request, asker, later):
        self.now += later
        asked = seen(
            key, call, request, asker=asker, at=float(self.now), until=self.now + 60,
            answer=b"%d" % self.now,
        )  # fmt: skip
        known, at = self.model.get(key, (None, 0))
        if known is None or known.until < self.now:
            expected = NEW
            self.model[key] = asked, self.now
        else:
            first, now = known.question, asked.question
            expected = REPLAY
            if self.now - at < 2:
                if request is not None and now.request == first.request:
                    expected = Sighted(Sight.REQUEST, known.answer)
                elif call is not None and now.call == first.call:
                    expected = CALL
        for engine in self.engines:
            assert engine.sight(asked, self.now) == expected

    def teardown(self):
        if hasattr(self, "engines"):
            self.engines[1].close()


TestMachine = Machine.TestCase
