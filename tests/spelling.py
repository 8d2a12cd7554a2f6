"""Names in spellings that RFC 5280 section 7.1 takes for the same, and in ones it does not."""

from __future__ import annotations

import string

from cryptography import x509
from cryptography.x509.name import _ASN1Type as StringType
from cryptography.x509.oid import NameOID
from hypothesis import strategies as st

TYPES = (
    StringType.UTF8String,
    StringType.PrintableString,
    StringType.BMPString,
    StringType.UniversalString,
    StringType.T61String,
)
_OIDS = (
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COMMON_NAME,
    NameOID.LOCALITY_NAME,
    NameOID.SERIAL_NUMBER,
    NameOID.EMAIL_ADDRESS,
    NameOID.DOMAIN_COMPONENT,
)
_LETTERS = string.ascii_letters + string.digits + "'()+,-./:=?"
_words = st.lists(st.text(_LETTERS, min_size=1, max_size=8), min_size=1, max_size=3)


def attribute(oid, text, kind=None):
    """One attribute; its length is not looked at."""
    if kind is None and oid in (NameOID.EMAIL_ADDRESS, NameOID.DOMAIN_COMPONENT):
        kind = StringType.IA5String
    return x509.NameAttribute(oid, text, kind, _validate=False)


@st.composite
def names(draw):
    """A name of RDNs, some with several attributes, as lists of OID and words."""
    rdns = []
    for _ in range(draw(st.integers(1, 4))):
        oids = draw(st.lists(st.sampled_from(_OIDS), min_size=1, max_size=3, unique=True))
        rdns.append([(oid, draw(_words)) for oid in oids])
    return rdns


@st.composite
def spelled(draw, rdns):
    """The name in some spelling: string type, letter case, blanks, order within an RDN."""
    made = []
    for rdn in rdns:
        attributes = []
        for oid, words in draw(st.permutations(rdn)):
            gaps = st.integers(1, 3).map(" ".__mul__)
            text = draw(gaps)[1:] + words[0]
            for word in words[1:]:
                text += draw(gaps) + word
            text += draw(gaps)[1:]
            text = draw(st.sampled_from((str, str.upper, str.lower, str.swapcase)))(text)
            kinds = (StringType.IA5String, *TYPES) if oid in _OIDS[-2:] else TYPES
            attributes.append(attribute(oid, text, draw(st.sampled_from(kinds))))
        made.append(x509.RelativeDistinguishedName(attributes))
    return x509.Name(made)


@st.composite
def changed(draw, rdns):
    """Another name that differs a little."""
    other = [list(rdn) for rdn in rdns]
    where = draw(st.integers(0, len(other) - 1))
    how = draw(st.sampled_from(("word", "joined", "gone", "turned")))
    oid, words = other[where][0]
    if how == "word":
        other[where][0] = (oid, [*words, "x"])
    elif how == "joined" and len(words) > 1:
        other[where][0] = (oid, ["".join(words)])
    elif how == "gone" and len(other) > 1:
        del other[where]
    else:
        other = [*other[1:], other[0], [(NameOID.TITLE, ["x"])]]
    return other
