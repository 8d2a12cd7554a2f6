"""How identities are read: every spelling of a number is that number, on every way in."""

from urllib.parse import quote

import pytest

from zhenxian.core.errors import ParseError
from zhenxian.core.reading import Reading
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import ANONYMOUS, MAX_URI_LENGTH, TN, URI, Private
from zhenxian.registry.kinds import load_plan

IDENTITIES = [
    # uri, country, identity
    ("tel:+1-215-555-0100", None, TN("12155550100")),
    ("TEL:+12155550100;ext=5;isub=1", None, TN("12155550100")),
    ("tel:110", "CN", TN("110")),
    ("tel:010-12345678;phone-context=+86", None, TN("861012345678")),
    ("tel:010-12345678;phone-context=+86", "US", TN("861012345678")),
    ("tel:215-555-0100;Phone-Context=+1", "CN", TN("12155550100")),
    (
        "tel:13800138000;phone-context=IMS.Example.cn.",
        "CN",
        Private("tel:13800138000;phone-context=ims.example.cn"),
    ),
    ("tel:70-42;phone-context=example.com", None, Private("tel:7042;phone-context=example.com")),
    ("tel:911;phone-context=+1", None, TN("911")),
    ("tel:911;phone-context=+1", "CA", TN("911")),
    ("tel:+8613800138000;phone-context=+1", None, TN("8613800138000")),
    ("tel:%2B12155550100", None, TN("12155550100")),
    ("sip:+12155550100@example.com", None, TN("12155550100")),
    ("sip:+1-215-555-0100@example.com:5060;user=phone", None, TN("12155550100")),
    ("sip:12155550100@example.com;USER=Phone;x", None, TN("12155550100")),
    ("sip:2155550100@example.com;user=phone", "US", TN("12155550100")),
    ("sip:+12155550100;phone-context=x:secret@example.com", None, TN("12155550100")),
    ("sip:010-12345678;phone-context=+86@h;user=phone", None, TN("861012345678")),
    ("sip:%2306%23@example.com;user=phone", None, TN("#06#")),
    ("sips:+12155550100@[2001:db8::1]:5061", None, TN("12155550100")),
    ("<sip:+12155550100@example.com>", None, TN("12155550100")),
    ("12155550100@example.com;user=phone", None, TN("12155550100")),
    # A user part that is no number stays a URI (RFC 8224 section 8.1).
    ("sip:alice@example.com;user=phone", None, URI("sip:alice@example.com")),
    ("sip:+alice@example.com", None, URI("sip:+alice@example.com")),
    ("sip:1234567890123456@h;user=phone", None, Private("sip:1234567890123456@h")),
    ("sip:12155550100@example.com", "US", TN("12155550100")),
    ("sip:12155550100@example.com;user=phoney", None, TN("12155550100")),
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
    found = Reading(country=country).identity(uri)
    assert found == identity
    assert type(found) is type(identity)


@pytest.mark.parametrize("identity", sorted({str(i) for _, _, i in IDENTITIES if type(i) is URI}))
def test_a_canonical_uri_reads_as_itself(identity):
    if not identity.startswith("sip:+"):
        assert Reading().identity(identity) == identity


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
        Reading().identity(text, where="to.uri")
    assert refused.value.reason is Reason.URI_INVALID
    assert refused.value.where == "to.uri"


@pytest.mark.parametrize("text", ["tel:", "tel:alice", "tel:+1234567890123456", "tel:%FF", "tel:;"])
def test_a_tel_uri_must_name_a_number(text):
    with pytest.raises(ParseError) as refused:
        Reading(country="CN").identity(text, "from.uri")
    assert refused.value.reason is Reason.TN_INVALID
    assert refused.value.where == "from.uri"


BANK = TN("8675588880001")
SPELLINGS = [
    "sip:8675588880001@a.example",
    "SIP:8675588880001@A.EXAMPLE",
    "sips:8675588880001@a.example",
    "sip:8675588880001@a.example:5060",
    "sip:8675588880001@a.example;transport=tcp",
    "sip:8675588880001@a.example;user=ip",
    "sip:8675588880001@a.example;user=phone",
    "sip:8675588880001@a.example;user=PHONE",
    "sip:8675588880001@a.example;lr;user=%70hone",
    "sip:8675588880001@a.example?Subject=x",
    "sip:8675588880001@192.0.2.1",
    "sip:8675588880001@[2001:db8::1]:5061",
    "<sip:8675588880001@a.example>",
    "8675588880001@a.example",
    "sip:8675588880001",
    "sip:8675588880001;user=phone",
    "sip:8675588880001:5060",
    "sip:+8675588880001@a.example",
    "sip:%2B8675588880001@a.example",
    "sip:%2b8675588880001@a.example",
    "sip:%38675588880001@a.example",
    "sip:%38%36%37%35588880001@a.example",
    "sip:86-755-8888-0001@a.example",
    "sip:86.755.8888.0001@a.example",
    "sip:86(755)88880001@a.example",
    "sip:86%20755%208888%200001@a.example",
    "sip:86%2D755%2E88880001@a.example",
    "sip:86_755~8888!0001'@a.example",
    "sip:8675588880001;ext=5@a.example",
    "sip:8675588880001;phone-context=+1@a.example;user=phone",
    "sip:8675588880001;isub=7;postd=9@a.example",
    "sip:8675588880001;npdi;rn=+8613900000000@a.example",
    "sip:8675588880001;phone-context=b.example@a.example",
    "sip:8675588880001:secret@a.example",
    "sip:8675588880001;ext=5:secret@a.example",
    "sip:8675588880001%3Bext=5@a.example",
    "sip:8675588880001&ext=5@a.example",
    "sip:8675588880001,pause@a.example",
    "sip:8675588880001%EF%BC%9Bext=5@a.example",  # a semicolon of full width
    "sip:%EF%BC%8B8675588880001@a.example",
    "sip:86%C2%A075588880001@a.example",  # a space that breaks no line
    "sip:8675588880001%3Asecret@a.example",
    "sip:8675588880001%40b.example@a.example",
    "tel:8675588880001",
    "tel:+86(0)755-8888-0001",
    "sip:+86(0)75588880001@a.example",
    "sip:86075588880001@a.example",
    "TEL:+86-(755)-8888.0001",
    "tel:%2B8675588880001",
    "tel:+8675588880001;ext=5;phone-context=+1-215",
    "tel:+8675588880001;npdi;rn=+8613900000000",
    "tel:+8675588880001;isub=1;postd=pp22",
]
NATIONAL = [
    "sip:075588880001@a.example",
    "sip:0755-88880001@a.example",
    "sip:(0755)88880001@a.example;user=phone",
    "sip:008675588880001@a.example",
    "sip:075588880001@[2001:db8::1]",
    "tel:0755-8888-0001",
    "tel:008675588880001",
]


@pytest.mark.parametrize("uri", SPELLINGS)
def test_every_spelling_of_a_number_is_that_number(uri):
    if "phone-context=+1@" in uri:  # no number of +1
        with pytest.raises(ParseError) as refused:
            Reading().identity(uri)
        assert refused.value.reason is Reason.TN_CONTEXT
        return
    for country in (None, "CN"):
        found = Reading(country=country).identity(uri)
        assert (found, type(found)) == (BANK, TN)


@pytest.mark.parametrize("uri", NATIONAL)
def test_national_spellings_are_read_in_their_country_and_nowhere_else(uri):
    assert Reading(country="CN").identity(uri) == BANK
    with pytest.raises(ParseError, match=r"numbers\.country") as refused:
        Reading().identity(uri)
    assert refused.value.reason is Reason.TN_NATIONAL


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("tel:5550100;phone-context=+1-215", Reason.TN_CONTEXT),
        ("tel:88880001;phone-context=+86755", Reason.TN_CONTEXT),
        ("tel:88880001;phone-context=%2B86755", Reason.TN_CONTEXT),
        ("tel:8888-0001;ext=1;Phone-Context=+86-755", Reason.TN_CONTEXT),
        ("tel:13800138000;phone-context=+999", Reason.TN_CONTEXT),
        ("tel:13800138000;phone-context=+800", Reason.TN_CONTEXT),
        ("tel:13800138000;phone-context=+0", Reason.TN_CONTEXT),
        ("tel:13800138000;phone-context=+", Reason.TN_CONTEXT),
        ("tel:13800138000;phone-context=", Reason.TN_CONTEXT),
        ("tel:13800138000;phone-context", Reason.TN_CONTEXT),
        ("tel:13800138000;phone-context=86", Reason.TN_CONTEXT),
        ("tel:13800138000;phone-context=+86;phone-context=x.example", Reason.TN_CONTEXT),
        ("tel:0101234567;phone-context=+86", Reason.TN_CONTEXT),
        ("tel:110;phone-context=+49", Reason.TN_CONTEXT),
        ("sip:88880001;phone-context=+86755@a.example;user=phone", Reason.TN_CONTEXT),
        ("sip:88880001;phone-context=+86755@a.example", Reason.TN_CONTEXT),
        ("tel:alice;phone-context=x.example;ext=1", Reason.TN_INVALID),
        ("tel:+0755;phone-context=+86", Reason.TN_NATIONAL),
        ("sip:0755@a.example;user=phone", None),
        ("sip:%EF%BC%98%EF%BC%96755588880001@a.example", Reason.URI_INVALID),  # full width
        ("sip:%D9%A8%D9%A6755588880001@a.example", Reason.URI_INVALID),  # Arabic-Indic
        ("sip:\uff18675588880001@a.example", Reason.URI_INVALID),
        ("sip:%E2%91%A975588880001@a.example", Reason.URI_INVALID),  # 10 in a circle
        ("sip:%E2%80%AE68001@192.0.2.7", Reason.TN_INVALID),  # turned around: 10086
        ("sip:%C0%B110086@192.0.2.7", Reason.TN_INVALID),  # no UTF-8, read as 110086 by some
        ("sip:%25310086@192.0.2.7", Reason.TN_INVALID),  # 10086, decoded twice
        ("sip:86755888800%3A01@a.example", Reason.TN_INVALID),  # shown as 86755888800:01
        ("sip:86755%3F88880001@a.example", Reason.TN_INVALID),
        ("sip:86755888800?01@a.example", Reason.TN_INVALID),
        ("sip:8675588880%40001@a.example", Reason.TN_INVALID),
        ("sip:8675588880%3B-001@a.example;user=phone", Reason.TN_INVALID),
        ("sip:1%3A0086@192.0.2.7", Reason.TN_INVALID),
        ("sip:8675588880001%E2%84%A2@a.example", Reason.URI_INVALID),  # the sign of a trade mark
        ("sip:8675588880001%CA%B0@a.example", Reason.URI_INVALID),  # a small h above the line
        ("sip:8675588880001%EF%BD%98@a.example", Reason.URI_INVALID),  # an x of full width
        ("sip:10086%E2%84%A2@192.0.2.7", Reason.URI_INVALID),
        ("sip:86%E2%80%8B75588880001@a.example", Reason.TN_INVALID),  # a space of no width
        ("sip:86,75588880001@a.example", Reason.TN_INVALID),
        ("sip:86/75588880001@a.example", Reason.TN_INVALID),
        ("sip:8675588880001,8675588880002@a.example", Reason.TN_INVALID),
        ("sip:86+75588880001@a.example", Reason.TN_INVALID),
        ("sip:%2538675588880001@a.example", Reason.TN_INVALID),
        ('"Bank" <sip:8675588880001@a.example>', Reason.URI_INVALID),
    ],
)
def test_what_cannot_be_placed_is_refused_by_its_own_reason(uri, reason):
    if reason is None:
        assert isinstance(Reading(country="CN").identity(uri), Private)
        return
    with pytest.raises(ParseError) as refused:
        Reading(country="CN").identity(uri, "orig.uri")
    assert (refused.value.reason, refused.value.where) == (reason, "orig.uri")


OWN = Reading(
    country="CN",
    hosts=frozenset({"ims.example", "sbc.example.net"}),
    special=lambda tn: tn in ("10086", "110", "95001"),
    national_form=lambda digits: digits[2:] if digits in ("8610086", "86110", "8695001") else None,
)


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        ("sip:10086@ims.example", TN("10086")),
        ("sip:10086@gd.ims.example.", TN("10086")),
        ("sip:10086@SBC.example.net:5060", TN("10086")),
        ("sip:1%30086@192.0.2.7", TN("10086")),
        ("sip:100-86@[2001:db8::7]", TN("10086")),
        ("sip:10086;ext=1@ims.example", TN("10086")),
        ("sip:110@other.example;user=phone", TN("110")),
        ("sip:+110@other.example", TN("110")),
        ("sip:+8610086@other.example", TN("10086")),
        ("sip:8610086@other.example", TN("10086")),
        ("tel:+86-110", TN("110")),
        ("tel:95001", TN("95001")),
        ("tel:110;phone-context=+86", TN("110")),
        ("tel:110;phone-context=ims.example", TN("110")),
        ("tel:13800138000;phone-context=gd.ims.example", TN("8613800138000")),
        ("sip:10086@other.example", Private("sip:10086@other.example")),
        ("sip:10086@notims.example", Private("sip:10086@notims.example")),
        ("sip:10086@ims.example.evil.example", Private("sip:10086@ims.example.evil.example")),
        ("sip:10086", TN("10086")),
        ("sip:4711", Private("sip:4711")),
        ("sip:4711@ims.example", Private("sip:4711@ims.example")),
        ("sip:4711@192.0.2.7", Private("sip:4711@192.0.2.7")),
        ("sip:4711@other.example;user=phone", Private("sip:4711@other.example")),
        ("sip:123456@ims.example", Private("sip:123456@ims.example")),
        ("sip:0110@ims.example", Private("sip:0110@ims.example")),
        ("sip:12345678901234567@ims.example", Private("sip:12345678901234567@ims.example")),
        ("sip:1a10086@ims.example", URI("sip:1a10086@ims.example")),
        ("sip:8675588880001x@ims.example", URI("sip:8675588880001x@ims.example")),
        ("sip:bank8675588880001@192.0.2.7", URI("sip:bank8675588880001@192.0.2.7")),
    ],
)
def test_short_digits_are_a_number_only_where_they_are_known(uri, identity):
    found = OWN.identity(uri)
    assert (found, type(found)) == (identity, type(identity))


@pytest.mark.parametrize(
    ("text", "number"),
    [("8610086", "10086"), ("+86 10086", "10086"), ("+86-110", "110"), ("10086", "10086")],
)
def test_a_national_number_has_no_country_code(text, number):
    assert OWN.number(text) == number
    assert OWN.recorded(text, "first") == number
    assert OWN.claimed(TN("8695001")) == TN("95001")


CHINA = Reading(country="CN", national_form=load_plan((), "CN").national_form)


@pytest.mark.parametrize(
    "uri",
    [
        "tel:700100020000001",
        "tel:+86-700-1000-2000-0001",
        "tel:86700100020000001",
        "tel:0086700100020000001",
        "tel:700100020000001;phone-context=+86",
        "sip:86700100020000001@a.example",
        "sip:+86700100020000001@a.example;user=phone",
        "sips:%2B86700100020000001@a.example:5061",
    ],
)
def test_a_privacy_number_is_of_fifteen_digits_however_it_is_written(uri):
    assert CHINA.identity(uri) == TN("700100020000001")
    number = uri.partition(":")[2].partition(";")[0].partition("@")[0].replace("%2B", "+")
    assert CHINA.number(number) == TN("700100020000001")
    assert CHINA.recorded(number, "first") == TN("700100020000001")


@pytest.mark.parametrize("text", ["86700100020000002 1", "87700100020000001", "+8670010002000000"])
def test_other_numbers_of_too_many_digits_stay_none(text):
    with pytest.raises(ParseError) as refused:
        CHINA.number(text)
    assert refused.value.reason is Reason.TN_INVALID


def test_sixteen_digits_are_a_number_where_a_portability_prefix_makes_them():
    long = "5511" + "0" * 11 + "7"
    reading = Reading(long_codes=("55", "52"))
    for written in (f"+{long}", long):
        assert reading.number(written) == TN.long(long)
    assert reading.identity(f"sip:{long}@a.example") == TN.long(long)
    assert isinstance(reading.identity(f"sip:1{long[1:]}@a.example"), Private)
    for reader, text in ((Reading(), long), (reading, "1" + long[1:]), (reading, long + "1")):
        with pytest.raises(ParseError):
            reader.number(text)
    with pytest.raises(ParseError):
        reading.recorded(long, "first")
    for bad in ("1" * 15, "1" * 17, "1" * 15 + "*", "１" * 16):
        with pytest.raises(ParseError):
            TN.long(bad)


@pytest.mark.parametrize(
    "uri",
    [
        "sip:anonymous@anonymous.invalid",
        "<SIP:Anonymous@Anonymous.Invalid:5060>",
        "sip:anonymous@anonymous.invalid.",
        "sip:anon%79mous:secret@anonymous.invalid",
        "sip:anonymous.invalid",
        "sip:anonymous@192.0.2.1",
        "anonymous@ims.example",
    ],
)
def test_who_is_withheld_is_nobody(uri):
    assert Reading().identity(uri) is ANONYMOUS


NOT_WITHHELD = [
    ("sip:8675588880001@anonymous.invalid", BANK),
    ("sip:+86-755-88880001@Anonymous.Invalid.;user=phone", BANK),
    ("sip:110@anonymous.invalid", TN("110")),
    ("sip:4711@anonymous.invalid", Private("sip:4711@anonymous.invalid")),
    ("sip:bank@anonymous.invalid", URI("sip:bank@anonymous.invalid")),
    (
        "sip:anonymous;8675588880001@anonymous.invalid",
        Private("sip:anonymous;8675588880001@anonymous.invalid"),
    ),
]


@pytest.mark.parametrize(("uri", "identity"), NOT_WITHHELD)
def test_nobody_hides_behind_the_host_of_who_is_withheld(uri, identity):
    found = OWN.identity(uri)
    assert (found, type(found)) == (identity, type(identity))


# Blanks, dashes and marks that Unicode calls letters: Hangul fillers, long vowels, apostrophes.
NO_LETTERS = ["ㅤ", "ᅟ", "ᅠ", "ﾠ", "ー", "ｰ", "ʼ", "ʹ", "ː", "ـ", "ꞌ", "ǀ"]


@pytest.mark.parametrize("mark", NO_LETTERS)
def test_a_mark_makes_no_name_of_a_number(mark):
    for written in (f"8675588880001{mark}", f"86755{mark}88880001", f"{mark}8675588880001"):
        for uri in (f"sip:{quote(written)}@a.example", f"sip:+{quote(written)}@192.0.2.9"):
            with pytest.raises(ParseError) as refused:
                OWN.identity(uri)
            assert refused.value.reason in (Reason.URI_INVALID, Reason.TN_INVALID)
    for host in ("192.0.2.9", "ims.example", "a.example;user=phone"):
        with pytest.raises(ParseError):
            OWN.identity(f"sip:110{quote(mark)}@{host}")


def test_a_name_in_any_script_stays_a_uri():
    for name in ("张三2", "müller7", "Иван", "+alice2", "_", "alice;1234567"):
        assert type(OWN.identity(f"sip:{quote(name, safe='+;')}@a.example")) is URI


@pytest.mark.parametrize(
    "user",
    [
        *(f"{before}8675588880001" for before in (";", "%3B", ":", "%3A", "%40", "?", "%3F")),
        *(f"{before}8675588880001" for before in ("-;", "*;", "%EF%BC%9B", "%E3%83%BC;", "()%3f")),
        "+8675588880001%3B;,",
        "&,8675588880001,pause",
        ";110",
        ":110",
    ],
)
def test_no_number_stands_behind_nobody(user):
    try:
        found = OWN.identity(f"sip:{user}@a.example")
    except ParseError as error:
        assert error.reason in (Reason.URI_INVALID, Reason.TN_INVALID)
    else:
        assert found == BANK


def test_what_stands_behind_a_number_with_its_plus_changes_nothing():
    assert OWN.identity("sip:8675588880001%40192.0.2.9@a.example") == BANK
    assert OWN.identity("sip:8675588880001%3Bext=5@a.example") == BANK
    assert OWN.identity("sip:+8675588880001,pause@a.example") == BANK
    assert OWN.identity("sip:+13105551234&x@a.example") == TN("13105551234")


@pytest.mark.parametrize("host", ["192.000.002.009", "192.0.2.9.", "3221225985", "0xC0000209"])
def test_a_special_number_at_an_address_is_that_number_however_the_address_is_written(host):
    assert OWN.identity(f"sip:10086@{host}") == TN("10086")


@pytest.mark.parametrize("user", ["110,", "110/", "110&", "%22110%22", "110%00", "110%E2%80%8B"])
def test_a_special_number_with_more_is_none_and_no_extension(user):
    for uri in (f"sip:{user}@192.0.2.9", f"sip:{user}@ims.example", f"sip:1{'-' * 62}10@192.0.2.9"):
        with pytest.raises(ParseError) as refused:
            OWN.identity(uri)
        assert refused.value.reason is Reason.TN_INVALID


@pytest.mark.parametrize("zeros", ["000", "0000"])
def test_zeros_make_no_long_number_of_a_number(zeros):
    for country in (None, "CN"):
        with pytest.raises(ParseError):
            Reading(country=country).identity(f"sip:{zeros}8675588880001@a.example")


@pytest.mark.parametrize(
    "uri",
    [
        "urn:x:8675588880001",
        "urn:service:sos.;8613800138000",
        "urn:service:",
        "urn:service:sos.",
        "urn:service:sos..fire",
        "urn:service:-sos",
        f"urn:service:{'a' * 64}",
    ],
)
def test_a_urn_names_a_service_by_labels(uri):
    with pytest.raises(ParseError) as refused:
        Reading().identity(uri)
    assert refused.value.reason is Reason.URI_INVALID


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("4402079460000", "442079460000"),
        ("44 (0)20 7946 0000", "442079460000"),
        ("490301234567", "49301234567"),
        ("390612345678", "390612345678"),  # Italy dials its 0 from everywhere
        ("86075588880001", "8675588880001"),
        ("12025550100", "12025550100"),
    ],
)
def test_a_trunk_0_behind_any_country_code_goes(written, number):
    for reading in (Reading(), Reading(country="CN")):
        assert reading.recorded(written, "first") == TN(number)
        assert reading.identity(f"sip:+{quote(written)}@a.example") == TN(number)
    assert Reading().number(written) == TN(number)
    assert Reading().identity(f"sip:{quote(written)}@a.example") == TN(number)


def test_a_token_is_read_as_the_call_is_but_its_numbers_are_global():
    reading = Reading(country="CN")
    assert reading.claimed(TN("13105551234")) == TN("13105551234")
    assert reading.number("13105551234") == TN("8613105551234")
    assert reading.claimed(URI("sip:075588880001@a.example")) == BANK
    assert reading.claimed(URI("sip:Alice@A.example:5060")) == URI("sip:alice@a.example")
    bad = URI("tel:5550100;phone-context=+1-215")
    assert reading.claimed(bad) is bad


def test_records_need_a_country_code_or_a_0_that_is_read():
    assert Reading(country="CN").recorded("0755-88880001", "first") == BANK
    assert Reading(country="CN").recorded("13105551234", "first") == TN("13105551234")
    with pytest.raises(ParseError) as refused:
        Reading().recorded("075588880001", "first")
    assert (refused.value.reason, refused.value.where) == (Reason.TN_NATIONAL, "first")
    assert Reading().filed("0755-88880001", "key") == TN("075588880001")
    with pytest.raises(ParseError):
        Reading().filed("nobody", "key")
