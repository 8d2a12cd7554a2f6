"""Revocation lists on disk, shared by workers."""

import asyncio
import os

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from simulator import CRL_URL, DAY, NOW, Fault

from certs.chain import Untrusted, validate
from certs.crl import parse_crl
from certs.crlstore import MAX_URLS, CrlStore
from certs.fetch import Caching, Purpose
from certs.profile import ProfilePolicy
from passport.errors import ConfigError
from passport.reasons import Reason


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "crl"


@pytest.fixture
def open_store(world, folder):
    def opened(*urls, **arguments):
        return CrlStore(folder, world.repository, urls=urls, **arguments)

    return opened


@pytest.fixture
def chain(world):
    return world.carrier("1234").chain


def refresh(store, now=NOW):
    return asyncio.run(store.refresh_due(now))


def serials(store):
    return [{serial for _, serial in parse_crl(data).revoked} for data in store.snapshot()]


def test_a_configured_list_is_fetched_and_kept(open_store, world):
    store = open_store(CRL_URL)
    assert store.snapshot() == ()
    before = store.version()
    assert refresh(store) is True
    assert store.version() != before
    assert [parse_crl(data).this_update for data in store.snapshot()] == [world.now - 60]
    assert world.repository.requests[0].purpose is Purpose.CRL
    assert store.problems == ()


def test_asked_again_when_due_only(open_store, world):
    world.repository.publish(CRL_URL, world.crl(), Caching('"1"'))
    store = open_store(CRL_URL)
    refresh(store)
    for now in range(NOW + 1, NOW + 890, 10):
        assert refresh(store, now) is False
    assert len(world.repository.requests) == 1
    version = store.version()
    assert refresh(store, NOW + 910) is False
    assert world.repository.requests[1].etag == '"1"'
    assert store.version() == version


def test_sooner_when_the_list_ends_sooner(open_store, world):
    world.repository.publish(CRL_URL, world.crl(next_update=NOW + 300))
    store = open_store(CRL_URL)
    refresh(store)
    refresh(store, NOW + 290)
    assert len(world.repository.requests) == 1
    refresh(store, NOW + 301)
    assert len(world.repository.requests) == 2


def test_a_new_list_is_in_force_in_every_worker_without_restart(open_store, world, chain):
    first, second = open_store(CRL_URL), open_store(CRL_URL)
    refresh(first)
    seen = second.version()
    assert serials(second) == [set()]
    carrier = world.carrier("5678")
    carrier.certificate.revoke()
    world.repository.publish(CRL_URL, world.crl(this_update=NOW + 900))
    assert refresh(first, NOW + 910) is True
    assert second.version() != seen
    assert serials(second) == [{carrier.certificate.leaf.serial_number}]
    verdict = validate(
        carrier.chain,
        now=NOW + 910,
        trust=world.trust,
        revocation=world.revocation(*second.snapshot()),
        profile=ProfilePolicy(),
    )
    assert isinstance(verdict, Untrusted)
    assert verdict.reason is Reason.CERT_REVOKED


def test_one_worker_fetches(open_store, world):
    stores = [open_store(CRL_URL) for _ in range(4)]
    world.repository.hold(CRL_URL)

    async def run():
        tasks = [asyncio.create_task(store.refresh_due(NOW)) for store in stores]
        await asyncio.sleep(0.01)
        world.repository.release(CRL_URL)
        return await asyncio.gather(*tasks)

    assert sorted(asyncio.run(run())) == [False, False, False, True]
    assert len(world.repository.requests) == 1
    for now in (NOW + 11, NOW + 22):
        assert not any(refresh(store, now) for store in stores)
    assert len(world.repository.requests) == 1


def test_the_lock_goes_with_the_worker(open_store):
    store = open_store(CRL_URL)
    with store._alone() as alone, open_store()._alone() as other:
        assert (alone, other) == (True, False)
    with open_store()._alone() as alone:
        assert alone


def test_a_restart_knows_what_is_held(open_store, world, chain):
    world.repository.publish(CRL_URL, world.crl(), Caching('"1"'))
    asyncio.run(open_store().fetch_for(chain))
    again = open_store()
    assert len(again.snapshot()) == 1
    refresh(again, NOW + 2000)
    assert world.repository.requests[1:] == [(CRL_URL, Purpose.CRL, '"1"')]


class TestChains:
    def test_the_list_a_chain_names_is_fetched_once(self, open_store, world, chain):
        store = open_store()
        refresh(store)
        assert asyncio.run(store.fetch_for(chain)) is True
        assert len(store.snapshot()) == 1
        assert asyncio.run(store.fetch_for(chain)) is False
        assert world.repository.fetched == [CRL_URL]

    def test_and_kept_up_to_date_from_then_on(self, open_store, world, chain):
        store = open_store()
        refresh(store)
        asyncio.run(store.fetch_for(chain))
        refresh(store, NOW + 910)
        assert world.repository.fetched == [CRL_URL, CRL_URL]

    def test_concurrent_calls_share_a_fetch(self, open_store, world, chain):
        store = open_store()

        async def run():
            return await asyncio.gather(*(store.fetch_for(chain) for _ in range(20)))

        assert all(asyncio.run(run()))
        assert world.repository.fetched == [CRL_URL]

    def test_a_failure_is_not_repeated_for_every_call(self, open_store, world, chain):
        world.repository.down()
        store = open_store()
        refresh(store)
        for _ in range(5):
            assert asyncio.run(store.fetch_for(chain)) is False
        assert world.repository.fetched == [CRL_URL]
        assert CRL_URL in store.problems[0]
        world.repository.up()
        refresh(store, NOW + 59)
        assert store.snapshot() == ()
        assert refresh(store, NOW + 70) is True
        assert store.problems == ()

    def test_how_many_are_learnt_is_bounded(self, open_store, world, chain):
        store = open_store()
        for number in range(MAX_URLS + 10):
            url = f"http://crl.example.org/{number}"
            world.repository.publish(url, world.crl())
            one = msgspec.structs.replace(chain, crl_urls=(url,))
            asyncio.run(store.fetch_for(one))
        assert len(world.repository.requests) == MAX_URLS
        assert "64" in store.problems[0]


class TestBadLists:
    @pytest.mark.parametrize("fault", [Fault.GARBAGE, Fault.TRUNCATED, Fault.TIMEOUT,
                                       Fault.TOO_LARGE])  # fmt: skip
    def test_what_is_no_list_does_not_replace_one(self, open_store, world, fault):
        store = open_store(CRL_URL)
        refresh(store)
        held = store.snapshot()
        world.repository.fail(CRL_URL, fault)
        assert refresh(store, NOW + 910) is False
        assert store.snapshot() == held
        assert len(store.problems) == 1
        # tried again after a minute
        refresh(store, NOW + 930)
        assert len(world.repository.requests) == 2
        world.repository.fail(CRL_URL, None)
        refresh(store, NOW + 980)
        assert len(world.repository.requests) == 3
        assert store.problems == ()

    def test_an_older_list_does_not_replace_a_newer(self, open_store, world):
        store = open_store(CRL_URL)
        world.carrier("5678").certificate.revoke()
        refresh(store)
        held = store.snapshot()
        world.revoked.clear()
        world.repository.publish(CRL_URL, world.crl(this_update=NOW - DAY))
        assert refresh(store, NOW + 910) is False
        assert store.snapshot() == held
        assert "older" in store.problems[0]

    def test_a_refusal_keeps_the_list_held(self, open_store, world):
        genuine = []
        store = open_store(
            CRL_URL, refusal=lambda body: None if body in genuine else "not signed by the STI-PA"
        )
        genuine.append(world.crl())
        world.repository.publish(CRL_URL, genuine[0])
        refresh(store)
        forged = world.other_root.issue_crl(this_update=NOW + 1, next_update=NOW + DAY)
        world.repository.publish(CRL_URL, forged)
        refresh(store, NOW + 910)
        assert [body.strip() for body in store.snapshot()] == [genuine[0].strip()]
        assert "not signed" in store.problems[0]

    def test_a_spoilt_record_is_as_none(self, open_store, world, folder):
        store = open_store(CRL_URL)
        refresh(store)
        [record] = folder.glob("*.json")
        record.write_bytes(b"{")
        refresh(store, NOW + 20)
        assert len(world.repository.requests) == 2
        assert store.problems == ()


class TestFolder:
    def test_an_operators_files_count(self, open_store, world, folder):
        store = open_store()
        version = store.version()
        (folder / "a.crl").write_bytes(world.crl())
        (folder / "b.pem").write_bytes(world.crl() + world.crl(this_update=NOW))
        (folder / "notes.txt").write_bytes(b"not a list")
        (folder / ".hidden.crl").write_bytes(b"not a list")
        assert store.version() != version
        assert len(store.snapshot()) == 3
        assert store.problems == ()
        version = store.version()
        (folder / "a.crl").unlink()
        assert store.version() != version
        assert len(store.snapshot()) == 2

    def test_der_is_given_out_as_it_is(self, open_store, world, folder):
        der = x509.load_pem_x509_crl(world.crl()).public_bytes(Encoding.DER)
        folder.mkdir()
        (folder / "a.crl").write_bytes(der)
        assert open_store().snapshot() == (der,)

    def test_what_is_no_list_is_given_out_to_be_reported(self, open_store, folder):
        store = open_store()
        (folder / "a.crl").write_bytes(b"nothing")
        assert store.snapshot() == (b"nothing",)

    def test_an_unreadable_file_is_reported_and_counts_as_before(self, open_store, world, folder):
        """A folder that takes the file's name stands for "cannot be read", also for root."""
        store = open_store()
        file = folder / "a.crl"
        file.write_bytes(world.crl())
        assert len(store.snapshot()) == 1
        held = store.snapshot()
        file.unlink()
        file.mkdir()
        assert store.snapshot() == held
        assert str(file) in store.problems[0]
        assert open_store().snapshot() == ()
        file.rmdir()
        assert store.snapshot() == ()
        assert store.problems == ()

    def test_a_dangling_link_is_reported(self, open_store, folder):
        store = open_store()
        (folder / "a.crl").symlink_to("nowhere")
        assert store.snapshot() == ()
        assert "No such file" in store.problems[0]

    def test_a_folder_that_cannot_be_made_is_a_configuration_error(self, world, tmp_path):
        with pytest.raises(ConfigError, match="missing/crl"):
            CrlStore(tmp_path / "missing" / "crl", world.repository)
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(ConfigError, match="file"):
            CrlStore(tmp_path / "file", world.repository)

    def test_a_folder_that_goes_away_is_told(self, open_store, world, folder):
        store = open_store(CRL_URL)
        (folder / ".lock").unlink(missing_ok=True)
        folder.rmdir()
        with pytest.raises(ConfigError, match="crl"):
            store.version()
        with pytest.raises(ConfigError, match="crl"):
            store.snapshot()
        assert refresh(store) is False
        assert "crl" in store.problems[0]

    def test_replacing_leaves_nothing_behind(self, open_store, folder, monkeypatch):
        store = open_store(CRL_URL)

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        assert refresh(store) is False
        assert "No space" in store.problems[0]
        assert [file.name for file in folder.iterdir()] == [".lock"]
