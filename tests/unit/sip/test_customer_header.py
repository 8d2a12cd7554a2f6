"""The customer of a shared access, as a header field names it."""

import pytest
from sips import invite

from zhenxian.sip.access import MAX_ACCESS, AccessRules
from zhenxian.sip.message import read_head, request_of


def parsed(*lines):
    return request_of(read_head(invite(*lines)), framed=False)


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
