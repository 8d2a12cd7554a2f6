"""What the registry refuses, and that it names both sides."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from plain import PlainRegistry

from zhenxian.analytics.model import KeyKind, Measure
from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.customers import Customer
from zhenxian.registry.journal import RegistryConflictError, VersionConflictError, end, put
from zhenxian.registry.model import (
    MAX_CHAIN,
    MAX_EXEMPT,
    MAX_PAIRS,
    Access,
    Binding,
    BindingModel,
    CalleeRefusal,
    Clearing,
    Direction,
    Exemption,
    Holding,
    Order,
    Reseller,
    Scope,
    State,
    Subject,
    TargetKind,
    Use,
    clearing_id,
)

NOW = 1_000
ORIGIDS = [f"{i}0000000-0000-4000-8000-000000000001" for i in range(5)]
A, B, C = TN("8613700000001"), TN("8613800000001"), TN("8613900000001")
X, Y = TN("8617000002000"), TN("8617000002001")


def held(first, last=None, subject="s", **more):
    return Holding(numbers=TNRange(TN(first), TN(last or first)), subject=subject, **more)


@pytest.fixture
def book():
    registry = PlainRegistry()
    write(
        registry,
        Subject(id="s", document_kind="id-card", document="d1"),
        Subject(id="t", document_kind="id-card", document="d2"),
        Subject(id="platform"),
        Reseller(id="mvno"),
        Reseller(id="agent", parent="mvno"),
        held("8675588880000", "8675588889999", reseller="agent"),
        held(X, Y, "platform", use=Use.PRIVACY),
        Access(id="trunk", origid=ORIGIDS[0], subject="s"),
    )
    return registry


def write(registry, *records, now=NOW):
    changes = [put(record) for record in records]
    return registry.write(changes, author="me", reason="why", now=now)


def refused(registry, change, *names, error=RegistryConflictError, now=NOW):
    before = dict(registry.records)
    with pytest.raises(error) as caught:
        registry.write([change], author="me", reason="why", now=now)
    for name in names:
        assert name in str(caught.value)
    assert registry.records == before


def axb(name="b1", x=X, a=A, b=B, **more):
    return Binding(
        id=name, platform="platform", model=BindingModel.AXB, x=x, a=a, since=NOW, b=b, **more
    )


def order(kind=TargetKind.SUBJECT, target="s", number=1, name="o1", **more):
    return Order(
        id=name,
        issuer="regulator",
        reference="ref 7",
        kind=kind,
        target=target,
        since=NOW,
        number=number,
        token="token",
        **more,
    )


# Identities -------------------------------------------------------------------------------------


def test_one_identity_is_one_subject(book):
    split = Subject(id="s2", document_kind="id-card", document="d1")
    refused(book, put(split), "s2", "subject s")
    write(book, Subject(id="s", document_kind="id-card", document="d1", state=State.SUSPENDED))
    refused(book, put(split), "s2", "suspended")


def test_a_subject_does_not_become_somebody_else(book):
    refused(book, put(Subject(id="s", document_kind="id-card", document="d9")), "subject s")
    refused(book, put(Subject(id="s", document="d1")), "document_kind", error=ConfigError)


@pytest.mark.parametrize("stop", ["suspended", "closed", "order"])
def test_who_is_stopped_gets_no_next_number_and_no_access(book, stop):
    if stop == "order":
        write(book, order())
    else:
        state = State(stop)
        write(book, Subject(id="s", document_kind="id-card", document="d1", state=state))
    why = "o1" if stop == "order" else stop
    refused(book, put(held("8675599990000")), "8675599990000", why)
    refused(book, put(Access(id="other", origid=ORIGIDS[1], subject="s")), "other", why)
    # What it has can still be changed, for instance to be withdrawn.
    write(book, held("8675588880000", "8675588889999", evidence="withdrawn"))


def test_what_is_used_or_suspended_is_not_removed(book):
    refused(book, end(Subject(id="s")), "8675588880000")
    refused(book, end(Reseller(id="mvno")), "agent")
    refused(book, end(Reseller(id="agent")), "holdings")
    write(book, Subject(id="t", document_kind="id-card", document="d2", state=State.SUSPENDED))
    refused(book, end(Subject(id="t")), "suspended")
    write(book, Subject(id="free"), order(target="free"))
    refused(book, end(Subject(id="free")), "o1")
    refused(book, end(Subject(id="nobody")), "nobody", error=ConfigError)


# Chains -----------------------------------------------------------------------------------------


def test_a_reseller_does_not_come_before_itself(book):
    refused(book, put(Reseller(id="mvno", parent="agent")), "mvno", "agent")
    refused(book, put(Reseller(id="self", parent="self")), "self")
    refused(book, put(Reseller(id="r", parent="nobody")), "nobody", error=ConfigError)


def test_chains_have_an_end(book):
    for i in range(MAX_CHAIN - 1):
        write(book, Reseller(id=f"r{i}", parent=f"r{i - 1}" if i else "mvno"))
    refused(book, put(Reseller(id="one-more", parent=f"r{MAX_CHAIN - 2}")), "one-more")


# Holdings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last"),
    [("8675588880500", "8675588890499"), ("8675588870000", "8675588880000")],
)
def test_ranges_nest_or_keep_apart(book, first, last):
    refused(book, put(held(first, last, "t")), "8675588880000-8675588889999", f"{first}-{last}")
    write(book, held("8675588880500", "8675588880599", "t"), held("867558888", "867558889", "t"))
    assert book.holding(TN("8675588880550")).subject == "t"
    assert book.holding(TN("8675588880600")).subject == "s"
    write(book, held("8675580000000", "8675589999999", "t"))
    assert book.holding(TN("8675588880600")).subject == "s"


def test_a_holding_changes_hands_only_by_its_version(book):
    given = held("8675588880000", "8675588889999", "t")
    refused(book, put(given), "held by s", "t")
    refused(book, put(given, 7), "7", error=VersionConflictError)
    book.write([put(given, 1)], author="me", reason="ported", now=2_000)
    tn = TN("8675588880001")
    assert book.held_at(tn, 1_999).value.subject == "s"
    assert book.held_at(tn, 2_000).value.subject == "t"


def test_two_registrars_writing_one_holding(book):
    """Both read version 1; the second is told."""
    mine = held("8675588880000", "8675588889999", evidence="mine")
    book.write([put(mine, 1)], author="one", reason="r", now=NOW)
    refused(book, put(replace(mine, evidence="theirs"), 1), "version 2", error=VersionConflictError)


@pytest.mark.parametrize("more", [{"subject": "nobody"}, {"reseller": "nobody"}])
def test_holders_and_resellers_are_registered_first(book, more):
    refused(book, put(held("8675599990000", **more)), "nobody", error=ConfigError)


# Accesses ---------------------------------------------------------------------------------------


def test_rotated_origids_stay_with_their_access(book):
    write(book, Access(id="trunk", origid=ORIGIDS[1], subject="s"))
    write(book, Access(id="trunk", origid=ORIGIDS[2], subject="s"))
    assert book.access_of(ORIGIDS[0]).id == "trunk"
    assert book.access(None, ORIGIDS[0]) is None
    assert book.access("trunk", None).former == (ORIGIDS[0], ORIGIDS[1])
    refused(book, put(Access(id="other", origid=ORIGIDS[0], subject="t")), "trunk", "other")
    refused(book, put(Access(id="trunk", origid=ORIGIDS[1], subject="s")), ORIGIDS[1])


# Bindings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "second",
    [
        axb("b2", a=A, b=C),
        axb("b2", a=C, b=B),
        axb("b2", a=B, b=C),
        Binding(id="b2", platform="platform", model=BindingModel.AX, x=X, a=C, since=NOW),
        Binding(
            id="b2", platform="platform", model=BindingModel.AXE, x=X, a=A, since=NOW, extension="7"
        ),
        Binding(
            id="b2", platform="platform", model=BindingModel.AXYB, x=Y, a=C, since=NOW, b=B, y=X
        ),
    ],
    ids=lambda b: b.model.value,
)
def test_nobody_is_bound_twice_on_one_display(book, second):
    write(book, axb(until=NOW + 10))
    refused(book, put(second), "b1", "b2", str(X))
    # Before or after, there is no contradiction.
    write(book, replace(second, since=NOW + 10))


def test_an_extension_is_one_partys(book):
    def axe(name, a, extension):
        return Binding(
            id=name,
            platform="platform",
            model=BindingModel.AXE,
            x=X,
            a=a,
            since=NOW,
            extension=extension,
        )

    write(book, axe("b1", A, "7"), axe("b2", B, "8"))
    refused(book, put(axe("b3", C, "7")), "b1", "b3")
    refused(
        book,
        put(Binding(id="b4", platform="platform", model=BindingModel.AX, x=X, a=C, since=NOW)),
        "b4",
    )


def test_the_last_pair_of_a_display(book):
    pairs = [
        axb(f"p{i}", a=TN(str(8613700000000 + i)), b=TN(str(8613800000000 + i)), until=NOW + 9)
        for i in range(MAX_PAIRS)
    ]
    for pair in pairs:
        book.add(pair)
    refused(book, put(axb("one-more", a=C, b=TN("8613900000002"))), str(MAX_PAIRS), str(X))


@pytest.mark.parametrize(
    ("binding", "says"),
    [
        (axb(b=None), "needs b"),
        (replace(axb(), y=Y), "y"),
        (replace(axb(), extension="7"), "extension"),
        (
            Binding(id="b", platform="platform", model=BindingModel.AXE, x=X, a=A, since=NOW),
            "extension",
        ),
        (
            Binding(id="b", platform="platform", model=BindingModel.AXYB, x=X, a=A, since=NOW, b=B),
            "y",
        ),
        (axb(b=A), "different"),
        (axb(a=X), "different"),
        (axb(until=NOW), "before it begins"),
        (replace(axb(until=NOW - 1), since=NOW - 5), "before it is made"),
    ],
)
def test_bindings_that_contradict_themselves(book, binding, says):
    refused(book, put(binding), says, error=ConfigError)


def test_only_a_privacy_number_of_the_platform_is_lent(book):
    refused(book, put(axb(x=TN("8675588880001"))), "8675588880001", "direct")
    refused(book, put(axb(x=TN("8675599990001"))), "8675599990001")
    refused(book, put(replace(axb(), platform="s")), "platform")


def test_of_a_binding_only_the_end_changes_and_only_while_it_lasts(book):
    write(book, axb(until=NOW + 10))
    refused(book, put(axb(a=C, until=NOW + 10)), "only its end")
    write(book, axb(until=NOW + 20))
    write(book, axb(until=NOW + 5))
    # What has ended is as good as none, whether or not it was put to the past already.
    write(book, axb(a=C, until=NOW + 50), now=NOW + 5)


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("model", BindingModel)
def test_whom_a_binding_permits(model, direction):
    paired = model in (BindingModel.AXB, BindingModel.AXYB)
    binding = Binding(
        id="b", platform="platform", model=model, x=X, a=A, since=NOW,
        b=B if paired else None,
        y=Y if model is BindingModel.AXYB else None,
        extension="7" if model is BindingModel.AXE else "",
        direction=direction,
        until=NOW + 10,
    )  # fmt: skip
    outward, inward = direction is not Direction.B_TO_A, direction is not Direction.A_TO_B
    shown_to_b = Y if model is BindingModel.AXYB else X
    assert binding.permits(A, shown_to_b, B, "") is outward
    assert binding.permits(B, X, A, "") is inward
    assert binding.permits(C, X, A, "") is (inward and not paired)
    assert binding.permits(A, shown_to_b, C, "") is (outward and not paired)
    assert binding.permits(C, X, B, "") is False
    assert binding.permits(A, C, B, "") is False
    assert binding.permits(B, X, A, "8") is (inward and model is not BindingModel.AXE)
    assert not binding.active(NOW - 0.001)
    assert binding.active(NOW)
    assert binding.active(NOW + 9.999)
    assert not binding.active(NOW + 10)


# Orders -----------------------------------------------------------------------------------------


def test_an_order_is_changed_by_lifting_only_and_once(book):
    write(book, order())
    refused(book, put(order(number=2, target="t")), "o1")
    refused(book, put(order(number=2)), "in force")
    refused(book, end(order()), "lifted by its issuer")
    write(book, order(number=2, lifted=NOW, lifted_by="regulator", lift_token="l"))
    refused(book, put(order(number=3)), "was lifted")
    refused(book, put(order(number=3, name="o9", lifted=NOW)), "o9", error=ConfigError)


def test_what_an_issuer_said_before_is_not_said_again(book):
    write(book, order(number=5))
    for number in (5, 4):
        refused(book, put(order(number=number, name="o2")), "number 5")
    write(book, order(number=6, name="o2"))


# Exemptions -------------------------------------------------------------------------------------


def exempt(name="e1", kind=KeyKind.SUBJECT, target="s", since=NOW, until=NOW + 100, **more):
    return Exemption(
        id=name,
        kind=kind,
        target=target,
        reason="ambulance dispatch",
        since=since,
        until=until,
        **more,
    )


def test_an_exemption_is_in_force_between_its_times(book):
    write(book, exempt(since=NOW + 10))
    found = [book.exemption("subject", "s", NOW + dt) for dt in (9, 10, 99, 100)]
    assert [entry and entry.id for entry in found] == [None, "e1", "e1", None]
    assert book.exemption("access", "s", NOW + 10) is None
    assert book.exemption("subject", "t", NOW + 10) is None


def test_an_exemption_covers_all_measures_or_those_it_names():
    assert all(exempt().covers(measure.value) for measure in Measure)
    some = exempt(measures=(Measure.RATE, Measure.SPREAD))
    assert [measure.value for measure in Measure if some.covers(measure.value)] == [
        "spread",
        "rate",
    ]


def test_an_exemption_ends_within_a_year(book):
    refused(book, put(exempt(until=NOW)), "e1", "ended", error=ConfigError)
    refused(book, put(exempt(since=NOW + 50, until=NOW + 50)), "ended", error=ConfigError)
    refused(book, put(exempt(until=NOW + MAX_EXEMPT + 1)), "366 days", error=ConfigError)
    write(book, exempt(until=NOW + MAX_EXEMPT))
    later = NOW + 1_000
    write(book, exempt(until=later + MAX_EXEMPT), now=later)  # prolonged, on record
    refused(book, put(exempt(until=later)), "ended", error=ConfigError, now=later)


def test_one_conduct_has_one_exemption_at_a_time(book):
    write(book, exempt())
    refused(book, put(exempt("e2", since=NOW + 99, until=NOW + 200)), "e1", "e2", "subject s")
    write(
        book,
        exempt("e2", since=NOW + 100, until=NOW + 200),
        exempt("e3", target="t"),
        exempt("e4", KeyKind.SPC, "s"),
        exempt(until=NOW + 90),
    )


def test_an_exemption_stays_with_whom_it_was_given_to(book):
    write(book, Subject(id="free"), exempt(target="free"), exempt("e2", KeyKind.ACCESS, "trunk"))
    refused(book, put(exempt(target="t")), "subject free")
    refused(book, end(Subject(id="free")), "e1")
    refused(book, end(Access(id="trunk", origid=ORIGIDS[0], subject="s")), "e2")
    refused(book, put(Access(id="trunk", origid=ORIGIDS[0], subject="t")), "e2")
    write(book, Access(id="trunk", origid=ORIGIDS[1], subject="s"))
    book.write([end(exempt(target="free"))], author="me", reason="no longer", now=NOW)
    book.write([end(Subject(id="free"))], author="me", reason="gone", now=NOW)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (KeyKind.SUBJECT, "nobody"),
        (KeyKind.ACCESS, "nobody"),
        (KeyKind.AGENT, f"nobody/{A}"),
    ],
)
def test_who_is_exempted_is_registered(book, kind, target):
    refused(book, put(exempt(kind=kind, target=target)), "nobody is not", error=ConfigError)
    write(book, exempt("e7", KeyKind.AGENT, f"platform/{A}"))
    write(book, exempt("e8", KeyKind.SIGNER, "9/x"), exempt("e9", KeyKind.SPC, "9"))


# Clearings --------------------------------------------------------------------------------------


def test_a_clearing_is_made_once_and_stays(book):
    clearing = Clearing(
        id=clearing_id(NOW, "1"), kind=KeyKind.ACCESS, target="trunk", at=NOW, by="me",
        reason="audited", state="pooled", since=NOW - 9,
        measures=(Measure.SPREAD,), sentence="spread of access trunk",
    )  # fmt: skip
    write(book, clearing)
    refused(book, put(clearing), clearing.id, "on record")
    refused(book, put(replace(clearing, reason="favour")), clearing.id, "on record")
    refused(book, end(clearing), clearing.id, "on record")
    # whoever has the name next has nothing of it: it is about what was
    book.write(
        [end(Access(id="trunk", origid=ORIGIDS[0], subject="s"))],
        author="me",
        reason="gone",
        now=NOW,
    )


def test_clearings_are_in_the_order_of_time():
    times = [0, 9, 999_999_999, 1_795_500_000, 20_000_000_000]
    ids = [clearing_id(at, "ffff") for at in times]
    assert ids == sorted(ids)
    assert all(clearing_id(at) <= clearing_id(at, "0") for at in times)
    assert clearing_id(10, "0") < clearing_id(11)


# Callees' refusals ------------------------------------------------------------------------------


def refusal(first=B, last=None, since=NOW, until=None):
    return CalleeRefusal(
        numbers=TNRange(TN(first), TN(last or first)), since=since, until=until, source="hotline"
    )


def test_a_refusal_is_in_force_between_its_times(book):
    write(book, refusal(until=NOW + 100))
    asked = [(NOW - 1, False), (NOW, True), (NOW + 99, True), (NOW + 100, False)]
    for now, in_force in asked:
        assert (book.refusal(B, Scope.MARKETING, now) is not None) is in_force
    assert book.refusal(C, Scope.MARKETING, NOW) is None


def test_refusals_may_overlap_and_each_counts(book):
    write(
        book,
        refusal("8613800000000", "8613800009999", until=NOW + 10),
        refusal("8613800005000", "8613800019999", until=NOW + 20),
        refusal(B),
    )
    assert book.refusal(TN("8613800005001"), Scope.MARKETING, NOW + 15).until == NOW + 20
    assert book.refusal(B, Scope.MARKETING, NOW + 30).until is None


def test_a_refusal_does_not_end_before_it_is_made(book):
    refused(book, put(refusal(until=NOW)), B, "ended", error=ConfigError)
    refused(book, put(refusal(since=NOW + 9, until=NOW + 9)), "ended", error=ConfigError)


def test_a_number_far_ahead_does_not_lock_its_issuer_out(book):
    """There is always a next one: after the last, or after the time in microseconds."""
    for number in (2**53 - 1, 2**53 - 2, 2**52, NOW * 1_000_000 + 2**41):
        refused(book, put(order(number=number)), "there is always a next one", error=ConfigError)
    refused(book, put(order(number=2**53)), "above", error=ConfigError)
    for place, number in enumerate((1, NOW * 1000, NOW * 1_000_000, NOW * 1_000_000 + 2**39)):
        write(book, order(number=number, name=f"o{place}"))
    write(book, order(number=NOW * 1_000_000 + 2**39 + 2**40, name="o9"))


# Ids that look the same -------------------------------------------------------------------------

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_no_new_record_has_an_id_that_only_its_normal_form_tells_from_another(book):
    write(book, Subject(id=COMPOSED))
    for record in (
        Subject(id=DECOMPOSED),
        Reseller(id=DECOMPOSED),
        Access(id=DECOMPOSED, origid=ORIGIDS[1], subject="s"),
        Access(id="other", origid=DECOMPOSED, subject="s"),
        order(name=DECOMPOSED),
        order(target=DECOMPOSED),
        order(TargetKind.RESELLER, DECOMPOSED),
        Customer(id=DECOMPOSED, access="trunk"),
        Customer(id="c", access="trunk", names=(DECOMPOSED,)),
        Customer(id="c", access="trunk", origid=DECOMPOSED),
    ):
        with pytest.raises(ConfigError, match="Normal Form C"):
            write(book, record)
    write(book, Access(id=COMPOSED, origid=ORIGIDS[1], subject=COMPOSED))
    write(book, order(target=COMPOSED))


def test_a_record_that_an_earlier_release_took_can_be_stopped_and_ended(book):
    book.add(Subject(id=DECOMPOSED))
    write(book, order(target=DECOMPOSED))
    write(book, Subject(id=DECOMPOSED, state=State.SUSPENDED))
