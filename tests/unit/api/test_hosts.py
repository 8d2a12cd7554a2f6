"""Names of this machine, and pages of others."""

import pytest

from zhenxian.api.transport.hosts import Hosts, host_name, target_host
from zhenxian.core.reasons import Reason
from zhenxian.service.listeners import _names
from zhenxian.service.settings import Settings


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"localhost", "localhost"),
        (b"LocalHost.:8080", "localhost"),
        (b"127.0.0.1:1", "127.0.0.1"),
        (b"[::1]:8080", "::1"),
        (b"a_b.example:", "a_b.example"),
        (b"", ""),
        (b":80", ""),
        (b"a b", None),
        (b"a/b", None),
        (b"a@b", None),
        (b"a:b", None),
        (b"a:1:2", None),
        (b"[::1", None),
        (b"::1", None),
        (b"a\xff", None),
        (b"a,b", "a,b"),
        (b"a\n", None),
    ],
)
def test_the_name_in_a_host_field(value, name):
    assert host_name(value) == name


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("alocalhost", False),
        ("localhost.example", False),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("128.0.0.1", False),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", False),
        ("::2", False),
        ("0.0.0.0", False),
        ("2130706433", False),
        ("sti.example.net", True),
        ("x.sti.example.net", False),
        ("", False),
    ],
)
def test_which_names_are_ours(name, known):
    assert Hosts(["STI.example.net", ""]).known(name) is known


@pytest.mark.parametrize(
    ("origin", "host", "ours"),
    [
        (b"http://localhost:8080", b"localhost:8080", True),
        (b"http://[::1]:8080", b"[::1]:8080", True),
        (b"http://localhost", b"localhost:80", True),
        (b"https://localhost", b"localhost:443", True),
        (b"http://localhost:9999", b"localhost:8080", False),
        (b"http://localhost", b"localhost:8080", False),
        (b"http://127.0.0.1:8080", b"localhost:8080", False),
        (b"http://localhost:8080", None, False),
        (b"http://localhost:3000", b"localhost:8080", True),
        (b"http://sti.example.net:1", b"localhost:8080", True),
        (b"http://127.0.0.1:1", b"localhost:8080", False),
        (b"http://desk.example:8443", b"localhost:8080", True),
        (b"http://desk.example:8444", b"localhost:8080", False),
        (b"ftp://localhost:8080", b"localhost:8080", False),
        (b"localhost:8080", b"localhost:8080", False),
    ],
)
def test_a_page_of_another_port_is_of_another_origin(origin, host, ours):
    hosts = Hosts(["sti.example.net", "localhost:3000", "127.0.0.1", "desk.example:8443"])
    assert (hosts.foreign(host, [(b"origin", origin)]) is None) is ours


def test_http_1_0_has_no_host_and_no_browser():
    assert Hosts().foreign(None, [(b"accept", b"*/*")]) is None
    assert Hosts().foreign(None, [(b"origin", b"null")]) == (Reason.ORIGIN_FOREIGN, "null")


@pytest.mark.parametrize("target", [b"/x", b"*", b"//evil.example/x"])
def test_a_target_without_a_host(target):
    assert target_host(target) is None


@pytest.mark.parametrize(
    "target", [b"a:1", b"http:x", b"http:///x", b"x", b"http://u@a/", b"http://[/"]
)
def test_a_target_that_is_none(target):
    with pytest.raises(ValueError, match=r"target|URL"):
        target_host(target)


def test_a_target_with_a_host():
    assert target_host(b"HTTP://Evil.example:80/x?y") == b"Evil.example:80"


@pytest.mark.parametrize("listed", ["localhost:3000", "127.0.0.1:3000", "[::1]:3000"])
def test_a_listed_name_may_have_a_port(listed):
    hosts = Hosts(_names(Settings(server={"hosts": [listed]})))
    for port, ours in ((b"3000", True), (b"3001", False)):
        page = b"http://" + listed.encode().rpartition(b":")[0] + b":" + port
        assert (hosts.foreign(b"localhost:8080", [(b"origin", page)]) is None) is ours
