"""Telephone numbers and identities: what is written, what is read, what is refused."""

import pytest

from passport.errors import ParseError
from passport.reasons import Reason
from passport.tn import MAX_URI_LENGTH, TN, URI, TNRange, parse_identity

CANONICAL = [
    # text, country, canonical
    ("12155550100", None, "12155550100"),
    ("+12155550100", None, "12155550100"),
    ("+1 (215) 555-01.00", None, "12155550100"),
    ("*67", None, "*67"),
    ("*#06#", None, "*#06#"),
    ("911", None, "911"),
    ("0086138", None, "0086138"),
    ("+" + "1" * 15, None, "1" * 15),
    # China
    ("13800138000", "CN", "8613800138000"),
    ("010-12345678", "CN", "861012345678"),
    ("(021) 6123 4567", "CN", "862161234567"),
    ("0755 1234 5678", "CN", "8675512345678"),
    ("4001234567", "CN", "864001234567"),
    ("008613800138000", "CN", "8613800138000"),
    ("0012155550100", "CN", "12155550100"),
    ("8613800138000", "CN", "8613800138000"),
    ("+8613800138000", "CN", "8613800138000"),
    ("95588", "CN", "95588"),
    ("10086", "CN", "10086"),
    ("110", "CN", "110"),
    ("12321", "CN", "12321"),
    ("*86", "CN", "*86"),
    ("13105551234", "CN", "8613105551234"),
    ("+13105551234", "CN", "13105551234"),
    # United States
    ("215-555-0100", "US", "12155550100"),
    ("1 215 555 0100", "US", "12155550100"),
    ("12155550100", "US", "12155550100"),
    ("0118613800138000", "US", "8613800138000"),
    ("011442079460000", "US", "442079460000"),
    ("911", "US", "911"),
    ("*67", "US", "*67"),
    ("5550100", "US", "5550100"),
    # Great Britain, Germany
    ("020 7946 0000", "GB", "442079460000"),
    ("00 44 20 7946 0000", "GB", "442079460000"),
    ("999", "GB", "999"),
    ("030 1234567", "DE", "49301234567"),
    ("0049 30 123456", "DE", "4930123456"),
    ("0151 12345678", "DE", "4915112345678"),
    ("110", "DE", "110"),
    # A country that phonenumbers does not know changes nothing.
    ("2155550100", "ZZ", "2155550100"),
]


@pytest.mark.parametrize(("text", "country", "canonical"), CANONICAL)
def test_a_written_number_has_one_canonical_form(text, country, canonical):
    assert TN.parse(text, country) == TN(canonical)
    assert type(TN.parse(text, country)) is TN


@pytest.mark.parametrize(("_", "country", "canonical"), CANONICAL)
def test_canonical_global_form_reads_as_itself(_, country, canonical):
    assert TN.parse(canonical) == canonical
    if canonical.isdecimal():
        assert TN.parse("+" + canonical, country) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "()",
        "abc",
        "1-800-FLOWERS",
        "1" * 16,
        "+" + "1" * 16,
        "++1",
        "1+1",
        "+*86",
        "+12#",
        "+１２１５",
        "１２３",
        "٣٤٥",
        "²³",
        "1\n",
        "\n1",
        "1\x00",
        "1" * 100,
        "1 " * 5000,
        "\ud800",
        "1;ext=2",
    ],
)
@pytest.mark.parametrize("country", [None, "CN", "US"])
def test_what_is_no_number_is_refused(text, country):
    with pytest.raises(ParseError) as refused:
        TN.parse(text, country, "orig.tn")
    assert refused.value.reason is Reason.TN_INVALID
    assert refused.value.where == "orig.tn"
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize("text", ["", "+1", "1 2", "1" * 16, "１", "1\n", "a"])
def test_tn_takes_canonical_text_only(text):
    with pytest.raises(ParseError) as refused:
        TN(text)
    assert refused.value.reason is Reason.TN_INVALID


def test_range_knows_its_members():
    numbers = TNRange(TN("8613800138000"), TN("8613800138099"))
    assert numbers.size == 100
    assert TN("8613800138000") in numbers
    assert TN("8613800138099") in numbers
    assert TN("8613800138100") not in numbers
    assert TN("861380013800") not in numbers
    assert TN("86138001380*0") not in numbers
    assert numbers.covers(TNRange(TN("8613800138001"), TN("8613800138099")))
    assert not numbers.covers(TNRange(TN("8613800138001"), TN("8613800138100")))


@pytest.mark.parametrize(
    ("first", "last"), [("2", "1"), ("1", "22"), ("*1", "*2"), ("11", "1#"), ("10", "9")]
)
def test_range_of_nothing_is_refused(first, last):
    with pytest.raises(ParseError) as refused:
        TNRange(TN(first), TN(last))
    assert refused.value.reason is Reason.TN_INVALID


IDENTITIES = [
    # uri, country, identity
    ("tel:+1-215-555-0100", None, TN("12155550100")),
    ("TEL:+12155550100;ext=5;isub=1", None, TN("12155550100")),
    ("tel:110", "CN", TN("110")),
    ("tel:010-12345678;phone-context=+86", None, TN("861012345678")),
    ("tel:010-12345678;phone-context=+86", "US", TN("861012345678")),
    ("tel:215-555-0100;Phone-Context=+1", "CN", TN("12155550100")),
    ("tel:555-0100;phone-context=+1-215", None, TN("5550100")),
    ("tel:13800138000;phone-context=ims.example.cn", "CN", TN("8613800138000")),
    ("tel:13800138000;phone-context=+999", "CN", TN("8613800138000")),
    ("tel:+8613800138000;phone-context=+1", None, TN("8613800138000")),
    ("tel:%2B12155550100", None, TN("12155550100")),
    ("sip:+12155550100@example.com", None, TN("12155550100")),
    ("sip:+1-215-555-0100@example.com:5060;user=phone", None, TN("12155550100")),
    ("sip:12155550100@example.com;USER=Phone;x", None, TN("12155550100")),
    ("sip:2155550100@example.com;user=phone", "US", TN("12155550100")),
    ("sip:+12155550100;phone-context=x:secret@example.com", None, TN("12155550100")),
    ("sip:0101234567;phone-context=+86@h;user=phone", None, TN("0101234567")),
    ("sip:%2306%23@example.com;user=phone", None, TN("#06#")),
    ("sips:+12155550100@[2001:db8::1]:5061", None, TN("12155550100")),
    ("<sip:+12155550100@example.com>", None, TN("12155550100")),
    ("12155550100@example.com;user=phone", None, TN("12155550100")),
    # A user part that is no number stays a URI (RFC 8224 section 8.1).
    ("sip:alice@example.com;user=phone", None, URI("sip:alice@example.com")),
    ("sip:+alice@example.com", None, URI("sip:+alice@example.com")),
    ("sip:1234567890123456@h;user=phone", None, URI("sip:1234567890123456@h")),
    ("sip:12155550100@example.com", "US", URI("sip:12155550100@example.com")),
    ("sip:12155550100@example.com;user=phoney", None, URI("sip:12155550100@example.com")),
    # Canonical URIs (section 8.5).
    ("SIP:Alice@Example.COM", None, URI("sip:alice@example.com")),
    ("sips:alice@example.com", None, URI("sips:alice@example.com")),
    (
        "sip:alice:secret@example.com:5060;transport=tcp?Subject=x",
        None,
        URI("sip:alice@example.com"),
    ),
    ("sip:al%69ce@ex%61mple.com", None, URI("sip:alice@example.com")),
    ("sip:a%3Bb@example.com", None, URI("sip:a%3bb@example.com")),
    ("sip:a%2569@h", None, URI("sip:a%2569@h")),
    ("sip:alice@[2001:DB8::1]:5060", None, URI("sip:alice@[2001:db8::1]")),
    ("sip:example.com:5060", None, URI("sip:example.com")),
    ("sip:192.0.2.1", None, URI("sip:192.0.2.1")),
    ("alice@example.com:5060", None, URI("sip:alice@example.com")),
    (" sip:alice@example.com\t", None, URI("sip:alice@example.com")),
    ("urn:service:SOS.police", None, URI("urn:service:sos.police")),
]


@pytest.mark.parametrize(("uri", "country", "identity"), IDENTITIES)
def test_a_uri_names_one_canonical_identity(uri, country, identity):
    found = parse_identity(uri, country)
    assert found == identity
    assert type(found) is type(identity)


@pytest.mark.parametrize("identity", sorted({str(i) for _, _, i in IDENTITIES if type(i) is URI}))
def test_a_canonical_uri_reads_as_itself(identity):
    if not identity.startswith("sip:+"):
        assert parse_identity(identity) == identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "sip:",
        "sip:@example.com",
        "sip:a@b@c",
        "sip:a b@c",
        "sip:a@b\r\nX: y",
        "sip:é@c",
        "sip:a@é",
        "sip:a@b:99999999",
        "sip:a@b:port",
        "sip:a@[::1",
        "sip:a@b/c",
        "sip:%zz@h",
        "sip:%@h",
        "sip:%%36%39@h",
        "mailto:a@b",
        "https://example.com/",
        "javascript:alert(1)",
        "+12155550100",
        "12155550100",
        "alice",
        "sip:a\x00@h",
        "sip:\ud800@h",
        "sip:a@b?x=y@z",
        "urn:",
        "urn:é",
        "sip:urn:service:sos",
        "x" * (MAX_URI_LENGTH + 1),
        "sip:" + "a" * 507 + "@h",
        '"A" <sip:a@b>',
    ],
)
def test_what_is_no_uri_is_refused(text):
    with pytest.raises(ParseError) as refused:
        parse_identity(text, where="to.uri")
    assert refused.value.reason is Reason.URI_INVALID
    assert refused.value.where == "to.uri"


@pytest.mark.parametrize("text", ["tel:", "tel:alice", "tel:+1234567890123456", "tel:%FF", "tel:;"])
def test_a_tel_uri_must_name_a_number(text):
    with pytest.raises(ParseError) as refused:
        parse_identity(text, "CN", "from.uri")
    assert refused.value.reason is Reason.TN_INVALID
    assert refused.value.where == "from.uri"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "1:a",
        "sip:",
        "sip:a b",
        "sip:a\n",
        "sip:é",
        "sip:<a>",
        'sip:"',
        "sip:" + "a" * MAX_URI_LENGTH,
    ],
)
def test_uri_takes_printable_absolute_uris_only(text):
    with pytest.raises(ParseError) as refused:
        URI(text)
    assert refused.value.reason is Reason.URI_INVALID
