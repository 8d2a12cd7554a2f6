"""Identity header field values: text to value, text to reason, and back."""

import pytest

from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason, SipStatus
from zhenxian.core.tn import TN, URI
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import (
    MAX_HEADER_LENGTH,
    MAX_HEADERS,
    IdentityHeader,
    parse_identity_header,
    parse_identity_headers,
    parse_single,
    split_identity_headers,
)
from zhenxian.passport.jws import Token, b64url_encode
from zhenxian.passport.ppt.shaken import Attestation, Shaken

X5U = "https://cert.example.org/passport.cer"
SIGNATURE = b64url_encode(bytes(range(64)))
TOKEN = Token(b"a", b"b", SIGNATURE)
T = TOKEN.dumps().decode()
INFO = f";info=<{X5U}>"
SHAKEN = PASSporT(
    Header(X5U, "shaken"),
    TN("12155550121"),
    Destination((TN("12155550131"),)),
    1443208345,
    Shaken(Attestation.B, "access-7"),
)
BASELINE = PASSporT(
    Header(X5U), URI("sip:alice@example.com"), Destination((TN("12155550131"),)), 1443208345
)


def full(passport, **changes):
    header = changes.pop("header", None) or b64url_encode(passport.header.dumps())
    payload = changes.pop("payload", None) or b64url_encode(passport.payload())
    fields = {"info": X5U, "alg": "ES256", "ppt": passport.header.ppt} | changes
    return IdentityHeader(Token(header, payload, SIGNATURE), **fields)


def refused(parse, *arguments):
    with pytest.raises(ParseError) as info:
        parse(*arguments)
    assert len(str(info.value)) < 300
    return info.value


@pytest.mark.parametrize(
    ("value", "header", "written"),
    [
        (T + INFO, IdentityHeader(TOKEN, X5U), None),
        (T + INFO + ";alg=ES256;ppt=shaken", IdentityHeader(TOKEN, X5U, "ES256", "shaken"), None),
        (
            T + INFO + ';alg=ES256;ppt="shaken"',
            IdentityHeader(TOKEN, X5U, "ES256", "shaken"),
            T + INFO + ";alg=ES256;ppt=shaken",
        ),
        (
            T + ';ppt="shaken";alg="ES256"' + INFO,
            IdentityHeader(TOKEN, X5U, "ES256", "shaken"),
            T + INFO + ";alg=ES256;ppt=shaken",
        ),
        (
            T + ";PPT=Shaken;ALG=es256;INFO=<" + X5U + ">",
            IdentityHeader(TOKEN, X5U, "ES256", "shaken"),
            T + INFO + ";alg=ES256;ppt=shaken",
        ),
        (
            f"{T} \t; info \t= <{X5U}> ; alg = ES256 ;",
            IdentityHeader(TOKEN, X5U, "ES256"),
            T + INFO + ";alg=ES256",
        ),
        (f"{T};info={X5U};alg=ES256", IdentityHeader(TOKEN, X5U, "ES256"), T + INFO + ";alg=ES256"),
        (f'{T};info="{X5U}"', IdentityHeader(TOKEN, X5U), T + INFO),
        (f"{T};info=<http://h/?a=b;c,d=e>", IdentityHeader(TOKEN, "http://h/?a=b;c,d=e"), None),
        # unknown parameters: kept, in order, with and without value, twice if they came twice
        (
            T + INFO + ";z;a=1;z=2;b",
            IdentityHeader(TOKEN, X5U, extra=(("z", None), ("a", "1"), ("z", "2"), ("b", None))),
            None,
        ),
        (
            T + ";X-A" + INFO + ";X-B=Q",
            IdentityHeader(TOKEN, X5U, extra=(("x-a", None), ("x-b", "Q"))),
            T + INFO + ";x-a;x-b=Q",
        ),
        (
            T + INFO + r';q="a;b,\"c\\ \d";e=""',
            IdentityHeader(TOKEN, X5U, extra=(("q", 'a;b,"c\\ d'), ("e", ""))),
            T + INFO + r';q="a;b,\"c\\ d";e=""',
        ),
        (
            T + INFO + ";h=[2001:db8::1];u=<sip:a@b>",
            IdentityHeader(TOKEN, X5U, extra=(("h", "[2001:db8::1]"), ("u", "sip:a@b"))),
            T + INFO + ';h="[2001:db8::1]";u="sip:a@b"',
        ),
        (T + INFO + ';q="真显"', IdentityHeader(TOKEN, X5U, extra=(("q", "真显"),)), None),
        (".." + SIGNATURE.decode() + INFO, IdentityHeader(Token(b"", b"", SIGNATURE), X5U), None),
    ],
)
def test_value_both_ways(value, header, written):
    assert parse_single(value) == header
    assert parse_identity_header(value) == header
    assert parse_identity_headers([f" {value}\t"]) == [header]
    assert header.dumps() == (written or value)
    assert parse_single(header.dumps()) == header


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", Reason.IDENTITY_SYNTAX),
        (" ", Reason.IDENTITY_SYNTAX),
        (";", Reason.IDENTITY_SYNTAX),
        (INFO, Reason.IDENTITY_SYNTAX),
        ("<>" + INFO, Reason.IDENTITY_SYNTAX),
        ("a b.c" + INFO, Reason.IDENTITY_SYNTAX),
        ("é.b.c" + INFO, Reason.IDENTITY_SYNTAX),
        ("\ud800" + INFO, Reason.IDENTITY_SYNTAX),
        ("\x00" + T + INFO, Reason.IDENTITY_SYNTAX),
        ("Identity: " + T + INFO, Reason.IDENTITY_SYNTAX),
        (T + INFO + ";x=", Reason.IDENTITY_SYNTAX),
        (T + INFO + ";=x", Reason.IDENTITY_SYNTAX),
        (T + INFO + ";;a", Reason.IDENTITY_SYNTAX),
        (T + INFO + " a", Reason.IDENTITY_SYNTAX),
        (T + INFO + ';x="', Reason.IDENTITY_SYNTAX),
        (T + INFO + ';x="a', Reason.IDENTITY_SYNTAX),
        (T + INFO + ';x="\\"', Reason.IDENTITY_SYNTAX),
        (T + INFO + ';x="a\r\nb"', Reason.IDENTITY_SYNTAX),
        (T + INFO + ';x="a\x00b"', Reason.IDENTITY_SYNTAX),
        (T + INFO + ";x=é", Reason.IDENTITY_SYNTAX),
        (T + INFO + ";x=a\x01", Reason.IDENTITY_SYNTAX),
        (T + INFO + "\r\nVia: SIP/2.0", Reason.IDENTITY_SYNTAX),
        (T + INFO + INFO, Reason.IDENTITY_SYNTAX),
        (T + INFO + ";alg=ES256;ALG=ES256", Reason.IDENTITY_SYNTAX),
        (T + INFO + ";ppt=shaken;ppt=div", Reason.IDENTITY_SYNTAX),
        (T + INFO + ";ppt", Reason.IDENTITY_SYNTAX),
        (T + INFO + ";alg", Reason.IDENTITY_SYNTAX),
        (T + INFO + ';alg=""', Reason.IDENTITY_SYNTAX),
        (T + INFO + ';ppt="a b"', Reason.IDENTITY_SYNTAX),
        (T + INFO + r';ppt="a\"b"', Reason.IDENTITY_SYNTAX),
        (T + INFO + ";alg=none", Reason.ALG_UNSUPPORTED),
        (T + INFO + ";alg=HS256", Reason.ALG_UNSUPPORTED),
        (T + INFO + ";alg=ES384", Reason.ALG_UNSUPPORTED),
        (T + INFO + ';alg="ES256 "', Reason.ALG_UNSUPPORTED),
        (T, Reason.INFO_MISSING),
        (T + ";alg=ES256;ppt=shaken", Reason.INFO_MISSING),
        (T + ";info", Reason.INFO_INVALID),
        (T + ";info=<>", Reason.INFO_INVALID),
        (T + ';info=""', Reason.INFO_INVALID),
        (T + ";info=<c.pem>", Reason.INFO_INVALID),
        (T + ";info=<//h/c>", Reason.INFO_INVALID),
        (T + ';info="https://h/ c"', Reason.INFO_INVALID),
        (T + ';info="https://h/>c"', Reason.INFO_INVALID),
        (T + ";info=<https://h/ c>", Reason.INFO_INVALID),
        (T + ";info=<https://h/\r\n>", Reason.INFO_INVALID),
        (T + ";info=<https://h/é>", Reason.INFO_INVALID),
        ("a.b" + INFO, Reason.TOKEN_SYNTAX),
        ("a.b.c.d" + INFO, Reason.TOKEN_SYNTAX),
        ("abc=" + INFO, Reason.TOKEN_SYNTAX),
        (".b." + SIGNATURE.decode() + INFO, Reason.TOKEN_SYNTAX),
        ("a.." + SIGNATURE.decode() + INFO, Reason.TOKEN_SYNTAX),
        (".." + INFO, Reason.TOKEN_SIGNATURE_LENGTH),
        ("a.b." + INFO, Reason.TOKEN_SIGNATURE_LENGTH),
        ("a.b." + "A" * 44 + INFO, Reason.TOKEN_SIGNATURE_LENGTH),
        ("a.b." + "A" * 87 + INFO, Reason.TOKEN_SIGNATURE_LENGTH),
        (T + "==" + INFO, Reason.TOKEN_BASE64),
        ("a.b." + "A" * 85 + "B" + INFO, Reason.TOKEN_BASE64),
        ("a.b.+" + "A" * 85 + INFO, Reason.TOKEN_BASE64),
        ("a.b./" + "A" * 85 + INFO, Reason.TOKEN_BASE64),
        ("a.b." + "A" * MAX_HEADER_LENGTH + INFO, Reason.IDENTITY_TOO_LARGE),
    ],
)
def test_value_refusals(value, reason):
    assert refused(parse_single, value).reason is reason


def test_faults_of_info_are_436_and_of_alg_437():
    assert refused(parse_single, T).reason.sip is SipStatus.BAD_INFO
    assert refused(parse_single, T + ";info=<c.pem>").reason.sip is SipStatus.BAD_INFO
    assert (
        refused(parse_single, T + INFO + ";alg=none").reason.sip is SipStatus.UNSUPPORTED_CREDENTIAL
    )


def test_a_long_value_is_bounded():
    value = T + INFO + ";x="
    assert parse_single(value + "a" * (MAX_HEADER_LENGTH - len(value)))
    error = refused(parse_single, value + "a" * (MAX_HEADER_LENGTH - len(value) + 1))
    assert error.reason is Reason.IDENTITY_TOO_LARGE
    error = refused(split_identity_headers, ["," * (MAX_HEADER_LENGTH * MAX_HEADERS + 1)])
    assert error.reason is Reason.IDENTITY_TOO_LARGE


ONE = T + INFO + ';x="a,b"'
TWO = T + ";info=<https://h/a,b>"


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ([], []),
        ([ONE], [ONE]),
        ([ONE, TWO], [ONE, TWO]),
        ([f"{ONE},{TWO}"], [ONE, TWO]),
        ([f" {ONE} ,\t{TWO} ", ONE], [ONE, TWO, ONE]),
        ([f"{T}\r\n ;info=<{X5U}>"], [f"{T} ;info=<{X5U}>"]),
        ([f"{T};\n\tinfo=<{X5U}>"], [f"{T}; info=<{X5U}>"]),
        ([f"{T};\r\n \r\n\tinfo=<{X5U}>"], [f"{T};  info=<{X5U}>"]),
        ([f"{T};x={chr(34)},{TWO}"], [f'{T};x="', T + ";info=<https://h/a", "b>"]),
        (['a;x="\\",b"'], ['a;x="\\",b"']),
        (["<", ONE], ["<", ONE]),
        (["<,a.b.c"], ["<", "a.b.c"]),
        (["", ","], ["", "", ""]),
        ([f"\r\n {ONE}", f"{ONE}\r\n"], [ONE, ONE]),
        ([f"\r\n{ONE}\r\n \r\n", f" \t\n{TWO}\r"], [ONE, TWO]),
        ([f"{ONE}\r\n,\r\n {TWO}\n"], [ONE, TWO]),
        ([f"{T} \r\n ; \r\n info \r\n = \r\n <{X5U}>"], [f"{T}  ;  info  =  <{X5U}>"]),
        ([f"{T}{INFO}\r\nVia: x"], [f"{T}{INFO}\r\nVia: x"]),
        ([f"{T}{INFO}\r x"], [f"{T}{INFO}\r x"]),
        ([f"\u00a0{T}{INFO}\x0b"], [f"\u00a0{T}{INFO}\x0b"]),
    ],
)
def test_fields_are_unfolded_and_split(values, parts):
    assert split_identity_headers(values) == parts


def test_folding_stands_between_parameters_only():
    folded = f"{T};info=<{X5U}>;\r\n  alg=ES256;\r\n\tppt=shaken"
    assert parse_identity_header(folded) == IdentityHeader(TOKEN, X5U, "ES256", "shaken")
    assert refused(parse_identity_header, "a.\r\n b.c" + INFO).reason is Reason.IDENTITY_SYNTAX


@pytest.mark.parametrize("before", ["", " ", "\t", "\r\n ", "\n", "\r\n\t\r\n "])
@pytest.mark.parametrize("after", ["", " ", "\t", "\r\n", "\n", "\r", " \r\n \r\n"])
def test_line_breaks_and_blanks_around_a_value_are_none_of_it(before, after):
    header = IdentityHeader(TOKEN, X5U, "ES256", "shaken")
    value = T + INFO + ";alg=ES256;ppt=shaken"
    assert parse_identity_header(before + value + after) == header
    assert (
        parse_identity_headers([f"{before}{value}{after},{before}{value}{after}"]) == [header] * 2
    )
    broken = value.replace(";alg", "\r\n;alg")
    assert refused(parse_identity_header, before + broken + after).reason is Reason.IDENTITY_SYNTAX


def test_one_value_is_one_value():
    assert refused(parse_identity_header, f"{ONE},{TWO}").reason is Reason.IDENTITY_SYNTAX
    assert len(parse_identity_headers([f"{ONE},{TWO}"])) == 2
    assert parse_identity_headers([]) == []
    assert len(split_identity_headers([ONE] * MAX_HEADERS)) == MAX_HEADERS
    error = refused(split_identity_headers, [ONE] * (MAX_HEADERS + 1))
    assert error.reason is Reason.TOO_MANY_IDENTITIES


@pytest.mark.parametrize(
    "header",
    [
        IdentityHeader(TOKEN, "https://h/>\r\nVia: x"),
        IdentityHeader(TOKEN, "https://h/>;alg=none"),
        IdentityHeader(TOKEN, "c.pem"),
        IdentityHeader(TOKEN, X5U, "es256"),
        IdentityHeader(TOKEN, X5U, "none"),
        IdentityHeader(TOKEN, X5U, None, 'a"b'),
        IdentityHeader(TOKEN, X5U, None, ""),
        IdentityHeader(TOKEN, X5U, None, "Shaken"),
        IdentityHeader(TOKEN, X5U, extra=(("X", None),)),
        IdentityHeader(TOKEN, X5U, extra=(("", None),)),
        IdentityHeader(TOKEN, X5U, extra=(("ppt", "div"),)),
        IdentityHeader(TOKEN, X5U, extra=(("x", "a\r\nb"),)),
        IdentityHeader(TOKEN, X5U, extra=(("x", "\ud800"),)),
        IdentityHeader(TOKEN, X5U, extra=(("x y", "a"),)),
    ],
)
def test_nothing_is_written_that_reads_differently(header):
    with pytest.raises(RuntimeError):
        header.dumps()


@pytest.mark.parametrize("passport", [SHAKEN, BASELINE])
def test_claims_of_the_full_form(passport):
    header = full(passport)
    assert not header.compact
    assert header.passport() == passport
    assert full(passport, ppt=None).passport() == passport


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (full(SHAKEN, ppt="div"), Reason.PPT_MISMATCH),
        (full(BASELINE, ppt="shaken"), Reason.PPT_MISMATCH),
        (full(SHAKEN, info=X5U + "#"), Reason.X5U_MISMATCH),
        (full(SHAKEN, info=X5U.upper()), Reason.X5U_MISMATCH),
        (full(SHAKEN, header=b"YR"), Reason.TOKEN_BASE64),
        (full(SHAKEN, payload=b"YR"), Reason.TOKEN_BASE64),
        (full(SHAKEN, header=b"W10"), Reason.JSON_SYNTAX),
        (full(SHAKEN, payload=b"W10"), Reason.JSON_SYNTAX),
        (full(PASSporT(Header(X5U, "rph"), SHAKEN.orig, SHAKEN.dest, 1)), Reason.PPT_UNSUPPORTED),
        (full(SHAKEN).compacted(), Reason.COMPACT_NOT_ALLOWED),
        (full(BASELINE).compacted(), Reason.TOKEN_SYNTAX),
        (full(SHAKEN, ppt="x").compacted(), Reason.PPT_UNSUPPORTED),
    ],
)
def test_claims_refused(header, reason):
    assert refused(header.passport).reason is reason


@pytest.mark.parametrize("passport", [SHAKEN, BASELINE])
def test_full_and_compact_form_agree(passport):
    header = full(passport)
    compact = header.compacted()
    assert compact.compact
    assert compact.dumps().startswith("..")
    assert parse_single(compact.dumps()) == compact
    assert compact.expanded(passport) == header
