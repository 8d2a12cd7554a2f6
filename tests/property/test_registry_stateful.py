"""Random histories of the registry: every engine against the plain registry, step by step."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from engines import ENGINES, Fleet
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace
from plain import PlainRegistry

from zhenxian.analytics.model import KeyKind, Measure
from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.journal import Change, RegistryConflictError, VersionConflictError, end, put
from zhenxian.registry.model import (
    Access,
    Binding,
    BindingModel,
    CalleeRefusal,
    Clearing,
    Direction,
    Exemption,
    Holding,
    Kind,
    Order,
    Reseller,
    Scope,
    State,
    Subject,
    TargetKind,
    Use,
    Verification,
    Who,
    clearing_id,
)
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.sorted_holdings import NAMED, load, sort

REFUSALS = (ConfigError, RegistryConflictError, VersionConflictError)
names = st.sampled_from(["a", "b", "c"])
states = st.sampled_from([State.ACTIVE] * 6 + list(State))
# Few numbers, so that ranges touch, nest and repeat; two lengths, so that they must not mix.
numbers = st.one_of(
    st.integers(100, 130).map(lambda n: TN(str(n))), st.integers(95, 99).map(lambda n: TN(str(n)))
)
origids = st.sampled_from([f"{i}0000000-0000-4000-8000-000000000001" for i in range(4)])


@st.composite
def ranges(draw):
    first = draw(st.integers(100, 130))
    return TNRange(TN(str(first)), TN(str(first + draw(st.sampled_from([0, 0, 1, 4, 9, 15])))))


subjects = st.builds(
    Subject,
    id=names,
    document_kind=st.just("id"),
    document=st.sampled_from(["d1", "d1", "d2", "d2", "d3"]),
    state=states,
)
resellers = st.builds(Reseller, id=names, parent=st.sampled_from(["", "a", "b", "c"]), state=states)
holdings = st.builds(
    Holding,
    numbers=ranges(),
    subject=names,
    verification=st.sampled_from(Verification),
    use=st.sampled_from(Use),
    spcs=st.sampled_from([(), ("1",), ("1", "2")]),
    reseller=st.sampled_from(["", "a", "b"]),
    evidence=st.sampled_from(["", "e"]),
    verified_on=st.sampled_from([0, 7]),
)
accesses = st.builds(Access, id=names, origid=origids, subject=names, state=states)
displayed = st.sampled_from([TN("101"), TN("102"), TN("103")])
people = st.integers(95, 99).map(lambda n: TN(str(n)))


@st.composite
def usual_bindings(draw):
    """As platforms send them, around the instant 0; for what they should not send, see below."""
    model = draw(st.sampled_from(BindingModel))
    paired = model in (BindingModel.AXB, BindingModel.AXYB)
    since = draw(st.integers(-6, 6))
    return Binding(
        id=draw(st.sampled_from(["u", "v", "w", "x", "y"])),
        platform="a",
        model=model,
        x=draw(displayed),
        a=draw(people),
        since=since,
        b=draw(people) if paired else None,
        y=draw(displayed) if model is BindingModel.AXYB else None,
        extension=draw(st.sampled_from(["7", "8"])) if model is BindingModel.AXE else "",
        direction=draw(st.sampled_from(Direction)),
        until=draw(st.none() | st.integers(1, 20).map(lambda length: since + length)),
    )


odd_bindings = st.builds(
    Binding,
    id=st.sampled_from(["x", "y", "z"]),
    platform=names,
    model=st.sampled_from(BindingModel),
    x=numbers,
    a=numbers,
    since=st.integers(0, 30),
    b=st.none() | numbers,
    y=st.none() | numbers,
    extension=st.sampled_from(["", "7"]),
    direction=st.sampled_from(Direction),
    until=st.none() | st.integers(5, 60),
)
orders = st.builds(
    Order,
    id=st.sampled_from(["o1", "o2"]),
    issuer=st.just("regulator"),
    reference=st.just("ref"),
    kind=st.sampled_from(TargetKind),
    target=st.sampled_from(["a", "105", "100-109", "1", "FF"]),
    since=st.integers(0, 30),
    number=st.integers(1, 30),
    token=st.just("token"),
    lifted=st.none() | st.integers(0, 30),
)
exemptions = st.builds(
    Exemption,
    id=st.sampled_from(["e1", "e2", "e3"]),
    kind=st.sampled_from(KeyKind),
    target=names,
    reason=st.just("because"),
    since=st.integers(0, 30),
    until=st.integers(5, 60),
    measures=st.sampled_from([(), (Measure.SPREAD,), (Measure.RATE, Measure.ORIGIDS)]),
)
refusals = st.builds(
    CalleeRefusal,
    numbers=ranges(),
    since=st.integers(0, 30),
    until=st.none() | st.integers(5, 60),
    source=st.sampled_from(["", "hotline"]),
)
clearings = st.builds(
    Clearing,
    id=st.sampled_from([clearing_id(at, "x") for at in (5, 9)]),
    kind=st.sampled_from(KeyKind),
    target=names,
    at=st.integers(0, 30),
    by=st.just("me"),
    reason=st.just("because"),
    state=st.sampled_from(["suspected", "pooled"]),
    since=st.integers(0, 30),
    measures=st.sampled_from([(Measure.SPREAD,), (Measure.RATE, Measure.ORIGIDS)]),
    sentence=st.just("spread"),
)
records = st.one_of(
    subjects, resellers, holdings, holdings, accesses, odd_bindings, orders, exemptions, refusals,
    clearings,
)  # fmt: skip


def shifted(binding, by):
    until = binding.until
    return replace(binding, since=binding.since + by, until=None if until is None else until + by)


@st.composite
def successors(draw, record, now):
    """What a record may become next."""
    if isinstance(record, Binding):
        return replace(record, until=draw(st.none() | st.integers(now - 2, now + 9)))
    if isinstance(record, Order):
        more = record.number + draw(st.integers(0, 1))
        return replace(record, number=more, lifted=now, lifted_by="regulator")
    if isinstance(record, Exemption):
        return replace(record, until=draw(st.integers(now - 2, now + 30)), reference="7")
    if isinstance(record, Clearing):
        return replace(record, reason="favour")
    if isinstance(record, CalleeRefusal):
        return replace(record, until=draw(st.none() | st.integers(now - 2, now + 9)))
    if isinstance(record, Access):
        return replace(record, origid=draw(origids), state=draw(states))
    if isinstance(record, Holding):
        return replace(record, subject=draw(names), use=draw(st.sampled_from(Use)))
    if isinstance(record, Reseller):
        return replace(record, parent=draw(st.sampled_from(["", "a", "b", "c"])))
    return replace(record, state=draw(st.sampled_from(State)), name=draw(names))


def _any_known(histories):
    return bool(histories.plain.records)


class Histories(RuleBasedStateMachine):
    """Both are asked to do the same; both must do the same.

    The plain registry purges nothing: that an engine does must not be seen.
    """

    def __init__(self, engine):
        super().__init__()
        self.limits = contextlib.ExitStack()
        for name, limit in (("MAX_CHAIN", 2), ("MAX_PAIRS", 3), ("MAX_EXEMPT", 25)):
            self.limits.enter_context(mock.patch(f"zhenxian.registry.rules.{name}", limit))
        for name, limit in (
            ("journal.MANY", 3),
            ("sorted_holdings.MAX_TOUCHED", 4),
            ("sorted_holdings.MAX_RANGES", 3),
        ):
            self.limits.enter_context(mock.patch(f"zhenxian.stores.sqlite.{name}", limit))
        folder = self.limits.enter_context(tempfile.TemporaryDirectory())
        self.engine = engine(Path(folder))
        self.plain = PlainRegistry()
        self.now = self.purged = 10
        lent = Holding(numbers=TNRange(TN("101"), TN("103")), subject="a", use=Use.PRIVACY)
        documents = {"a": "d1", "b": "d2", "c": "d3"}
        people = [Subject(id=n, document_kind="id", document=d) for n, d in documents.items()]
        self._both([put(person) for person in people])
        self._both([put(Reseller(id="a")), put(Reseller(id="b", parent="a"))])
        self._both([put(lent), put(Holding(numbers=TNRange(TN("100"), TN("119")), subject="b"))])

    def teardown(self):
        self.engine.close()
        self.limits.close()

    def _both(self, changes, **more):
        outcomes = []
        for registry in (self.plain, self.engine):
            try:
                commit = registry.write(changes, author="me", reason="why", now=self.now, **more)
                outcomes.append((commit.seq, commit.time, commit.changes))
            except REFUSALS as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1], (outcomes, changes)

    @rule(value=records, expected=st.none() | st.integers(0, 5))
    def put_one(self, value, expected):
        self._both([put(value, expected)])

    @rule(value=usual_bindings())
    def lend(self, value):
        self._both([put(shifted(value, self.now))])

    @rule(a=people, x=displayed, b=people, extension=st.sampled_from(["", "7"]), dt=st.floats(0, 9))
    def bound_here(self, a, x, b, extension, dt):
        self.bound(a, x, b, extension, dt)

    @rule()
    def purge(self):
        self.engine.purge(self.now)
        self.purged = self.now

    @rule()
    def restart(self):
        self.engine.restart()

    @rule()
    def sort(self):
        """Calls look holdings up in columns from now on, where no commit touched them since."""
        sort(self.engine.calls.records.path)
        columns = self._columns()
        assert len(columns) == sum(kind is Kind.HOLDING for kind, _ in self.plain.records)
        assert self.engine.calls.take_sorted(columns)
        table = self.engine.records.tables.holdings
        for n in range(98, 147):
            tn = TN(str(n))
            assert columns.covering(tn, table) == self.plain.holding(tn)

    @precondition(lambda histories: histories._columns() is not None)
    @rule()
    def take_columns_made_before(self):
        calls = self.engine.calls
        before = calls.sorted
        if not calls.take_sorted(self._columns()):
            assert calls.sorted is before

    def _columns(self):
        file = self.engine.calls.records
        token = file.meta(NAMED)
        return load(file.path, token) if token is not None else None

    @rule(values=st.lists(records, min_size=2, max_size=4))
    def put_several(self, values):
        self._both([put(value) for value in values])

    @rule(value=records)
    def put_if_unchanged(self, value):
        change = put(value)
        found = self.plain.get(change.kind, change.key)
        self._both([put(value, found[0] if found is not None else 0)])

    @precondition(_any_known)
    @rule(data=st.data(), named=st.booleans())
    def change_one(self, data, named):
        version, record = self.plain.records[data.draw(st.sampled_from(self._known()))]
        value = data.draw(successors(record, self.now))
        self._both([put(value, version if named else None)])

    @precondition(_any_known)
    @rule(data=st.data())
    def end_one(self, data):
        kind, key = data.draw(st.sampled_from(self._known()))
        self._both([Change(kind, key, None)])

    def _known(self):
        return sorted(self.plain.records, key=str)

    @rule(value=records)
    def end_perhaps_nothing(self, value):
        self._both([end(value)])

    @rule(value=records, request=st.sampled_from([b"r1", b"r2"]), print_=st.sampled_from([b"p"]))
    def once(self, value, request, print_):
        self._both([put(value)], request=request, fingerprint=print_ + value.key.encode())

    @rule(value=records)
    def only_try(self, value):
        self._both([put(value)], dry_run=True)

    @rule(step=st.integers(-4, 8))
    def clock(self, step):
        # Behind what was purged, what had ended by then is not to be seen again.
        self.now = max(self.purged, self.now + step)

    @rule(data=st.data())
    def ask_of_the_past(self, data):
        plain, book = self.plain, self.engine.records
        times = {commit.time for commit, _ in plain.commits}
        at = data.draw(st.sampled_from(sorted(times)) | st.integers(0, self.now + 9))
        for n in range(98, 132, 2):
            assert book.held_at(TN(str(n)), at) == plain.held_at(TN(str(n)), at)
        for kind, key in {(c.kind, c.key) for commit, _ in plain.commits for c in commit.changes}:
            assert book.history(kind, key) == plain.history(kind, key)
            assert book.at(kind, key, at) == plain.at(kind, key, at)

    @rule(kind=st.sampled_from(Kind), limit=st.integers(1, 4))
    def pages(self, kind, limit):
        found, after = [], ""
        while after is not None:
            page = self.engine.records.page(kind, after=after, limit=limit)
            found += page.rows
            after = page.following
        known = [entry for (k, _), entry in self.plain.records.items() if k is kind]
        if kind is Kind.BINDING:
            found, known = ([e for e in part if self._lasts(e[1])] for part in (found, known))
        assert sorted(found, key=str) == sorted(known, key=str)

    def _lasts(self, binding):
        return binding.until is None or binding.until > self.now

    @rule(a=numbers, x=numbers, b=numbers, extension=st.sampled_from(["", "7"]), dt=st.floats(0, 9))
    def bound_anywhere(self, a, x, b, extension, dt):
        self.bound(a, x, b, extension, dt)

    def bound(self, a, x, b, extension, dt):
        now = self.now + dt
        found = [r.binding(a, x, b, extension, now) for r in (self.plain, self.engine.calls)]
        # Several may permit one call; which of them is told does not matter.
        assert (found[0] is None) == (found[1] is None), found
        if found[1] is not None:
            assert found[1].active(now)
            assert found[1].permits(a, x, b, extension)
        assert (self.engine.calls.shown(x, b, now) is None) == (self.plain.shown(x, b, now) is None)

    @invariant()
    def calls_see_the_same(self):
        self.engine.refresh()
        plain, calls = self.plain, self.engine.calls
        for n in range(98, 147, 2):
            tn = TN(str(n))
            assert calls.holding(tn) == plain.holding(tn)
            for now in (self.now, self.now + 5):
                refused = [r.refusal(tn, Scope.MARKETING, now) for r in (plain, calls)]
                # Several may; which of them is told does not matter.
                assert (refused[0] is None) == (refused[1] is None), refused
                if refused[1] is not None:
                    assert tn in refused[1].numbers
                    assert refused[1].active(now)
            who = Who(("a",), ("b",), ("1",), (tn,), "FF")
            assert calls.order(who, self.now) == plain.order(who, self.now)
        for name in ("a", "b", "c"):
            assert calls.access(name, None) == plain.access(name, None)
            for reseller in ("", "a", "b"):
                assert calls.standing(name, reseller) == plain.standing(name, reseller)
            for kind in KeyKind:
                for dt in (0, 5):
                    asked = (kind.value, name, self.now + dt)
                    assert calls.exemption(*asked) == plain.exemption(*asked)
        for since in (0, 6, 10):
            assert calls.clearings(since) == plain.clearings(since)
        for i in range(4):
            origid = f"{i}0000000-0000-4000-8000-000000000001"
            assert calls.access(None, origid) == plain.access(None, origid)


@pytest.mark.parametrize("name", ENGINES)
def test_histories(name):
    run_state_machine_as_test(
        lambda: Histories(ENGINES[name]),
        settings=settings(max_examples=50, stateful_step_count=40, deadline=None, print_blob=False),
    )


@pytest.mark.redis
@pytest.mark.enable_socket
def test_histories_of_a_fleet(fleet_redis):
    """Fewer, as every step asks Redis."""
    run_state_machine_as_test(
        lambda: Histories(lambda folder: Fleet(folder, fleet_redis.url)),
        settings=settings(max_examples=30, stateful_step_count=30, deadline=None, print_blob=False),
    )


def test_pages_hold_every_record_once(tmp_path):
    book = RegistryFile(tmp_path / "registry.db", writer=True)
    book.write([put(Subject(id="s"))], author="a", reason="r", now=1)
    held = [
        Holding(numbers=TNRange(TN(str(n)), TN(str(n + n % 3))), subject="s")
        for n in range(100, 160, 3)
    ]
    held += [Holding(numbers=TNRange(TN(str(n)), TN(str(n))), subject="s") for n in range(300, 320)]
    book.write([put(h) for h in held], author="a", reason="r", now=1)
    found, after = [], ""
    while after is not None:
        page = book.page(Kind.HOLDING, after=after, limit=7)
        found += [record.key for _, record in page.rows]
        after = page.following
    assert sorted(found) == sorted(h.key for h in held)
    assert [h.key for _, h in book.holdings()] == found
