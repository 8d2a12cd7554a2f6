"""Names in their normal form: vectors by section of the RFCs, and properties."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type as StringType
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from spelling import attribute, changed, names, spelled

from zhenxian.certs.names import general_key, name_key, prepared, uri_key

O, CN, DC = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME, NameOID.DOMAIN_COMPONENT  # noqa: E741


def name(*pairs):
    """A name of one attribute an RDN, as it comes back from DER."""
    made = x509.Name([attribute(*pair) for pair in pairs])
    return x509.Name.from_bytes(made.public_bytes())


# RFC 4518 section 2, RFC 3454 appendix B.2: what has the same normal form -------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Field CA", "FIELD ca"),
        ("Field CA", "  Field   CA "),
        ("Field CA", "Field\tCA"),
        ("Field CA", "Field\r\nCA"),
        ("Field CA", "Field\u00a0CA"),
        ("Field CA", "Field\u3000CA"),
        ("Field CA", "Field\u2003CA"),
        ("Field CA", "Fi\u00adeld CA"),
        ("Field CA", "Field\u200b CA"),
        ("Field CA", "\ufeffField CA"),
        ("Field CA", "Field\u0000 CA"),
        ("Field CA", "Field\ufe0f CA"),
        ("Field CA", "\uff26ield \uff23\uff21"),  # full width
        ("fi", "\ufb01"),  # ligature
        ("strasse", "STRAßE"),
        ("ς", "Σ"),
        ("İ", "i\u0307"),
        ("é", "e\u0301"),
        ("É", "é"),
        ("ÅNGSTRÖM", "\u212bngström"),
        ("ДОМ", "дом"),
        ("电信", "\u96fb\u4fe1".replace("\u96fb", "\u7535")),
        ("㎏", "KG"),
        ("①", "1"),
        ("", "   "),
    ],
)
def test_what_is_one_value(one, other):
    assert prepared(one) == prepared(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Field CA", "FieldCA"),
        ("Field CA", "Field-CA"),
        ("e", "é"),
        ("o", "ö"),
        ("а", "a"),  # Cyrillic, Latin
        ("電信", "电信"),
        ("a \u0301b", "a b"),  # a blank that carries a mark
        ("\ue000", "\ue001"),  # private use, which RFC 4518 prohibits, stands for itself
    ],
)
def test_what_are_two_values(one, other):
    assert prepared(one) != prepared(other)


@given(st.text(max_size=20))
def test_the_normal_form_of_a_normal_form_is_itself(text):
    once = prepared(text)
    assert prepared(once) == once


# RFC 5280 section 7.1 -----------------------------------------------------------------------------


def test_string_types_make_no_difference():
    kinds = ("UTF8String", "PrintableString", "BMPString", "UniversalString", "T61String")
    forms = {name_key(name((O, "Field"), (CN, "Field CA", StringType[kind]))) for kind in kinds}
    assert len(forms) == 1


def test_the_order_of_rdns_makes_a_difference_and_within_one_none():
    assert name_key(name((O, "a"), (CN, "b"))) != name_key(name((CN, "b"), (O, "a")))
    one, other = attribute(O, "Field"), attribute(CN, "field ca")
    made = [
        x509.Name([x509.RelativeDistinguishedName(rdn)])
        for rdn in ([one, other], [other, one], [attribute(CN, "Field  CA"), attribute(O, "FIELD")])
    ]
    assert len({name_key(item) for item in made}) == 1
    assert name_key(made[0]) != name_key(name((O, "Field"), (CN, "field ca")))
    assert name_key(made[0]) != name_key(x509.Name([x509.RelativeDistinguishedName([one])]))


def test_values_do_not_run_into_each_other():
    assert name_key(name((O, "a"), (CN, "b"))) != name_key(name((O, "a\x1e2.5.4.3=b")))
    assert name_key(name((O, "a"))) != name_key(name((CN, "a")))


def test_mail_and_domain_components():
    """RFC 5280 sections 4.1.2.6, 7.3 and 7.2: without regard to case, domains after ToASCII."""
    mail = NameOID.EMAIL_ADDRESS
    assert name_key(name((mail, "A.B@Example.ORG"))) == name_key(name((mail, "a.b@example.org")))
    utf8 = StringType.UTF8String
    forms = [(DC, "xn--bcher-kva"), (DC, "XN--BCHER-KVA"), (DC, "Bücher", utf8)]
    assert len({name_key(name(form)) for form in forms}) == 1
    assert name_key(name((DC, "bücher", utf8))) != name_key(name((DC, "bucher")))


def test_octets_are_no_text():
    unique = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x00A", StringType.BitString)
    other = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x00a", StringType.BitString)
    assert name_key(x509.Name([unique])) != name_key(x509.Name([other]))


@given(st.data())
def test_spellings_of_a_name_have_one_normal_form(data):
    rdns = data.draw(names())
    one, other = data.draw(spelled(rdns)), data.draw(spelled(rdns))
    assert name_key(one) == name_key(x509.Name.from_bytes(other.public_bytes()))
    assert name_key(one) != name_key(data.draw(spelled(data.draw(changed(rdns)))))


# RFC 5280 section 7.4; RFC 3986 section 6.2 -------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://lists.example/crl", "HTTP://Lists.EXAMPLE/crl"),
        ("http://lists.example/crl", "http://lists.example:80/crl"),
        ("https://lists.example/crl", "https://lists.example:443/crl"),
        ("https://lists.example/crl", "https://lists.example:/crl"),
        ("https://lists.example", "https://lists.example/"),
        ("https://lists.example/~a", "https://lists.example/%7Ea"),
        ("https://lists.example/%c3%a9", "https://lists.example/%C3%A9"),
        ("https://lists.example/a/c", "https://lists.example/./a/b/../c"),
        ("https://lists.example/a/", "https://lists.example/a/b/.."),
        ("https://lists.example/a/c", "https://lists.example/a/%2E/c"),
        ("https://l%69sts.example/", "https://lists.example/"),
        ("ldap://dir.example/cn=x", "LDAP://DIR.example:389/cn=x"),
    ],
)
def test_what_is_one_address(one, other):
    assert uri_key(one) == uri_key(other)
    made = [general_key(x509.UniformResourceIdentifier(text)) for text in (one, other)]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://lists.example/crl", "https://lists.example/crl"),
        ("https://lists.example/crl", "https://lists.example/CRL"),
        ("https://lists.example/crl", "https://lists.example/crl/"),
        ("https://lists.example/crl", "https://lists.example:8443/crl"),
        ("https://lists.example/crl", "https://lists.example/crl?a"),
        ("https://lists.example/a%2Fb", "https://lists.example/a/b"),
        ("http://lists.example:443/crl", "http://lists.example/crl"),
        ("https://lists.example/crl", "https://lists.example.org/crl"),
    ],
)
def test_what_are_two_addresses(one, other):
    assert uri_key(one) != uri_key(other)


@given(st.text("aA/.:%2eE~?#@[]-h", max_size=30))
def test_any_text_has_a_form_that_is_its_own(text):
    once = uri_key(f"http://h/{text}")
    assert uri_key(once) == once


def test_kinds_of_names_do_not_match_each_other():
    directory = x509.DirectoryName(name((CN, "lists.example")))
    others = [x509.DNSName("lists.example"), x509.UniformResourceIdentifier("lists.example")]
    assert len({general_key(general) for general in (directory, *others)}) == 3
    assert general_key(x509.DNSName("LISTS.example")) == general_key(others[0])
    spelled_otherwise = x509.DirectoryName(name((CN, "Lists.Example", StringType.BMPString)))
    assert general_key(directory) == general_key(spelled_otherwise)
    mails = [x509.RFC822Name("a@X.example"), x509.RFC822Name("a@x.example")]
    assert general_key(mails[0]) == general_key(mails[1])
    assert general_key(mails[0]) != general_key(x509.RFC822Name("A@x.example"))
