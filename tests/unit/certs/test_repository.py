"""The cache of chains: freshness, outages, floods."""

import asyncio
from collections import Counter

import pytest
from simulator import NOW, Fault, served

from zhenxian.certs.chain import Chain
from zhenxian.certs.fetch import Caching, Fetched, FetchError, FetchLimits, HttpFetcher, NotModified
from zhenxian.certs.kept import read_chains, write_chains
from zhenxian.certs.places import PlaceLimits
from zhenxian.certs.repository import CertificateRepository, Failure, RepositoryLimits
from zhenxian.certs.x5u import X5uPolicy
from zhenxian.core.errors import ConfigError
from zhenxian.core.reasons import Reason

DAY = 86_400
HOUR = 3_600


class Clock:
    now = NOW

    def __call__(self):
        return self.now


class Cache:
    """A carrier, its repository, and the cache under test."""

    def __init__(self, world, **arguments):
        self.world = world
        self.host = world.repository
        self.carrier = world.carrier("1234")
        self.url = self.carrier.x5u
        self.clock = Clock()
        self.counted = Counter()
        self.cache = CertificateRepository(
            self.host, policy=X5uPolicy(), clock=self.clock, count=self.count, **arguments
        )

    def count(self, outcome):
        self.counted[outcome] += 1

    def serve(self, **caching):
        self.host.publish(self.url, self.carrier.chain_pem, Caching(**caching))

    def get(self, url=None):
        return asyncio.run(self.cache.get(url or self.url))

    def cached(self, url=None):
        return self.cache.cached(url or self.url, self.clock.now)

    def refresh(self):
        async def run():
            started = self.cache.refresh_due()
            await asyncio.gather(*self.cache._flights.values())
            return started

        return asyncio.run(run())

    @property
    def fetches(self):
        return len(self.host.requests)


@pytest.fixture
def cache(world):
    return Cache(world)


def test_first_fetched_then_cached(cache):
    assert cache.cached() is None
    chain = cache.get()
    assert isinstance(chain, Chain)
    assert cache.cached() is chain
    assert cache.get() is chain
    assert cache.fetches == 1
    assert cache.counted == {"fetched": 1}
    assert len(cache.cache) == 1


def test_concurrent_callers_share_one_fetch(cache):
    cache.host.hold(cache.url)

    async def run():
        waiting = [asyncio.create_task(cache.cache.get(cache.url)) for _ in range(50)]
        await asyncio.sleep(0)
        cache.host.release(cache.url)
        return await asyncio.gather(*waiting)

    chains = asyncio.run(run())
    assert cache.fetches == 1
    assert len(set(map(id, chains))) == 1


def test_a_caller_who_gives_up_does_not_take_the_fetch_along(cache):
    cache.host.hold(cache.url)

    async def run():
        first = asyncio.create_task(cache.cache.get(cache.url))
        second = asyncio.create_task(cache.cache.get(cache.url))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        cache.host.release(cache.url)
        return await second

    assert isinstance(asyncio.run(run()), Chain)
    assert cache.fetches == 1


def test_all_callers_give_up_and_the_result_is_kept(cache):
    cache.host.hold(cache.url)

    async def run():
        only = asyncio.create_task(cache.cache.get(cache.url))
        await asyncio.sleep(0)
        only.cancel()
        await asyncio.gather(only, return_exceptions=True)
        cache.host.release(cache.url)
        await asyncio.gather(*cache.cache._flights.values())

    asyncio.run(run())
    assert isinstance(cache.cached(), Chain)


class TestFreshness:
    @pytest.mark.parametrize(
        ("caching", "seconds"),
        [
            ({}, DAY),
            ({"max_age": 600}, 600),
            ({"max_age": 5}, 60),
            ({"max_age": 10 * DAY}, DAY),
            ({"max_age": 0, "store": False, "stale": False}, 60),
            ({"max_age": 0, "stale": False}, 60),
        ],
    )
    def test_as_the_host_says_within_bounds(self, cache, caching, seconds):
        cache.serve(**caching)
        cache.get()
        cache.clock.now += seconds - 1
        assert isinstance(cache.cached(), Chain)
        cache.clock.now += 1
        assert cache.cached() is None

    def test_never_past_the_end_of_the_certificate(self, cache):
        chain = cache.get()
        cache.clock.now = chain.not_after - 100
        cache.get()
        cache.clock.now += 99
        assert isinstance(cache.cached(), Chain)
        cache.clock.now += 1
        assert cache.cached() is None
        cache.host.down()
        assert isinstance(cache.get(), Failure)

    def test_an_expired_chain_is_given_out_for_the_verdict_to_say_so(self, cache):
        cache.clock.now = cache.get().not_after + 5
        assert isinstance(cache.get(), Chain)
        assert isinstance(cache.cached(), Chain)
        cache.clock.now += 60
        assert cache.cached() is None

    def test_revalidation_by_entity_tag(self, cache):
        cache.serve(etag='"1"', max_age=600)
        chain = cache.get()
        cache.clock.now += 600
        assert cache.get() is chain
        assert cache.host.requests[-1].etag == '"1"'
        assert cache.counted == {"fetched": 1, "unchanged": 1}
        cache.clock.now += 599
        assert cache.cached() is chain

    def test_a_new_chain_replaces_the_old(self, cache):
        cache.serve(etag='"1"', max_age=600)
        old = cache.get()
        cache.carrier.renew()
        cache.serve(etag='"2"', max_age=600)
        assert cache.cached() is old
        cache.clock.now += 600
        assert cache.get().digest != old.digest
        assert cache.cached().digest != old.digest

    def test_not_modified_without_being_asked(self, cache):
        cache.host.fail(cache.url, Fault.NOT_MODIFIED)
        failure = cache.get()
        assert failure.reason is Reason.CERT_UNREACHABLE


class TestRefreshing:
    def test_a_chain_in_use_is_fetched_before_it_is_stale(self, cache):
        cache.serve(max_age=600)
        cache.get()
        assert cache.refresh() == 0
        cache.clock.now += 560
        assert isinstance(cache.cached(), Chain)
        assert cache.refresh() == 1
        assert cache.refresh() == 0
        assert cache.fetches == 2
        cache.clock.now += 500
        assert isinstance(cache.cached(), Chain)

    def test_a_chain_not_in_use_is_left_alone(self, cache):
        cache.serve(max_age=600)
        cache.get()
        cache.clock.now += 590
        assert cache.refresh() == 0

    def test_refreshing_does_not_wait(self, cache):
        cache.serve(max_age=600)
        cache.get()
        cache.clock.now += 590
        cache.cached()
        cache.host.hold(cache.url)

        async def run():
            assert cache.cache.refresh_due() == 1
            assert isinstance(cache.cached(), Chain)
            assert cache.cache.refresh_due() == 0
            await cache.cache.close()
            assert not cache.cache._flights

        asyncio.run(run())


class TestOutage:
    @pytest.mark.parametrize("fault", [Fault.TIMEOUT, Fault.SERVER_ERROR, Fault.GARBAGE,
                                       Fault.TRUNCATED])  # fmt: skip
    def test_an_old_chain_stays_usable(self, cache, fault):
        cache.serve(max_age=600)
        chain = cache.get()
        cache.host.fail(cache.url, fault)
        cache.clock.now += 700
        assert cache.get() is chain
        assert cache.fetches == 2
        # calls of the next seconds do not wait, and do not ask
        cache.clock.now += 29
        assert cache.cached() is chain
        assert cache.refresh() == 0
        # then it is asked beside the calls
        cache.clock.now += 2
        assert cache.cached() is chain
        assert cache.refresh() == 1
        assert cache.cached() is chain
        assert cache.counted == {"fetched": 1, "failed": 2}

    def test_asked_twice_a_minute_beside_the_calls(self, cache):
        cache.serve(max_age=600)
        chain = cache.get()
        cache.host.down()
        cache.clock.now += 560
        for _ in range(600):
            assert cache.cached() is chain
            cache.refresh()
            cache.clock.now += 1
        assert 20 <= cache.fetches <= 22

    def test_up_to_the_limit(self, cache):
        cache.serve(max_age=600)
        chain = cache.get()
        cache.host.down()
        cache.clock.now += 600 + DAY - 1
        assert cache.get() is chain
        cache.clock.now += 1
        assert cache.cached() is None
        failure = cache.get()
        assert failure == Failure(Reason.CERT_UNREACHABLE, failure.detail, cache.clock.now + 30)

    @pytest.fixture
    def back(self, cache):
        """A host that was down, is back, and has a new chain."""
        cache.serve(max_age=600)
        old = cache.get()
        cache.host.down()
        cache.clock.now += 700
        assert cache.get() is old
        cache.host.up()
        cache.carrier.renew()
        return old

    def test_and_ends_beside_the_calls_when_the_host_is_back(self, cache, back):
        cache.clock.now += 31
        assert cache.cached() is back
        assert cache.refresh() == 1
        assert cache.cached().digest == cache.carrier.chain.digest
        assert cache.fetches == 3

    def test_and_ends_even_if_nothing_refreshes(self, cache, back):
        cache.clock.now += 60
        assert cache.cached() is None
        assert cache.get().digest == cache.carrier.chain.digest

    @pytest.mark.parametrize("fault", [Fault.GONE, Fault.POLICY])
    def test_a_host_that_takes_the_chain_away_is_obeyed(self, cache, fault):
        cache.serve(max_age=600)
        cache.get()
        cache.host.fail(cache.url, fault)
        cache.clock.now += 700
        assert isinstance(cache.get(), Failure)
        assert isinstance(cache.cached(), Failure)
        assert len(cache.cache) == 0

    @pytest.mark.parametrize("caching", [{"max_age": 0, "store": False, "stale": False},
                                         {"max_age": 600, "stale": False}])  # fmt: skip
    def test_a_host_that_forbids_stale_use_is_obeyed(self, cache, caching):
        cache.serve(**caching)
        cache.get()
        cache.host.down()
        cache.clock.now += 601
        assert isinstance(cache.get(), Failure)


class TestFailures:
    def test_not_asked_again_for_a_while(self, cache):
        cache.host.down()
        first = cache.get()
        assert first.reason is Reason.CERT_UNREACHABLE
        assert first.until == NOW + 30
        cache.clock.now += 29
        assert cache.get() is first
        assert cache.fetches == 1
        cache.host.up()
        assert cache.cached() is first
        cache.clock.now += 1
        assert isinstance(cache.get(), Chain)
        assert isinstance(cache.cached(), Chain)

    @pytest.mark.parametrize("fault", [Fault.GARBAGE, Fault.TRUNCATED])
    def test_what_is_no_chain(self, cache, fault):
        cache.host.fail(cache.url, fault)
        assert cache.get().reason is Reason.CERT_MALFORMED

    def test_a_place_that_may_not_be_fetched_is_not_asked(self, cache):
        for url in ("http://cert.example.org/x", "https://127.0.0.1/x", "nonsense"):
            assert cache.get(url).reason in (Reason.X5U_POLICY, Reason.INFO_INVALID)
        assert cache.fetches == 0
        assert len(cache.cache._failures) == 0

    def test_an_error_of_ours_is_not_swallowed_nor_remembered(self, cache):
        async def broken(*_, **__):
            raise ZeroDivisionError

        good, cache.host.fetch = cache.host.fetch, broken
        with pytest.raises(ZeroDivisionError):
            cache.get()
        cache.host.fetch = good
        assert isinstance(cache.get(), Chain)


class TestFlood:
    """Tokens that nobody signed name any URL they like."""

    LIMITS = RepositoryLimits(
        entries=20,
        entries_per_host=5,
        failures=10,
        places=PlaceLimits(fetches=6, of_host=3),
        refreshes=6,
    )

    @pytest.fixture
    def cache(self, world):
        return Cache(world, limits=self.LIMITS)

    def flood(self, cache, urls):
        for url in urls:
            cache.host.publish(url, cache.carrier.chain_pem)
            cache.get(url)

    def test_failures_do_not_push_chains_out(self, cache):
        cache.get()
        for n in range(100):
            cache.get(f"https://evil.example.net/{n}")
        assert isinstance(cache.cached(), Chain)
        assert len(cache.cache._failures) == 10

    def test_one_host_pushes_out_its_own_only(self, cache):
        cache.get()
        self.flood(cache, [f"https://evil.example.net/{n}" for n in range(100)])
        assert isinstance(cache.cached(), Chain)
        assert len(cache.cache) == 6

    def test_many_hosts_do_not_push_out_what_a_signature_has_verified_under(self, cache):
        cache.get()
        cache.cache.keep(cache.url)
        cache.cache.keep(cache.url)
        self.flood(cache, [f"https://e{n}.example.net/x" for n in range(100)])
        assert isinstance(cache.cached(), Chain)
        assert len(cache.cache) == 20
        assert cache.counted["evicted"] == 81
        assert len(cache.cache._of_host) == 19

    def test_proven_chains_are_bounded_too(self, cache):
        urls = [f"https://e{n}.example.net/x" for n in range(50)]
        for url in urls:
            self.flood(cache, [url])
            cache.cache.keep(url)
        assert len(cache.cache) == 20
        assert isinstance(cache.cached(urls[-1]), Chain)
        assert cache.cached(urls[0]) is None
        assert len(cache.cache._proven) == 17
        assert len(cache.cache._unproven) == len(cache.cache._of_host) == 3

    def test_use_keeps_a_chain(self, cache):
        cache.get()
        for n in range(30):
            self.flood(cache, [f"https://e{n}.example.net/x"])
            assert isinstance(cache.cached(), Chain)

    def test_fetches_under_way_are_bounded(self, cache):
        urls = [f"https://h{n % 3}.example.net/{n}" for n in range(30)]
        for url in urls:
            cache.host.publish(url, cache.carrier.chain_pem)
            cache.host.hold(url)

        async def run():
            tasks = [asyncio.create_task(cache.cache.get(url)) for url in urls]
            await asyncio.sleep(0.01)
            assert cache.fetches == 6
            for url in urls:
                cache.host.release(url)
            return await asyncio.gather(*tasks)

        results = asyncio.run(run())
        refused = [result for result in results if isinstance(result, Failure)]
        assert len(refused) == 24
        assert {failure.reason for failure in refused} == {Reason.CERT_UNREACHABLE}
        assert not len(cache.cache._places)
        # the refusal was not held against the URL
        assert isinstance(cache.get(urls[-1]), Chain)

    def test_who_gives_way_fails_and_its_callers_go_on(self, cache):
        urls = [f"https://slow{n // 3}.example.net/{n}" for n in range(6)]
        for url in urls:
            cache.host.publish(url, cache.carrier.chain_pem)
            cache.host.hold(url)

        async def run():
            tasks = [asyncio.create_task(cache.cache.get(url)) for url in urls]
            await asyncio.sleep(0)  # some have a flight that has not begun
            assert isinstance(await cache.cache.get(cache.url), Chain)
            for url in urls:
                cache.host.release(url)
            return await asyncio.gather(*tasks)

        results = asyncio.run(run())
        assert [type(result) for result in results] == [Failure] + [Chain] * 5
        assert "others wait" in results[0].detail
        assert isinstance(cache.get(urls[0]), Chain)

    def test_a_caller_that_is_cancelled_leaves_the_fetch(self, cache):
        cache.host.publish(cache.url, cache.carrier.chain_pem)
        cache.host.hold(cache.url)

        async def run():
            first = asyncio.create_task(cache.cache.get(cache.url))
            second = asyncio.create_task(cache.cache.get(cache.url))
            await asyncio.sleep(0.01)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            cache.host.release(cache.url)
            assert isinstance(await second, Chain)

        asyncio.run(run())
        assert not cache.cache._places._waiting

    def test_one_host_takes_its_share_only(self, cache):
        urls = [f"https://slow.example.net/{n}" for n in range(10)]
        for url in urls:
            cache.host.publish(url, cache.carrier.chain_pem)
            cache.host.hold(url)

        async def run():
            tasks = [asyncio.create_task(cache.cache.get(url)) for url in urls]
            await asyncio.sleep(0.01)
            assert cache.fetches == 3
            assert isinstance(await cache.cache.get(cache.url), Chain)
            for url in urls:
                cache.host.release(url)
            await asyncio.gather(*tasks)

        asyncio.run(run())


def test_limits_and_answers_have_their_stated_defaults():
    assert FetchLimits().chain_bytes == 65_536
    assert FetchLimits().chain_redirects == 0
    assert RepositoryLimits().least_fresh == 60
    assert RepositoryLimits().most_fresh == DAY
    assert Fetched(b"").caching == NotModified().caching == Caching()
    assert FetchError(Reason.CERT_UNREACHABLE, "x").passing
    assert not FetchError(Reason.X5U_POLICY, "x").passing


@pytest.mark.e2e
@pytest.mark.enable_socket
def test_over_real_http_on_loopback(world):
    carrier = world.carrier("1234")
    files = {"/chain.pem": carrier.chain_pem}
    policy = X5uPolicy(allow_http_loopback=True)
    clock = Clock()
    with served(files) as base:
        counted = []
        cache = CertificateRepository(
            HttpFetcher(policy=policy), policy=policy, clock=clock, count=counted.append
        )
        url = f"{base}/chain.pem"
        chain = asyncio.run(cache.get(url))
        assert chain.digest == carrier.chain.digest
        clock.now += 60
        assert asyncio.run(cache.get(url)) is chain
        assert asyncio.run(cache.get(f"{base}/other")).reason is Reason.CERT_UNREACHABLE
        assert asyncio.run(cache.get("ftp://here.example/x")).reason is Reason.X5U_POLICY
        assert counted == ["fetched", "unchanged", "failed", "refused"]


# Suspicion ----------------------------------------------------------------------------------------


def test_a_suspected_chain_is_fetched_anew_behind_the_answer_once_a_minute(cache):
    cache.serve(max_age=DAY)
    old = cache.get()
    cache.carrier.renew()
    cache.serve(max_age=DAY)

    async def run():
        cache.cache.suspect(cache.url)
        assert cache.cached() is old  # the call that fails does not wait
        cache.cache.suspect(cache.url)
        await asyncio.gather(*cache.cache._flights.values())
        new = cache.cached()
        for later in (0, 1, 59):
            cache.clock.now = NOW + later
            cache.cache.suspect(cache.url)
        assert not cache.cache._flights
        return new

    new = asyncio.run(run())
    assert new.digest != old.digest
    assert cache.fetches == 2
    cache.clock.now = NOW + 60
    cache.cache.suspect(cache.url)  # outside the loop: left to refresh_due
    assert cache.refresh() == 1
    assert cache.fetches == 3


def test_suspicion_of_what_is_not_held_does_nothing(cache):
    cache.cache.suspect(cache.url)
    assert cache.refresh() == 0
    assert cache.fetches == 0


def test_a_host_that_is_down_takes_no_suspected_chain_away(cache):
    cache.serve(max_age=DAY)
    old = cache.get()
    cache.host.fail(cache.url, Fault.TIMEOUT)
    cache.cache.suspect(cache.url)
    cache.refresh()
    assert cache.cached() is old


@pytest.mark.parametrize("ahead", [HOUR, 60 * DAY])
class TestAClockThatWasAhead:
    """It was so when something happened, and is right again."""

    def test_a_host_that_failed_then_is_asked_again(self, cache, ahead):
        cache.host.down()
        cache.clock.now += ahead
        assert isinstance(cache.get(), Failure)
        cache.clock.now -= ahead
        cache.host.up()
        assert cache.cached() is None
        assert isinstance(cache.get(), Chain)

    def test_a_chain_that_came_then_is_kept_no_longer_for_it(self, cache, ahead):
        cache.serve(max_age=600)
        cache.clock.now += ahead
        chain = cache.get()
        cache.clock.now -= ahead
        assert cache.cached() is chain
        assert cache.refresh() == 0
        cache.clock.now += 541
        assert cache.cached() is chain
        assert cache.refresh() == 1
        cache.host.down()
        cache.clock.now += 600 + DAY
        assert cache.cached() is None

    def test_a_held_chain_whose_host_failed_then_is_asked_for_again(self, cache, ahead):
        cache.serve(max_age=ahead)
        cache.cache.keep(cache.url)
        chain = cache.get()
        cache.host.down()
        cache.clock.now += min(ahead, DAY) - 1
        assert cache.cached() is chain
        assert cache.refresh() == 1
        cache.clock.now -= 61
        assert cache.cached() is chain
        assert cache.refresh() == 1

    def test_a_chain_that_was_suspected_then_is_fetched_anew(self, cache, ahead):
        cache.get()
        cache.clock.now += ahead
        cache.cache.suspect(cache.url)
        assert cache.refresh() == 1
        cache.clock.now -= ahead
        cache.cached()
        cache.cache.suspect(cache.url)
        assert cache.refresh() == 1


class TestRestart:
    """What a process knew is known to the next."""

    @pytest.fixture
    def file(self, tmp_path):
        return tmp_path / "chains.json"

    def restarted(self, cache, file, world):
        write_chains(file, cache.cache.kept())
        after = Cache(world)
        after.clock.now, after.carrier, after.url = cache.clock.now, cache.carrier, cache.url
        return after

    def proven(self, cache, **caching):
        cache.serve(**caching)
        cache.get()
        cache.cache.keep(cache.url)

    def test_a_fresh_chain_is_there_at_once_and_its_host_is_known(self, cache, file, world):
        self.proven(cache, max_age=HOUR, etag='"1"')
        after = self.restarted(cache, file, world)
        fetches = after.fetches
        assert after.cache.restore(read_chains(file)) == 1
        assert after.cached() == cache.cached()
        assert after.cache.proven() == [cache.cached()]
        for number in range(200):  # strangers' places are taken
            after.cache._places.take(f"h{number}.e{number}.example")
        assert after.cache._places.take(cache.url.split("/")[2])
        assert after.fetches == fetches

    def test_a_start_makes_no_chain_fresher_than_it_was(self, cache, file, world):
        self.proven(cache, max_age=HOUR)
        cache.clock.now += 2 * HOUR
        after = self.restarted(cache, file, world)
        assert after.cache.restore(read_chains(file)) == 1
        assert after.cached() is None  # its host is asked first
        after.clock.now += 24 * HOUR
        again = self.restarted(after, file, world)
        assert again.cache.restore(read_chains(file)) == 0

    def test_unproven_and_unstorable_chains_are_not_kept(self, cache, file):
        cache.serve(max_age=HOUR)
        cache.get()
        assert cache.cache.kept() == []
        self.proven(cache, max_age=HOUR, store=False)
        cache.clock.now += HOUR
        cache.get()  # anew: now the host forbids it
        assert cache.cache.kept() == []

    def test_addresses_that_the_policy_refuses_are_not_restored(self, cache, file, world):
        self.proven(cache, max_age=HOUR)
        write_chains(file, cache.cache.kept())
        other = CertificateRepository(
            world.repository,
            policy=X5uPolicy(repositories=("only.example.org",)),
            clock=cache.clock,
        )
        assert other.restore(read_chains(file)) == 0

    @pytest.mark.parametrize(
        "octets",
        [b"", b"{}", b"[]", b'{"format":2,"chains":[]}', b"\xff", b'{"format":1,"chains":[1]}'],
    )
    def test_a_file_that_cannot_be_read_is_told(self, file, octets):
        file.write_bytes(octets)
        with pytest.raises(ConfigError, match=r"chains\.json"):
            read_chains(file)

    def test_no_file_is_no_chain(self, file):
        assert read_chains(file) == []

    def test_the_file_is_its_owners(self, cache, file):
        self.proven(cache, max_age=HOUR)
        write_chains(file, cache.cache.kept())
        assert file.stat().st_mode & 0o777 == 0o600
        assert [one.name for one in file.parent.iterdir()] == [file.name]
