"""Where certificates may be fetched from."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zhenxian.certs.x5u import X5uPolicy, check_crl_url, check_x5u, host_of, is_public
from zhenxian.core.errors import ConfigError
from zhenxian.core.reasons import Reason

ANY = X5uPolicy()
DEVELOPMENT = X5uPolicy(allow_http_loopback=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://cert.example.org/passport.cer",
        "https://cert.example.org:443/passport.cer",
        "https://cert.example.org:8443/passport.cer",
        "HTTPS://CERT.example.ORG/a%20b;v=1",
        "https://cert.example.org",
        "https://93.184.216.34/chain.pem",
        "https://[2606:2800:220:1::1]/chain.pem",
        "https://xn--fiq228c.example.org/chain.pem",
    ],
)
def test_a_public_place_is_accepted(url):
    assert check_x5u(url, ANY) is None


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("http://cert.example.org/c.pem", "https"),
        ("ftp://cert.example.org/c.pem", "https"),
        ("https://cert.example.org:444/c.pem", "port"),
        ("https://cert.example.org:0443/c.pem", "port"),
        ("https://cert.example.org:/c.pem", "port"),
        ("https://user@cert.example.org/c.pem", "user"),
        ("https://user:pw@cert.example.org/c.pem", "user"),
        ("https://cert.example.org@127.0.0.1/c.pem", "user"),
        ("https://cert.example.org/c.pem?x=1", "query"),
        ("https://cert.example.org/c.pem?", "query"),
        ("https://cert.example.org/c.pem#x", "fragment"),
        ("https://cert.example.org/c.pem#", "fragment"),
        ("https://cert.example.org/a/../b", "dot"),
        ("https://cert.example.org/a/%2e%2E/b", "dot"),
        ("https://cert.example.org/a/.%2E%2Fb", "dot"),
        ("https://cert.example.org/a/..%5cb", "dot"),
        ("https://localhost/c.pem", "domain"),
        ("https://intranet/c.pem", "domain"),
        ("https://cert.example.org./c.pem", "plain form"),
        ("https://cert..example.org/c.pem", "plain form"),
        ("https://-cert.example.org/c.pem", "plain form"),
        (f"https://{'a' * 64}.example.org/c.pem", "plain form"),
        (f"https://{'a.' * 127}example/c.pem", "plain form"),
        # what inet_aton would read as 127.0.0.1
        ("https://2130706433/c.pem", "plain form"),
        ("https://0x7f.1/c.pem", "plain form"),
        ("https://0x7f000001/c.pem", "plain form"),
        ("https://0177.0.0.1/c.pem", "plain form"),
        ("https://127.1/c.pem", "plain form"),
        ("https://127.0.0.0x1/c.pem", "plain form"),
        ("https://127.0.0.1/c.pem", "public"),
        ("https://10.1.2.3/c.pem", "public"),
        ("https://169.254.169.254/latest/meta-data", "public"),
        ("https://192.168.0.1/c.pem", "public"),
        ("https://100.64.0.1/c.pem", "public"),
        ("https://0.0.0.0/c.pem", "public"),
        ("https://224.0.0.1/c.pem", "public"),
        ("https://255.255.255.255/c.pem", "public"),
        ("https://[::1]/c.pem", "public"),
        ("https://[::]/c.pem", "public"),
        ("https://[::ffff:127.0.0.1]/c.pem", "public"),
        ("https://[::ffff:8.8.8.8]/c.pem", "public"),
        ("https://[::127.0.0.1]/c.pem", "public"),
        ("https://[64:ff9b::7f00:1]/c.pem", "public"),
        ("https://[2002:7f00:1::]/c.pem", "public"),
        ("https://[2001:0:1::1]/c.pem", "public"),
        ("https://[fe80::1]/c.pem", "public"),
        ("https://[fd00::1]/c.pem", "public"),
        ("https://[ff02::1]/c.pem", "public"),
    ],
)
def test_a_refused_place_is_named(url, detail):
    refused = check_x5u(url, ANY)
    assert refused.reason is Reason.X5U_POLICY
    assert detail in refused.detail


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cert.example.org/c.pem",
        "//cert.example.org/c.pem",
        "https:/cert.example.org/c.pem",
        "https:cert.example.org/c.pem",
        "https:///c.pem",
        "https://cert.example.org\\@evil.example/c.pem",
        "https://cert.example.org/c\n.pem",
        "https://cert.exam\tple.org/c.pem",
        " https://cert.example.org/c.pem",
        "https://cert.example.org/c.pem\n",
        "https://cert.example.org /c.pem",
        "https://cert.example.org/a%zz",
        "https://cert%2eexample.org/c.pem",
        "https://cert.例.org/c.pem",
        "https://cert。example.org/c.pem",
        "https://cert_1.example.org/c.pem",
        "https://[fe80::1%25eth0]/c.pem",
        "https://[::1/c.pem",
        "https://1.2.3.4]/c.pem",
        "https://cert.example.org:44３/c.pem",
        "https://cert.example.org:+443/c.pem",
        "https://a:b:c/c.pem",
    ],
)
def test_what_has_no_single_reading_is_no_url(url):
    assert check_x5u(url, ANY).reason is Reason.INFO_INVALID
    assert check_crl_url(url, ANY).reason is Reason.INFO_INVALID


def test_length_is_bounded():
    refused = check_x5u("https://cert.example.org/" + "a" * 1024, ANY)
    assert refused.reason is Reason.X5U_POLICY
    assert "1024" in refused.detail


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/c.pem",
        "http://127.8.9.1/c.pem",
        "http://localhost:1234/c.pem",
        "http://[::1]:8080/c.pem",
        "https://127.0.0.1:9443/c.pem",
    ],
)
def test_loopback_needs_the_development_switch(url):
    assert check_x5u(url, DEVELOPMENT) is None
    assert check_x5u(url, ANY).reason is Reason.X5U_POLICY


@pytest.mark.parametrize(
    "url",
    [
        "http://cert.example.org/c.pem",
        "http://localhost.example.org/c.pem",
        "http://10.0.0.1/c.pem",
        "https://10.0.0.1/c.pem",
        "http://127.1/c.pem",
        "http://127.0.0.1@cert.example.org/c.pem",
        "http://0.0.0.0/c.pem",
        "ftp://127.0.0.1/c.pem",
        "http://127.0.0.1/c.pem?x",
    ],
)
def test_the_development_switch_opens_loopback_only(url):
    assert check_x5u(url, DEVELOPMENT) is not None


def test_a_list_of_hosts_and_prefixes():
    policy = X5uPolicy(
        repositories=(
            "cert.example.org",
            "https://sti.example.net/chains/",
            "https://one.example.net:8443/a.pem",
        )
    )
    for accepted in (
        "https://cert.example.org/x",
        "https://CERT.example.org:8443/x",
        "https://sti.example.net/chains/a.pem",
        "https://sti.example.net:443/chains/a.pem",
        "https://one.example.net:8443/a.pem",
    ):
        assert check_x5u(accepted, policy) is None, accepted
    for refused in (
        "https://cert.example.org.evil.example/x",
        "https://evilcert.example.org/x",
        "https://sub.cert.example.org/x",
        "https://sti.example.net/chainsaw/a.pem",
        "https://sti.example.net/chains",
        "https://sti.example.net/chains/../a.pem",
        "https://sti.example.net:8443/chains/a.pem",
        "https://one.example.net/a.pem",
        "https://one.example.net:8443/a.pem2",
    ):
        assert check_x5u(refused, policy).reason is Reason.X5U_POLICY, refused
    assert check_crl_url("http://crl.example.org/list.crl", policy) is None


@pytest.mark.parametrize(
    "entry", ["", "cert example", "cert.example.org:443", "https://a@b.c/", "/x"]
)
def test_a_list_entry_that_is_neither_is_a_configuration_error(entry):
    with pytest.raises(ConfigError, match="neither a host"):
        X5uPolicy(repositories=(entry,))


def test_a_loopback_repository_is_subject_to_the_list():
    policy = X5uPolicy(allow_http_loopback=True, repositories=("127.0.0.1",))
    assert check_x5u("http://127.0.0.1:8080/c", policy) is None
    assert check_x5u("http://localhost:8080/c", policy) is not None


def test_revocation_lists_may_be_plain_http_with_query():
    assert check_crl_url("http://crl.example.org/list.crl", ANY) is None
    assert check_crl_url("http://crl.example.org:8080/list?x=1", ANY) is None
    assert check_crl_url("https://crl.example.org:8443/list.crl", ANY) is None
    for url in (
        "ldap://crl.example.org/cn=x",
        "http://crl.example.org:22/list.crl",
        "http://10.0.0.1/list.crl",
        "http://localhost/list.crl",
        "http://u@crl.example.org/list.crl",
        "http://crl.example.org/" + "a" * 2000,
    ):
        assert check_crl_url(url, ANY).reason is Reason.X5U_POLICY, url


def test_public_addresses():
    for text in ("8.8.8.8", "192.0.1.1", "2606:4700::1111", "64:ff9b::808:808"):
        assert is_public(ip_address(text)), text
    for text in ("192.0.0.8", "198.18.0.1", "203.0.113.9", "192.88.99.1", "240.0.0.1",
                 "64:ff9b::a00:1", "64:ff9b:1::808:808", "2001:db8::1", "3fff::1", "100::1",
                 "5f00::1", "::ffff:8.8.8.8"):  # fmt: skip
        assert not is_public(ip_address(text)), text


_SPECIAL = st.sampled_from(["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
    "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "fc00::/7", "fe80::/10",
    "ff00::/8", "::ffff:0:0/96", "2002::/16", "2001::/32"])  # fmt: skip


@given(_SPECIAL.flatmap(lambda network: st.ip_addresses(network=network)))
def test_no_special_address_is_public(address):
    assert not is_public(address)


@given(st.ip_addresses())
def test_what_the_standard_library_calls_special_is_not_public(address):
    if address.is_private or address.is_multicast or address.is_link_local or address.is_loopback:
        assert not is_public(address)


@given(st.text(max_size=60) | st.from_regex(r"https?://[ -~]{0,40}", fullmatch=True))
def test_any_text_gets_an_answer(text):
    refused = check_x5u(text, ANY)
    if refused is None:
        assert text.lower().startswith("https://")
        assert host_of(text) is not None
    else:
        assert refused.reason in (Reason.X5U_POLICY, Reason.INFO_INVALID)
        assert len(refused.detail) < 200
