"""Random histories of the registry: the engine against the plain registry, step by step."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from plain import PlainRegistry

from passport.errors import ConfigError
from passport.tn import TN, TNRange
from registry.journal import Change, RegistryConflictError, VersionConflictError, end, put
from registry.model import (
    Access,
    Binding,
    BindingModel,
    Direction,
    Holding,
    Kind,
    Order,
    Reseller,
    State,
    Subject,
    TargetKind,
    Use,
    Verification,
    Who,
)
from stores.book import Book
from stores.local import LocalRegistry

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
    names,
    document_kind=st.just("id"),
    document=st.sampled_from(["d1", "d1", "d2", "d2", "d3"]),
    state=states,
)
resellers = st.builds(Reseller, names, parent=st.sampled_from(["", "a", "b", "c"]), state=states)
holdings = st.builds(
    Holding,
    ranges(),
    names,
    st.sampled_from(Verification),
    st.sampled_from(Use),
    st.sampled_from([(), ("1",), ("1", "2")]),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "e"]),
    st.sampled_from([0, 7]),
)
accesses = st.builds(Access, names, origids, names, state=states)
displayed = st.sampled_from([TN("101"), TN("102"), TN("103")])
people = st.integers(95, 99).map(lambda n: TN(str(n)))


@st.composite
def usual_bindings(draw):
    """As platforms send them; the other strategy is for what they should not send."""
    model = draw(st.sampled_from(BindingModel))
    paired = model in (BindingModel.AXB, BindingModel.AXYB)
    since = draw(st.integers(0, 30))
    return Binding(
        draw(st.sampled_from(["u", "v", "w", "x", "y"])),
        "a",
        model,
        draw(displayed),
        draw(people),
        since,
        draw(people) if paired else None,
        draw(displayed) if model is BindingModel.AXYB else None,
        draw(st.sampled_from(["7", "8"])) if model is BindingModel.AXE else "",
        draw(st.sampled_from(Direction)),
        draw(st.none() | st.integers(1, 40).map(lambda length: since + length)),
    )


odd_bindings = st.builds(
    Binding,
    st.sampled_from(["x", "y", "z"]),
    names,
    st.sampled_from(BindingModel),
    numbers,
    numbers,
    st.integers(0, 30),
    st.none() | numbers,
    st.none() | numbers,
    st.sampled_from(["", "7"]),
    st.sampled_from(Direction),
    st.none() | st.integers(5, 60),
)
bindings = st.one_of(usual_bindings(), usual_bindings(), odd_bindings)
orders = st.builds(
    Order,
    st.sampled_from(["o1", "o2"]),
    st.just("regulator"),
    st.just("ref"),
    st.sampled_from(TargetKind),
    st.sampled_from(["a", "105", "100-109", "1", "FF"]),
    st.integers(0, 30),
    st.integers(1, 30),
    st.just("token"),
    lifted=st.none() | st.integers(0, 30),
)
records = st.one_of(subjects, resellers, holdings, holdings, accesses, bindings, orders)


class Histories(RuleBasedStateMachine):
    """Both are asked to do the same; both must do the same."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "registry.db"
        self.engine = Book(path, writer=True, synchronous="OFF")
        self.calls = LocalRegistry(path, limit=5)
        self.plain = PlainRegistry()
        self.now = 10
        lent = Holding(TNRange(TN("101"), TN("103")), "a", use=Use.PRIVACY)
        documents = {"a": "d1", "b": "d2", "c": "d3"}
        people = [Subject(n, document_kind="id", document=d) for n, d in documents.items()]
        self._both([put(person) for person in people])
        self._both([put(Reseller("a")), put(Reseller("b", parent="a"))])
        self._both([put(lent), put(Holding(TNRange(TN("100"), TN("119")), "b"))])

    def teardown(self):
        self.engine.close()
        self.calls.close()
        self.folder.cleanup()

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
        self._both([put(value)])

    @rule(a=people, x=displayed, b=people, extension=st.sampled_from(["", "7"]), dt=st.floats(0, 9))
    def bound_here(self, a, x, b, extension, dt):
        self.bound(a, x, b, extension, dt)

    @rule()
    def purge(self):
        self.engine.purge(self.now)
        self.plain.purge(self.now)

    @rule(values=st.lists(records, min_size=2, max_size=4))
    def put_several(self, values):
        self._both([put(value) for value in values])

    @rule(value=records)
    def put_if_unchanged(self, value):
        change = put(value)
        found = self.plain.get(change.kind, change.key)
        self._both([put(value, found[0] if found is not None else 0)])

    @rule(data=st.data())
    def end_one(self, data):
        known = sorted(self.plain.records, key=str)
        if known:
            kind, key = data.draw(st.sampled_from(known))
            self._both([Change(kind, key, None)])

    @rule(value=records)
    def end_perhaps_nothing(self, value):
        self._both([end(value)])

    @rule(value=records, request=st.sampled_from([b"r1", b"r2"]), print_=st.sampled_from([b"p"]))
    def once(self, value, request, print_):
        self._both([put(value)], request=request, fingerprint=print_ + value.key.encode())

    @rule(value=records)
    def only_try(self, value):
        self._both([put(value)], dry_run=True)

    @rule(step=st.integers(-10, 20))
    def clock(self, step):
        self.now = max(0, self.now + step)

    @rule(n=numbers, at=st.integers(0, 80))
    def who_held(self, n, at):
        assert self.engine.held_at(n, at) == self.plain.held_at(n, at)

    @rule(value=records)
    def history(self, value):
        kind = put(value).kind
        assert self.engine.history(kind, value.key) == self.plain.history(kind, value.key)

    @rule(a=numbers, x=numbers, b=numbers, extension=st.sampled_from(["", "7"]), dt=st.floats(0, 9))
    def bound_anywhere(self, a, x, b, extension, dt):
        self.bound(a, x, b, extension, dt)

    def bound(self, a, x, b, extension, dt):
        now = self.now + dt
        found = [r.binding(a, x, b, extension, now) for r in (self.plain, self.calls)]
        # Several may permit one call; which of them is told does not matter.
        assert (found[0] is None) == (found[1] is None), found
        if found[1] is not None:
            assert found[1].active(now)
            assert found[1].permits(a, x, b, extension)

    @invariant()
    def calls_see_the_same(self):
        self.calls.turn()
        plain, calls = self.plain, self.calls
        for n in range(98, 132, 3):
            tn = TN(str(n))
            assert calls.holding(tn) == plain.holding(tn)
            who = Who(("a",), ("b",), ("1",), (tn,), "FF")
            assert calls.order(who, self.now) == plain.order(who, self.now)
        for name in ("a", "b", "c"):
            assert calls.access(name, None) == plain.access(name, None)
            for reseller in ("", "a", "b"):
                assert calls.standing(name, reseller) == plain.standing(name, reseller)
        for i in range(4):
            origid = f"{i}0000000-0000-4000-8000-000000000001"
            assert calls.access(None, origid) == plain.access(None, origid)


Histories.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, print_blob=False
)
TestHistories = Histories.TestCase


def test_pages_hold_every_record_once(tmp_path):
    book = Book(tmp_path / "registry.db", writer=True)
    book.write([put(Subject("s"))], author="a", reason="r", now=1)
    held = [Holding(TNRange(TN(str(n)), TN(str(n + n % 3))), "s") for n in range(100, 160, 3)]
    held += [Holding(TNRange(TN(str(n)), TN(str(n))), "s") for n in range(300, 320)]
    book.write([put(h) for h in held], author="a", reason="r", now=1)
    found, after = [], ""
    while after is not None:
        page = book.page(Kind.HOLDING, after=after, limit=7)
        found += [record.key for _, record in page.rows]
        after = page.following
    assert sorted(found) == sorted(h.key for h in held)
    assert [h.key for _, h in book.holdings()] == found
