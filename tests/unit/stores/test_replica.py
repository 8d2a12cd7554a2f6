"""A replica's file, which several processes of one node have open."""

from __future__ import annotations

from contextlib import closing
from threading import Thread

from zhenxian.registry.journal import Proposal, put
from zhenxian.registry.model import Subject
from zhenxian.stores.fleet.entry import Mark, entry_of
from zhenxian.stores.fleet.replica import Replica


def _first_of(replica):
    proposal = Proposal(changes=[put(Subject(id="bank"))], author="a", reason="", now=1)
    mark, commit = replica.try_out(proposal)
    return entry_of(commit, mark.head, b"nonce")


def test_what_begins_meanwhile_and_goes_on_is_not_taken_back(tmp_path, monkeypatch):
    """A file at commit 1 without its head looked as though Redis had lost that commit."""
    path = tmp_path / "registry.db"
    with (
        closing(Replica(path, synchronous="OFF")) as one,
        closing(Replica(path, synchronous="OFF")) as two,
    ):
        entry = _first_of(one)
        transaction = two._file.transaction

        def late():
            one.begin("journal")
            one.follow("journal", [entry])
            return transaction()

        monkeypatch.setattr(two._file, "transaction", late)
        two.begin("journal")
        assert two.mark() == one.mark() == Mark("journal", 1, entry.head)


def test_one_process_at_a_time_makes_it_anew(tmp_path, monkeypatch):
    """Whoever comes later finds it made, and keeps no copy of what that replaced."""
    path, image = tmp_path / "registry.db", tmp_path / "image.db"
    ended = []
    with (
        closing(Replica(image, synchronous="OFF")),
        closing(Replica(path, synchronous="OFF")) as one,
        closing(Replica(path, synchronous="OFF")) as two,
    ):
        one.begin("journal")
        one.follow("journal", [_first_of(one)])
        expected, set_aside = one.mark(), one.set_aside

        def made(replica, name):
            return replica.make_anew(
                image, expected, name, aside=tmp_path / name, diverged=True, lost=True
            )

        other = Thread(target=lambda: ended.append(made(two, "two")))

        def meanwhile(aside):
            other.start()
            other.join(0.3)
            assert not ended  # it waits
            set_aside(aside)

        monkeypatch.setattr(one, "set_aside", meanwhile)
        assert made(one, "one")
        other.join()
        assert ended == [False]
        assert (tmp_path / "one").exists()
        assert not (tmp_path / "two").exists()
