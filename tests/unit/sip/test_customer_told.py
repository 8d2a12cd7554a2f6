"""The customer of a shared access, as a header field names it, a parameter of From, or a trunk."""

import pytest
from sips import invite, with_chains

from zhenxian.passport.identity import parse_identity_header
from zhenxian.service.sip_settings import SipTrunk
from zhenxian.sip.access import MAX_ACCESS, AccessRules, Trunk, networks
from zhenxian.sip.message import read_head, request_of


def parsed(*lines, **more):
    return request_of(read_head(invite(*lines, **more)), framed=False)


@pytest.mark.parametrize(
    ("lines", "customer"),
    [
        ((), None),
        (("X-Customer: t17",), "t17"),
        (("x-customer: t17", "X-Customer: t17"), "t17"),
        (("X-Customer: t17", "X-Customer: t18"), "t17\nt18"),  # nobody's name: the rest
        (("X-Customer:",), None),
    ],
)
def test_a_header_field_names_the_customer(lines, customer):
    assert AccessRules(customer_header="X-Customer").customer(parsed(*lines)) == customer


def test_without_a_setting_none_does():
    assert AccessRules().customer(parsed("X-Customer: t17")) is None


@pytest.mark.parametrize(
    "lines",
    [
        ("X-Customer: t17", "X-Customer: t18"),
        (f"X-Customer: {'t' * MAX_ACCESS}", "X-Customer: t17"),
        (f"X-Customer: {'t' * MAX_ACCESS}t17",),
    ],
)
def test_nothing_beside_a_name_makes_it_another_name(lines):
    names = {"t17", "t18", "t17, t18", "t" * MAX_ACCESS}
    assert AccessRules(customer_header="X-Customer").customer(parsed(*lines)) not in names


FROM = "<sip:+8675588880001@a.example{}>{}"
TRUNKS = (
    Trunk(access="host-trunk", source=networks(("192.0.2.7",))[0], customer="bakery"),
    Trunk(access="host-trunk", host="clinic.example", customer="clinic"),
    Trunk(access="host-trunk"),
)


@pytest.mark.parametrize(
    ("within", "behind", "customer"),
    [
        ("", ";line=t17", "t17"),
        (";Line=t17", "", "t17"),
        (";line=t%317", ";line=t17", "t17"),
        (";line=t17", ";line=t18", "t17\nt18"),  # nobody's name
        (";line=", "", "t19"),
        (";other=t17", "", "t19"),
    ],
)
def test_a_parameter_of_from_goes_before_a_header_field(within, behind, customer):
    rules = AccessRules(customer_parameter="line", customer_header="X-Customer", trunks=TRUNKS)
    request = parsed("X-Customer: t19", caller=FROM.format(within, behind))
    assert rules.customer(request, "192.0.2.7", "host-trunk") == customer


@pytest.mark.parametrize(
    ("host", "uri", "access", "customer"),
    [
        ("192.0.2.7", "sip:1@b.example", "host-trunk", "bakery"),
        ("192.0.2.8", "sip:1@clinic.example:5070", "host-trunk", "clinic"),
        ("192.0.2.8", "sip:1@b.example", "host-trunk", None),
        ("192.0.2.7", "sip:1@b.example", "other-trunk", None),  # told by something else
        ("192.0.2.7", "sip:1@b.example", None, None),
    ],
)
def test_a_trunk_tells_the_customer_of_its_access(host, uri, access, customer):
    rules = AccessRules(customer_header="X-Customer", trunks=TRUNKS)
    assert rules.customer(parsed("X-Customer:", uri=uri), host, access) == customer
    assert rules.customer(parsed("X-Customer: t17", uri=uri), host, access) == "t17"


@pytest.mark.parametrize(
    ("query", "caller", "own"),
    [
        ("?source=192.0.2.7", FROM.format("", ""), True),
        ("?access=bank-trunk&source=192.0.2.7", FROM.format("", ""), True),
        ("?source=192.0.2.8", FROM.format("", ""), False),
        ("?source=192.0.2.8", FROM.format("", ";line=t17"), True),
        ("?source=192.0.2.7", FROM.format("", ";line=t18"), False),
        ("?source=192.0.2.7&customer=t18", FROM.format("", ""), False),
    ],
)
def test_over_http_and_by_the_settings(desk_with, query, caller, own):
    trunks = (
        SipTrunk(access="bank-trunk", source="192.0.2.7", customer="bakery"),
        SipTrunk(access="bank-trunk", source="192.0.2.0/24"),
    )
    desk = desk_with(sip={"trunks": trunks, "customer_parameter": "line"})
    with_chains(desk.service)
    origid = "c0000000-0000-4000-8000-000000000017"
    record = {"access": "bank-trunk", "names": ["t17"], "origid": origid}
    assert desk.http("PUT", "/v1/customers/bakery?reason=r", json=record).status_code == 200
    answer = desk.http(
        "POST",
        f"/sip/v1/originating{query}",
        content=invite(caller=caller),
        headers={"content-type": "message/sip"},
    )
    (identity,) = [line for line in answer.text.splitlines() if line.startswith("Identity: ")]
    token = parse_identity_header(identity.removeprefix("Identity: ")).passport()
    assert (token.extension.origid == origid) is own
