"""Revocation lists on disk, shared by workers."""

import asyncio
import os

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from simulator import CRL_URL, DAY, NOW, Fault

from zhenxian.certs import crlstore
from zhenxian.certs.chain import Untrusted, validate
from zhenxian.certs.crl import Named, parse_crl
from zhenxian.certs.crlstore import (
    MAX_BELOW_DELEGATES,
    MAX_OF_AUTHORITY,
    MAX_OF_CERTIFICATE,
    MAX_URLS,
    CrlStore,
)
from zhenxian.certs.fetch import Caching, Fetched, Purpose
from zhenxian.certs.profile import ProfilePolicy
from zhenxian.core.errors import ConfigError
from zhenxian.core.reasons import Reason


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "crl"


@pytest.fixture
def open_store(world, folder):
    def opened(*urls, **arguments):
        return CrlStore(folder, world.repository, urls=urls, **arguments)

    return opened


@pytest.fixture
def chain():
    """What the certificates of a carrier's path name."""
    return (named(CRL_URL),)


def named(*urls, authority="ca", delegated=False):
    return Named(urls, authority, delegated)


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


@pytest.mark.parametrize("ahead", [3_500, 3_600, 399 * DAY])
@pytest.mark.parametrize("again", [False, True])
def test_a_clock_that_was_ahead_keeps_no_list_from_being_asked_for(open_store, world, ahead, again):
    """Nor after a restart: when a list is due is written down."""
    store = open_store(CRL_URL)
    refresh(store, NOW)
    refresh(store, NOW + ahead)
    asked = len(world.repository.requests)
    store = open_store(CRL_URL) if again else store
    refresh(store, NOW + 911)
    assert len(world.repository.requests) == asked + 1
    world.repository.fail(CRL_URL, Fault.SERVER_ERROR)
    refresh(store, NOW + ahead + 1_900)
    refresh(store, NOW + 1_900)
    world.repository.fail(CRL_URL, None)
    assert len(world.repository.requests) == asked + 3


def test_what_certificates_name_is_asked_for_after_the_clock_was_ahead(open_store, world, chain):
    store = open_store()
    refresh(store, NOW + 399 * DAY)
    world.repository.fail(CRL_URL, Fault.SERVER_ERROR)
    assert asyncio.run(store.fetch_for(chain)) is False
    world.repository.fail(CRL_URL, None)
    assert refresh(store) is True


def test_what_nobody_names_is_forgotten_late(open_store, world, chain, folder):
    """By a time that a clock which is ahead for seconds does not move."""
    store = open_store()
    refresh(store)
    assert asyncio.run(store.fetch_for(chain)) is True
    for _ in range(2):
        asyncio.run(store.refresh_due(NOW + 399 * DAY, late=0))
    assert [path.suffix for path in sorted(folder.glob("url-*"))] == [".crl", ".json"]
    asyncio.run(store.refresh_due(NOW + 399 * DAY + 20, late=NOW + 40 * DAY))
    assert not list(folder.glob("url-*.json"))


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

    def test_what_is_known_and_not_held_is_asked_in_the_background_only(
        self, open_store, world, chain
    ):
        """Its host is away; it is asked in the background."""
        world.repository.down()
        first, second = open_store(), open_store()
        refresh(first)
        refresh(second)
        asyncio.run(first.fetch_for(chain))
        assert not second.lacks(chain)
        assert asyncio.run(second.fetch_for(chain)) is False
        assert world.repository.fetched == [CRL_URL]


class Host:
    """One list, at whatever address."""

    def __init__(self, body, secured=True):
        self.body, self.secured = body, secured

    async def fetch(self, url, **_):
        return Fetched(self.body, secured=self.secured)


def forgery(world, begin):
    return world.other_root.issue_crl(this_update=begin, next_update=begin + DAY)


def unless(*forged):
    """All lists are signed by somebody who may, except these."""
    digests = {parse_crl(body).digest for body in forged}
    return lambda listed, _: listed.digest not in digests


def url_of(*parts):
    return "https://lists.example/" + "-".join(str(part) for part in parts)


class TestPlaces:
    """Who may have how many addresses asked, and which make room."""

    @pytest.fixture
    def store(self, open_store):
        store = open_store()
        refresh(store)
        return store

    def learn(self, store, *given, now=None):
        if now is not None:
            store._now = now
        asyncio.run(store.fetch_for(given))

    def held(self, folder):
        return len(list(folder.glob("url-*.json")))

    def publish(self, world, *urls):
        for url in urls:
            world.repository.publish(url, world.crl())

    def test_a_certificate_has_two(self, store, world):
        many = [url_of(number) for number in range(200)]
        self.publish(world, *many)
        self.learn(store, named("ldap://dir.example/cn=x", *many))
        assert world.repository.fetched == many[:MAX_OF_CERTIFICATE]

    def test_a_ca_has_eight(self, store, world, folder):
        many = [url_of(number) for number in range(MAX_OF_AUTHORITY + 3)]
        self.publish(world, *many)
        for url in many:
            self.learn(store, named(url))
        assert world.repository.fetched == many[:MAX_OF_AUTHORITY]
        assert "already are" in store.remarks[0]
        assert store.faults == ()
        self.publish(world, url_of("other"))
        self.learn(store, named(url_of("other"), authority="other"))
        assert world.repository.fetched[-1] == url_of("other")

    def test_all_together_have_sixty_four(self, store, world, folder):
        for number in range(MAX_URLS + 5):
            self.publish(world, url_of(number))
            self.learn(store, named(url_of(number), authority=str(number)))
        assert self.held(folder) == len(world.repository.fetched) == MAX_URLS
        assert "64" in store.problems[0]

    def test_one_that_never_gave_a_list_makes_room(self, store, world, folder):
        silent = [url_of("silent", number) for number in range(MAX_OF_AUTHORITY - 1)]
        self.publish(world, url_of("good"))
        self.learn(store, named(url_of("good")), now=NOW)
        for number, url in enumerate(silent):
            self.learn(store, named(url), now=NOW + 1 + number)
        for number in range(20):
            self.learn(store, named(url_of("more", number)), now=NOW + 100 + number)
        assert self.held(folder) == MAX_OF_AUTHORITY
        assert len(store.snapshot()) == 1
        assert url_of("good") in store._sources()
        assert not set(silent) & set(store._sources())

    def test_delegates_have_places_of_their_own(self, store, world, folder):
        for number in range(50):
            url = url_of("delegate", number)
            self.publish(world, url)
            self.learn(store, named(url, authority=str(number // 5), delegated=True))
        assert self.held(folder) == MAX_BELOW_DELEGATES
        self.publish(world, url_of("ca"))
        self.learn(store, named(url_of("ca"), authority="0"))
        assert world.repository.fetched[-1] == url_of("ca")
        self.learn(store, named(url_of("delegate", 0), authority="0"))

    def test_an_address_of_a_delegate_that_a_ca_names_too_is_the_cas(self, store, world):
        """The list there is told anew to every worker, for it counts for more."""
        self.publish(world, url_of(1))
        self.learn(store, named(url_of(1), authority="a", delegated=True))
        assert [held.sure for held in store.held()] == [False]
        version = store.version()
        assert not store.lacks([named(url_of(1), authority="b", delegated=True)])
        assert store.lacks([named(url_of(1), authority="a")])
        assert asyncio.run(store.fetch_for([named(url_of(1), authority="a")])) is True
        assert store._sources()[url_of(1)].delegated is False
        assert [held.sure for held in store.held()] == [True]
        assert store.version() != version
        assert not store.lacks([named(url_of(1), authority="a")])

    def test_what_is_configured_takes_no_place(self, open_store, world):
        store = open_store(url_of("own"))
        for number in range(MAX_OF_AUTHORITY):
            self.publish(world, url_of(number))
            self.learn(store, named(url_of(number)))
        self.publish(world, url_of("own"))
        self.learn(store, named(url_of("own")))
        assert world.repository.fetched[-1] == url_of("own")

    def test_a_silent_one_is_forgotten_after_a_day(self, store, folder):
        self.learn(store, named(url_of(1)), now=NOW)
        refresh(store, NOW + 86_000)
        assert self.held(folder) == 1
        refresh(store, NOW + 86_500)
        assert self.held(folder) == 0
        assert store.problems == ()

    def test_one_that_gives_lists_after_thirty_days_without_use(self, store, world, folder):
        world.repository.publish(url_of(1), world.crl(next_update=NOW + 40 * DAY))
        self.learn(store, named(url_of(1)), now=NOW)
        store.used([named(url_of(1))], NOW + 20 * DAY)
        refresh(store, NOW + 49 * DAY)
        assert self.held(folder) == 1
        refresh(store, NOW + 51 * DAY)
        assert self.held(folder) == 0
        assert len(store.snapshot()) == 1  # what it revoked stays revoked
        (kept,) = store.held()
        assert (kept.url, kept.sure) == ("", False)
        assert store.lacks([named(url_of(1))])
        refresh(store, NOW + 69 * DAY)
        assert len(store.snapshot()) == 1
        refresh(store, NOW + 71 * DAY)  # thirty days after the list itself was over
        assert store.snapshot() == ()

    def test_what_stands_in_the_folder_otherwise_is_not_removed(self, open_store, world, folder):
        store = open_store(url_of("own"))
        self.publish(world, url_of("own"))
        refresh(store)
        (folder / "by-hand.crl").write_bytes(world.crl())
        (folder / "url-old.pem").write_bytes(world.crl())
        world.repository.down()
        refresh(store, NOW + 400 * DAY)
        assert len(store.snapshot()) == 3

    def test_a_delegates_list_goes_with_its_address(self, store, world, folder):
        self.publish(world, url_of(1))
        self.learn(store, named(url_of(1), delegated=True), now=NOW)
        refresh(store, NOW + 31 * DAY)
        assert store.snapshot() == ()

    def test_records_of_an_earlier_release_begin_their_time_now(self, store, world, folder):
        self.publish(world, url_of(1))
        self.learn(store, named(url_of(1)), now=NOW)
        path = store._path(url_of(1), "json")
        path.write_bytes(msgspec.json.encode({"url": url_of(1), "due": NOW + 900}))
        refresh(store, NOW + 40 * DAY)
        source = store._sources()[url_of(1)]
        assert (source.used, bool(source.gave)) == (NOW + 40 * DAY, True)

    def test_a_silent_one_is_asked_ever_less(self, store, world):
        self.learn(store, named(url_of(1)), now=NOW)
        for now in range(NOW, NOW + 6 * 3600, 30):
            refresh(store, now)
        assert 8 <= len(world.repository.fetched) <= 14

    def test_outcomes_are_counted(self, open_store, world):
        outcomes = []
        store = open_store(count=outcomes.append)
        refresh(store)
        self.publish(world, url_of(1))
        self.learn(store, named(url_of(1), url_of(2)))
        for number in range(3, 10):
            self.publish(world, url_of(number))
            self.learn(store, named(url_of(number)))
        self.learn(store, named(url_of(10)))
        self.learn(store, named(url_of(11)))
        assert set(outcomes) == {"failed", "fetched", "no_place"}


class TestOrigin:
    @pytest.mark.parametrize(
        ("url", "configured", "secured", "sure"),
        [
            ("https://lists.example/crl", False, True, True),
            ("https://lists.example/crl", False, False, False),
            ("http://lists.example/crl", False, False, False),
            ("http://lists.example/crl", True, False, True),
            ("http://127.0.0.1:8080/crl", False, True, True),
        ],
    )
    def test_where_a_list_comes_from_is_told(self, folder, world, url, configured, secured, sure):
        class Fetcher:
            async def fetch(self, url, **_):
                return Fetched(world.crl(), secured=secured)

        store = CrlStore(folder, Fetcher(), urls=[url] if configured else [])
        refresh(store)
        asyncio.run(store.fetch_for([named(url)]))
        (folder / "by-hand.crl").write_bytes(world.crl())
        told = {(held.url, held.sure) for held in store.held()}
        assert told == {(url, sure), (None, False)}


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

    @pytest.mark.parametrize("secured", [True, False])
    def test_what_nobody_signed_who_may_does_not_replace_what_somebody_did(
        self, world, folder, secured
    ):
        good, forged = world.crl(), forgery(world, NOW - 30)
        host = Host(good, secured)
        store = CrlStore(folder, host, urls=[CRL_URL], signed=unless(forged))
        refresh(store)
        host.body = forged
        assert refresh(store, NOW + 910) is False
        assert [body.strip() for body in store.snapshot()] == [good.strip()]
        assert "nobody signed it" in store.problems[0]

    @pytest.mark.parametrize("begin", [NOW - 30, NOW + 700 * DAY])
    def test_over_plain_http_it_is_not_stored_at_all(self, world, folder, begin):
        forged = forgery(world, begin)
        host = Host(forged, secured=False)
        store = CrlStore(folder, host, urls=[CRL_URL], signed=unless(forged))
        assert refresh(store) is False
        assert store.snapshot() == ()
        host.body = world.crl()
        assert refresh(store, NOW + 70) is True
        assert store.problems == ()

    def test_from_where_the_operator_says_it_counts_until_a_signed_one_comes(self, world, folder):
        """The list of a CA that nobody has met yet."""
        forged = forgery(world, NOW + 700 * DAY)
        host = Host(forged)
        store = CrlStore(folder, host, urls=[CRL_URL], signed=unless(forged))
        assert refresh(store) is True
        host.body = world.crl()
        assert refresh(store, NOW + 910) is True
        assert [body.strip() for body in store.snapshot()] == [host.body.strip()]

    def test_a_list_of_the_future_stops_none_and_replaces_none(self, world, folder):
        host = Host(world.crl(this_update=NOW + DAY, next_update=NOW + 2 * DAY))
        store = CrlStore(folder, host, urls=[CRL_URL])
        assert refresh(store) is True
        future, host.body = host.body, world.crl()
        assert refresh(store, NOW + 910) is True
        host.body = future
        assert refresh(store, NOW + 1_900) is False
        assert "future" in store.problems[0]
        assert refresh(store, NOW + DAY + 10) is True

    @pytest.mark.parametrize(("secured", "taken"), [(True, True), (False, False)])
    def test_a_list_of_another_scope_does_not_replace_one_over_http(
        self, world, folder, secured, taken
    ):
        host = Host(world.other_root.issue_crl(this_update=NOW - 60, next_update=NOW + DAY))
        store = CrlStore(folder, host, urls=[CRL_URL])
        refresh(store)
        host.body, host.secured = world.crl(), secured
        assert refresh(store, NOW + 910) is taken
        assert refresh(store, NOW + DAY + 20) is not taken  # what is stale gives way

    def test_a_signed_list_takes_the_place_of_what_nobody_signed_over_http_too(self, world, folder):
        forged = forgery(world, NOW - 30)
        host = Host(forged)
        store = CrlStore(folder, host, urls=[CRL_URL], signed=unless(forged))
        refresh(store)
        host.body, host.secured = world.crl(), False
        assert refresh(store, NOW + 910) is True

    def test_junk_that_a_certificate_names_is_none_and_makes_room(self, world, folder):
        junk = forgery(world, NOW - 30)
        host = Host(junk)
        store = CrlStore(folder, host, signed=unless(junk))
        refresh(store)
        urls = [url_of("evil", number) for number in range(2)]
        asyncio.run(store.fetch_for([named(*urls, delegated=True)]))
        assert store.snapshot() == ()
        assert not any(source.gave for source in store._sources().values())
        host.body = world.crl()
        assert asyncio.run(store.fetch_for([named(url_of("good"), delegated=True)])) is True

    def test_who_may_sign_is_remembered_with_the_address(self, world, folder):
        asked = []

        def signed(_, keys):
            asked.append(tuple(keys))
            return "new" in keys

        store = CrlStore(folder, Host(world.crl()), signed=signed)
        refresh(store)
        one = Named((url_of(1),), "ca", keys=("old",))
        assert asyncio.run(store.fetch_for([one])) is False
        store.used([Named((url_of(1),), "ca", keys=("old", "new"))], NOW + 30)
        assert refresh(store, NOW + 70) is True
        assert asked == [("old",), ("old", "new")]
        many = tuple(str(number) for number in range(50))
        store.used([Named((url_of(1),), "ca", keys=many)], NOW + 80)
        assert store._sources()[url_of(1)].keys == many[-16:]

    def test_a_large_list_is_taken_only_from_where_the_operator_says(
        self, world, folder, monkeypatch
    ):
        monkeypatch.setattr(crlstore, "MAX_LEARNT", 100)
        store = CrlStore(folder, Host(world.crl()), urls=[CRL_URL])
        assert refresh(store) is True
        assert asyncio.run(store.fetch_for([named(url_of(1))])) is False
        assert "larger than 100 octets" in store.problems[0]

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
