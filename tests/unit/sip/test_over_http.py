"""POST /sip/v1/originating and /terminating: which fields count, and what is to be done."""

from __future__ import annotations

import tracemalloc

import pytest
from sips import invite, with_chains

from zhenxian.api.auth import Role, add_key
from zhenxian.core.header_fields import sip_date
from zhenxian.service.sip_settings import SipTrunk
from zhenxian.simulation.demo import BANK, CALLEE, COURIER
from zhenxian.sip.routes import JSON, LINES, LONGEST, wanted
from zhenxian.sip.short_way import target_of

ORIGINATING, TERMINATING = "/sip/v1/originating", "/sip/v1/terminating"
BANK_TRUNK = f"{ORIGINATING}?access=bank-trunk"
WITHHELD = "sip:anonymous@anonymous.invalid"


@pytest.fixture
def sip(desk_with):
    made = {}

    def make(**sections):
        desk = desk_with(**sections)
        with_chains(desk.service)
        made["desk"] = desk
        return desk

    def ask(path, *lines, accept=JSON, desk=None, **more):
        desk = desk or made.get("desk") or make()
        headers = {"content-type": "message/sip", "accept": accept}
        return desk.http("POST", path, content=invite(*lines, **more), headers=headers)

    def told(path, *lines, **more):
        answer = ask(path, *lines, **more)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        found["fields"] = dict(line.split(": ", 1) for line in found["headers"])
        return found

    ask.make, ask.told = make, told
    return ask


def _signed(sip, path=BANK_TRUNK, *lines, **more):
    return f"Identity: {sip.told(path, *lines, **more)['fields']['Identity']}"


def test_json(sip):
    found = sip.told(BANK_TRUNK)
    assert (found["action"], found["reason"], found["attest"]) == (
        "continue",
        "HELD_AND_VERIFIED",
        "A",
    )
    assert (found["orig"], found["dest"]) == (BANK, [CALLEE])
    assert set(found["fields"]) == {"Identity", "Date"}
    assert found["remove"] == ["Date"]


def test_lines(sip):
    answer = sip(BANK_TRUNK, accept="text/plain")
    action, remove, *lines = answer.text.splitlines()
    assert answer.headers["content-type"].startswith("text/plain")
    assert (action, remove) == ("continue", "Date")
    assert [line.partition(":")[0] for line in lines] == ["Identity", "Date"]
    assert answer.text.endswith("\n")


def test_lines_of_a_rejection(sip):
    answer = sip(f"{ORIGINATING}?access=call-centre-trunk", accept="*/*")
    action, remove, reason, contact = answer.text.splitlines()
    assert (action, remove) == ("reject 403 Forbidden", "")
    assert reason.startswith("Reason: SIP;cause=403;")
    assert contact.startswith("Call-Info: <")


def test_a_call_that_goes_on_as_it_came(sip):
    answer = sip(BANK_TRUNK, accept="text/plain", called=f"<sip:+{CALLEE}@b.example>;tag=x")
    assert answer.text == "continue\n\n"


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, LINES),
        ("", LINES),
        ("*/*", LINES),
        ("application/json", JSON),
        ("application/*", JSON),
        ("text/plain;q=0.5, application/json", JSON),
        ("text/plain;q=0, application/json;q=0.1", JSON),
        ("application/json;q=0.1, text/plain;q=0.2", LINES),
        ("text/html", None),
        ("application/json;q=x", None),
    ],
)
def test_the_wish_of_the_client(accept, media):
    assert wanted(accept) == media


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "message/sip"}, b"", 400),
        ({"content-type": "message/sip"}, b"INVITE sip:a SIP/2.0\r\n\r\n", 400),
        ({"content-type": "text/plain"}, invite(), 415),
        ({"content-type": "message/sip", "accept": "text/html"}, invite(), 406),
        ({"content-type": "message/sip"}, b"x" * 70_000, 413),
        ({}, invite(), 200),
        ({"content-type": "message/sip; charset=utf-8"}, invite(), 200),
        ({"content-type": "message/sip"}, invite().replace(b"\r\n", b"\n"), 200),
    ],
)
def test_what_is_no_question(sip, headers, content, status):
    desk = sip.make()
    answer = desk.http("POST", TERMINATING, content=content, headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["status"] == status


def test_the_field_at_fault_is_named(sip):
    answer = sip(TERMINATING, cseq="x")
    assert answer.json()["detail"].startswith("CSeq: ")


def test_credentials(sip, tmp_path):
    keys = tmp_path / "keys.toml"
    key = add_key(keys, "proxy", [Role.PROXY])
    other = add_key(keys, "registrar", [Role.REGISTRAR])
    desk = sip.make(auth={"keys": keys})
    for given, status in ((None, 401), (other, 403), (key, 200)):
        headers = {"content-type": "message/sip"}
        if given is not None:
            headers["authorization"] = f"Bearer {given}"
        answer = desk.http("POST", TERMINATING, content=invite(), headers=headers)
        assert answer.status_code == status


# Which fields count ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "caller",
    [
        f"<sip:+{BANK}@a.example>",
        f"<sip:{BANK}@a.example;user=phone>",
        f"sip:+{BANK}@a.example",
        "<tel:+86-755-8888-0001>",
        "<sip:075588880001@a.example>",
        "<sip:0086-755-8888-0001@a.example>",
        '"Bank, \\"the\\" <sip:10086@x>" <sip:+8675588880001@a.example;transport=udp>',
        "银行 <sip:+8675588880001@a.example>",
        "<sip:+8675588880001;npdi;rn=123@a.example>",
    ],
)
def test_every_way_to_write_a_number(sip, caller):
    found = sip.told(BANK_TRUNK, caller=caller)
    assert (found["orig"], found["attest"]) == (BANK, "A")
    back = sip.told(TERMINATING, caller=caller)
    assert back["fields"]["P-Asserted-Identity"] == f"<tel:+{BANK};verstat=No-TN-Validation>"


@pytest.mark.parametrize(
    ("lines", "caller", "first", "orig"),
    [
        ((), f"<sip:+{BANK}@a>", "asserted", BANK),
        ((f"P-Asserted-Identity: <tel:+{BANK}>",), "<sip:101@pbx.example>", "asserted", BANK),
        ((f"P-Asserted-Identity: <tel:+{BANK}>",), f"<{WITHHELD}>", "asserted", BANK),
        ((f"P-Asserted-Identity: <tel:+{BANK}>",), f"<{WITHHELD}>", "from", BANK),
        (
            (f"P-Asserted-Identity: <sip:bank@a.example>, <tel:+{BANK}>",),
            "<sip:101@pbx.example>",
            "asserted",
            BANK,
        ),
        (
            ("P-Asserted-Identity: <sip:bank@a.example>", f"P-Asserted-Identity: <tel:+{BANK}>"),
            "<sip:101@pbx.example>",
            "asserted",
            BANK,
        ),
        ((), f"<{WITHHELD}>", "asserted", WITHHELD),
    ],
)
@pytest.mark.parametrize("path", [BANK_TRUNK, TERMINATING])
def test_which_field_is_the_display(sip, path, lines, caller, first, orig):
    sip.make(sip={"caller": first})
    assert sip.told(path, *lines, caller=caller)["orig"] == orig


def test_two_numbers_must_both_be_the_callers(sip):
    own = f"P-Asserted-Identity: <tel:+{BANK}>"
    spoofed = f"<sip:+{COURIER}@a.example>"
    for first in ("asserted", "from"):
        sip.make(sip={"caller": first})
        found = sip.told(BANK_TRUNK, own, caller=spoofed)
        assert (found["action"], found["reason"]) == ("reject", "DISPLAY_OF_ANOTHER")


def test_two_different_numbers_are_not_asserted(sip):
    found = sip.told(BANK_TRUNK, f"P-Asserted-Identity: <tel:+{BANK}>, <tel:+{COURIER}>")
    assert (found["action"], found["code"]) == ("reject", 400)


@pytest.mark.parametrize(("callee", "dest"), [("to", CALLEE), ("request-uri", COURIER)])
def test_which_field_is_called(sip, callee, dest):
    sip.make(sip={"callee": callee})
    assert sip.told(BANK_TRUNK, uri=f"sip:+{COURIER}@b.example")["dest"] == [dest]


@pytest.mark.parametrize("caller", ["<sip:86755\u0668880001@a>", "<sip:%zz@a>", "<mailto:a@b>"])
def test_a_caller_that_cannot_be_read(sip, caller):
    assert sip.told(BANK_TRUNK, caller=caller)["action"] == "reject"
    found = sip.told(TERMINATING, caller=caller)
    assert (found["action"], found["headers"]) == ("continue", [])
    assert "P-Asserted-Identity" in found["remove"]


def test_a_customer_may_not_hide_a_number_in_what_is_no_number(sip):
    for caller in ("sip:110@192.0.2.1", "sip:10086@a.example;user=phone", "sip:95001@192.0.2.1"):
        found = sip.told(f"{ORIGINATING}?access=call-centre-trunk", caller=f"<{caller}>")
        assert (found["action"], found["reason"]) == ("reject", "DO_NOT_ORIGINATE")


# Withheld callers --------------------------------------------------------------------------------

PRIVATE = [
    ("Privacy: id", f'"Anonymous" <{WITHHELD}>'),
    ("Privacy: user;id", f"<sip:+{BANK}@a.example>"),
    ("Privacy: header", f"<sip:+{BANK}@a.example>"),
    ("Subject: none", f"<{WITHHELD}>"),
]


@pytest.mark.parametrize(("privacy", "caller"), PRIVATE)
def test_a_withheld_caller_is_signed_by_what_is_asserted_and_not_named(sip, privacy, caller):
    named = (
        privacy,
        f"P-Asserted-Identity: <tel:+{BANK}>",
        f"Remote-Party-ID: <sip:+{BANK}@a.example>;party=calling",
        f"P-Preferred-Identity: <sip:+{BANK}@a.example>",
        "X-Billing: 0755-8888-0001",
        f"Diversion: <sip:+{BANK}@a.example>",
        "X-Other: 1",
    )
    found = sip.told(BANK_TRUNK, *named, caller=caller)
    assert (found["orig"], found["attest"]) == (BANK, "A")
    identity = f"Identity: {found['fields']['Identity']}"
    back = sip.told(TERMINATING, identity, *named, caller=caller)
    assert (back["verstat"], back["attest"]) == ("TN-Validation-Passed", "A")
    assert "P-Asserted-Identity" not in back["fields"]
    assert {"P-Asserted-Identity", "Remote-Party-ID", "P-Preferred-Identity"} <= {*back["remove"]}
    assert {"X-Billing", "Diversion"} <= {*back["remove"]}
    assert "X-Other" not in back["remove"]
    assert BANK[2:] not in "".join(back["headers"])
    if BANK in caller:
        assert back["fields"]["From"] == f'"Anonymous" <{WITHHELD}>;tag=a1'
    else:
        assert "From" not in back["remove"]


def test_privacy_none_withholds_nothing(sip):
    back = sip.told(TERMINATING, "Privacy: none")
    assert back["fields"]["P-Asserted-Identity"] == f"<tel:+{BANK};verstat=No-TN-Validation>"


# Verifying ---------------------------------------------------------------------------------------


def test_a_verified_call(sip):
    found = sip.told(TERMINATING, _signed(sip))
    assert found["fields"] == {
        "P-Asserted-Identity": f"<tel:+{BANK};verstat=TN-Validation-Passed>",
        "P-Attestation-Indicator": "A",
        "P-Origination-ID": "b0000000-0000-4000-8000-000000000001",
        "P-Signer-SPC": "1001",
    }
    assert (found["spc"], found["origid"]) == ("1001", found["fields"]["P-Origination-ID"])
    assert set(found["fields"]) <= set(found["remove"])
    assert "replies" not in found


@pytest.mark.parametrize("form", ["repeated", "joined", "compact", "folded"])
def test_several_tokens_in_every_form(sip, form):
    identity = _signed(sip).removeprefix("Identity: ")
    broken = identity.replace("A", "B", 1)
    lines = {
        "repeated": (f"Identity: {broken}", f"Identity: {identity}"),
        "joined": (f"Identity: {broken}, {identity}",),
        "compact": (f"y: {broken}", f"y:{identity}"),
        "folded": ("Identity: " + identity.replace(";", "\r\n ;"),),
    }[form]
    assert sip.told(TERMINATING, *lines)["verstat"] == "TN-Validation-Passed"


def test_a_failed_call_has_its_reason_for_the_responses(sip):
    found = sip.told(TERMINATING, _signed(sip), caller=f"<sip:+{COURIER}@a.example>")
    assert (found["action"], found["verstat"]) == ("continue", "TN-Validation-Failed")
    assert found["replies"][0].startswith("Reason: STIR;cause=438;")
    assert not any(line.startswith("Reason") for line in found["headers"])


def test_a_verstat_of_somebody_else_goes(sip):
    caller = f"<sip:+{BANK};verstat=TN-Validation-Passed@a.example>"
    found = sip.told(TERMINATING, caller=caller)
    assert found["fields"]["From"] == f"<sip:+{BANK}@a.example>;tag=a1"
    assert found["orig"] == BANK


def test_an_address_has_no_verstat(sip):
    found = sip.told(TERMINATING, caller="<sip:alice@a.example>")
    assert found["fields"]["P-Asserted-Identity"] == "<sip:alice@a.example>"


@pytest.mark.parametrize(
    ("country", "shown"), [("CN", "tel:95588;phone-context=+86"), (None, "tel:95588")]
)
def test_a_short_number_is_local_to_its_country(sip, country, shown):
    sip.make(numbers={"country": country})
    caller = "<sip:95588@192.0.2.1;user=phone>"
    field = sip.told(TERMINATING, caller=caller)["fields"]["P-Asserted-Identity"]
    if country is not None:
        assert field == f"<{shown};verstat=No-TN-Validation>"


def test_an_order_rejects_without_608_where_no_contact_may_go(sip, desk_with):
    # An unsigned call got no signature that its contact could go with (RFC 8688 section 6).
    found = sip.told(TERMINATING, caller="<sip:110@192.0.2.1>")
    assert (found["action"], found["code"], found["phrase"]) == ("reject", 603, "Decline")
    assert found["headers"] == []


def test_dates(sip):
    desk = sip.make()
    now = int(desk.service.clock())
    stale = f"Date: {sip_date(now - 300)}"
    assert "Date" in sip.told(BANK_TRUNK, stale)["fields"]
    assert "Date" not in sip.told(BANK_TRUNK, f"Date: {sip_date(now)}")["fields"]
    # A fresh iat decides in full form (RFC 8224 section 6.2 step 4).
    found = sip.told(TERMINATING, _signed(sip), stale)
    assert found["verstat"] == "TN-Validation-Passed"


@pytest.mark.parametrize(
    ("settings", "query", "lines", "more", "attest"),
    [
        ({}, "", (), {}, "C"),
        ({}, "?access=bank-trunk", (), {}, "A"),
        ({"access_header": "X-Trunk"}, "", ("X-Trunk: bank-trunk",), {}, "A"),
        ({"access_header": "X-Trunk"}, "", ("X-Other: bank-trunk",), {}, "C"),
        ({}, "", ("X-Trunk: bank-trunk",), {}, "C"),
        ({"access_parameter": "otg"}, "", (), {"tag": "1;otg=bank-trunk"}, "A"),
        (
            {"access_parameter": "otg"},
            "",
            (),
            {"caller": f"<sip:+{BANK}@a.example;otg=bank-trunk>"},
            "A",
        ),
    ],
)
def test_what_names_the_access(sip, settings, query, lines, more, attest):
    sip.make(sip=settings)
    assert sip.told(ORIGINATING + query, *lines, **more)["attest"] == attest


def test_trunks_by_host_and_source(sip):
    trunks = (
        SipTrunk(access="bank-trunk", host="Bank.sti.example"),
        SipTrunk(access="bank-trunk", source="192.0.2.0/24"),
    )
    sip.make(sip={"trunks": trunks})
    uri = f"sip:+{CALLEE}@bank.sti.example:5070"
    assert sip.told(ORIGINATING, uri=uri)["attest"] == "A"
    assert sip.told(f"{ORIGINATING}?source=192.0.2.77")["attest"] == "A"
    assert sip.told(f"{ORIGINATING}?source=198.51.100.7")["attest"] == "C"


@pytest.mark.parametrize(
    "read",
    [
        lambda text: target_of(f"{ORIGINATING}?access={text}"),
        target_of,
        lambda text: wanted(f"text/plain, {text}"),
    ],
    ids=["query", "target", "accept"],
)
def test_nobody_fills_the_memory_with_what_is_remembered_of_a_head(read):
    tracemalloc.start()
    try:
        for number in range(200):
            read(f"{number:060000}")
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_longest_query_takes_the_short_way():
    query = "&".join(f"{name}={'a' * longest}" for name, longest in LONGEST.items())
    found = target_of(f"{ORIGINATING}?{query}")
    assert found is not None
    assert (found.access, found.customer, found.source) == ("a" * 128, "a" * 128, "a" * 64)
