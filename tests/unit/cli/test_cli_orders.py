"""`zhenxian orders`: what is signed, given, and shown; by the application, without a network."""

import json
import ssl
import time

import httpcore
import pytest
import typer
from msgspec.structs import replace
from typer.testing import CliRunner

from zhenxian.cli.client import Client, ServiceUnreachableError
from zhenxian.cli.fleet import app as fleet
from zhenxian.cli.obedience import Pin, examine
from zhenxian.cli.orders import app
from zhenxian.core.errors import ConfigError, ZhenxianError
from zhenxian.registry.forms import row_of
from zhenxian.registry.model import TargetKind
from zhenxian.registry.orders import (
    Action,
    Instruction,
    claimed,
    lifted,
    order_of,
    read_instruction,
    sign_instruction,
)
from zhenxian.service.order_files import load_issuers, load_pins
from zhenxian.service.problems import remarks
from zhenxian.simulation.demo import REGULATOR
from zhenxian.stores.key_file import load_node_key

RUNNER = CliRunner()
URL = "http://127.0.0.1:8080"


def _run(*arguments):
    result = RUNNER.invoke(app, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def signer(installation):
    return ("--issuer", REGULATOR, "--key", installation.regulator, "--reference", "MIIT 7")


# Keys and tokens ---------------------------------------------------------------------------------


def test_key_makes_a_pair_that_services_take(tmp_path):
    private, public = tmp_path / "r.pem", tmp_path / "r.pub.pem"
    told = json.loads(_run("key", private, "--public", public, "--json").stdout)
    assert private.stat().st_mode & 0o777 == 0o600
    assert told["thumbprint"] == load_node_key(private, "").thumbprint
    (tmp_path / "issuers.toml").write_text('[[issuer]]\nname = "r"\nkey = "r.pub.pem"\n')
    issuers = load_issuers(tmp_path / "issuers.toml")
    stop = ("stop", "--issuer", "r", "--key", private, "--reference", "x", "--phone", "10086")
    found = read_instruction(_run(*stop).stdout.strip(), issuers, int(time.time()))
    assert (found.action, found.kind, found.target) == (Action.STOP, TargetKind.NUMBER, "10086")


def test_key_overwrites_nothing(tmp_path):
    private, public = tmp_path / "r.pem", tmp_path / "r.pub.pem"
    _run("key", private, "--public", public)
    before = private.read_bytes(), public.read_bytes()
    for arguments in ((private, tmp_path / "new"), (tmp_path / "new", public)):
        with pytest.raises(ConfigError, match="exists"):
            _run("key", arguments[0], "--public", arguments[1])
    assert (private.read_bytes(), public.read_bytes()) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("option", "value", "kind", "target"),
    [
        ("--subject", "acme", TargetKind.SUBJECT, "acme"),
        ("--reseller", "mvno", TargetKind.RESELLER, "mvno"),
        ("--spc", "1001", TargetKind.SPC, "1001"),
        ("--range", "8613800138000-8613800138999", TargetKind.RANGE, "8613800138000-8613800138999"),
        ("--phone", "+8613800138000", TargetKind.NUMBER, "8613800138000"),
        ("--certificate", "0ab", TargetKind.CERTIFICATE, "AB"),
    ],
)
def test_stop_without_url_prints_the_token_only(pool, signer, option, value, kind, target):
    result = _run("stop", *signer, option, value, "--since", "1790000000")
    found = claimed(result.stdout.strip())
    assert result.stdout.count("\n") == 1
    assert (found.kind, found.target, found.since) == (kind, target, 1_790_000_000)
    assert abs(found.number - time.time() * 1000) < 60_000
    assert found.order == f"{REGULATOR}-{found.number}"
    assert pool.asked == []


def test_stop_takes_number_id_and_rfc_3339(signer):
    result = _run(
        "stop", *signer, "--spc", "1", "--number", 7, "--order", "o-7",
        "--since", "2026-11-24T08:00:00+08:00", "--json",
    )  # fmt: skip
    found = claimed(json.loads(result.stdout)["token"])
    assert (found.number, found.order, found.since) == (7, "o-7", 1_795_478_400)


@pytest.mark.parametrize(
    "arguments",
    [
        ("stop",),
        ("stop", "--spc", "1", "--subject", "a"),
        ("stop", "--spc", "1", "--since", "tomorrow"),
        ("stop", "--spc", "1", "--since", "2026-11-24T08:00:00"),
        ("stop", "--spc", "1", "--number", "0"),
        ("lift", "o-7"),
    ],
)
def test_wrong_usage(signer, arguments):
    assert _run(*arguments, *signer).exit_code == 2


def test_a_key_others_may_read_does_not_sign(installation, signer):
    installation.regulator.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        _run("stop", *signer, "--spc", "1")


# With a service ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["subject", "reseller"])
def test_an_order_against_nobody_is_given_with_a_warning(service, signer, kind):
    early = _run("stop", *signer, f"--{kind}", "cal-centre", "--url", URL)
    assert early.exit_code == 0
    assert f"{kind} cal-centre" in early.stdout
    assert f"no {kind} cal-centre is registered" in early.stderr


def test_an_order_from_giving_to_lifting(service, signer, installation):
    issuers = installation.regulator.parent / "issuers.toml"
    given = _run("stop", *signer, "--subject", "call-centre", "--order", "o-1", "--url", URL)
    assert given.stdout.strip() == "order o-1 in force: subject call-centre"
    assert given.stderr == ""
    shown = _run("status", "o-1", "--issuers", issuers)
    assert shown.exit_code == 0, shown.stdout
    assert "signature of the order: good" in shown.stdout
    (order,) = json.loads(_run("status", "--issuers", issuers, "--json").stdout)["orders"]
    (node,) = order["nodes"]
    assert order["good"]
    assert order["order"]["lifted"] is None
    assert node["good"]
    assert node["verdict"] == "good"
    assert 0 <= node["delay"] < 60_000
    assert abs(node["since"] - time.time() * 1000) < 60_000
    done = _run("lift", "o-1", *signer, "--url", URL)
    assert done.stdout.strip() == "order o-1 lifted: subject call-centre"
    (order,) = json.loads(_run("status", "o-1", "--issuers", issuers, "--json").stdout)["orders"]
    assert order["good"]
    assert order["order"]["lifted_by"] == REGULATOR
    assert "1 of 1" in _run("status").stdout
    again = _run("lift", "o-1", *signer, "--url", URL)
    assert again.exit_code == 1
    assert "409" in again.stderr


def test_the_services_problem_is_told(service, signer):
    refused = _run("lift", "o-9", *signer, "--url", URL)
    assert refused.exit_code == 1
    assert refused.stderr.strip() == "404 Not Found: there is no order o-9"
    _run("stop", *signer, "--spc", "1", "--number", 5, "--url", URL)
    replayed = _run("stop", *signer, "--spc", "2", "--number", 5, "--order", "b", "--url", URL)
    assert replayed.exit_code == 1
    assert "already gave number 5" in replayed.stderr


def test_a_stranger_is_refused(service, tmp_path):
    key = tmp_path / "stranger.pem"
    _run("key", key, "--public", tmp_path / "pub")
    stop = ("stop", "--issuer", REGULATOR, "--key", key, "--reference", "x", "--spc", "1")
    result = _run(*stop, "--url", URL)
    assert result.exit_code == 1
    assert "403 Order refused" in result.stderr
    assert _run("status", "--json").stdout.replace(" ", "").strip() == '{\n"orders":[]\n}'


def test_a_token_made_elsewhere_is_given_and_what_is_wrong_with_it_told(service, signer, tmp_path):
    stop = ("stop", "--issuer", REGULATOR, "--reference", "x", "--spc", "1")
    key = tmp_path / "stranger.pem"
    _run("key", key, "--public", tmp_path / "pub")
    file = tmp_path / "order.jwt"

    def given(text):
        file.write_text(text)
        return _run("give", f"@{file}", "--reference", "x", "--url", URL)

    good = _run("stop", *signer, "--spc", "1", "--number", 7, "--order", "o-7").stdout
    older = _run("stop", *signer, "--spc", "2", "--number", 6, "--order", "o-6").stdout
    assert given(good).stdout.strip() == "order o-7 in force: spc 1"
    for text, says in (
        ("no token", "422 Malformed order"),
        (good.rpartition(".")[0], "422 Malformed order"),
        (_run(*stop, "--key", key).stdout, "403 Order refused"),
        (_run(*stop, "--key", key, "--issuer", "nobody").stdout, "403 Order refused"),
        (good, "409 Conflict"),
        (older, "409 Conflict"),
    ):
        refused = given(text)
        assert refused.exit_code == 1
        assert refused.stderr.startswith(says), refused.stderr
    assert _run("give", "x" * 9000, "--reference", "x", "--url", URL).stderr.startswith("422 ")


def test_lift_signs_only_what_its_own_key_once_signed(service, signer, tmp_path):
    """The service cannot have another target lifted by naming it."""
    _run("stop", *signer, "--subject", "call-centre", "--order", "o-1", "--url", URL)
    key = tmp_path / "other.pem"
    _run("key", key, "--public", tmp_path / "pub")
    with pytest.raises(ZhenxianError, match="forged"):
        _run("lift", "o-1", "--issuer", REGULATOR, "--key", key, "--reference", "x", "--url", URL)
    # The order, whether its subject is registered, and what it stops: nothing was lifted.
    assert [method for method, *_ in service.asked] == ["POST", "GET", "GET"]


# Judging answers ---------------------------------------------------------------------------------

NOW = 1_790_000_000


class Answer:
    """A service's answer about an order, honest until changed."""

    def __init__(self, folder):
        self.key = load_node_key(folder / "issuer.pem", "r").key
        self.node = load_node_key(folder / "node.pem", "north")
        self.other = load_node_key(folder / "other.pem", "south")
        self.stop = Instruction(
            action=Action.STOP,
            order="o",
            issuer="r",
            number=1,
            reference="ref",
            kind=TargetKind.SUBJECT,
            target="s",
            since=NOW,
            iat=NOW + 2,
        )
        token = sign_instruction(self.stop, self.key, "r")
        self.order = order_of(self.stop, token)
        lift = replace(self.stop, action=Action.LIFT, number=2, since=NOW + 9, iat=NOW + 9)
        self.lifted = lifted(self.order, lift, sign_instruction(lift, self.key, "r"))

    def about(self, order, acknowledgements, nodes=("north",)):
        return {
            "order": {**row_of(order), "version": 4},
            "acknowledgements": [
                {"node": name, "token": token, "key": jwk} for name, token, jwk in acknowledgements
            ],
            "nodes": [{"node": name, "seen": NOW, "cursor": 4} for name in nodes],
        }

    def word(self, order, at=NOW * 1000 + 2500, node=None):
        node = node or self.node
        return node.name, node.acknowledge(order, at, 4), node.jwk


@pytest.fixture
def answer(tmp_path):
    return Answer(tmp_path)


def test_delay_counts_from_when_it_was_signed(answer):
    (state,) = examine(answer.about(answer.order, [answer.word(answer.order)]), "o", None).nodes
    assert (state.since, state.delay, state.verdict) == (NOW * 1000 + 2500, 500, "good")
    assert state.thumbprint == answer.node.thumbprint


def test_a_key_may_stand_as_json_or_as_text(answer):
    name, token, jwk = answer.word(answer.order)
    found = examine(answer.about(answer.order, [(name, token, json.loads(jwk))]), "o", None)
    assert found.good


def test_a_node_that_runs_and_is_silent_is_shown(answer):
    given = answer.about(answer.order, [answer.word(answer.order)], ("north", "south"))
    found = examine(given, "o", None)
    assert not found.good
    assert [(s.node, s.good, s.verdict) for s in found.nodes] == [
        ("north", True, "good"),
        ("south", False, "none"),
    ]


def test_nobodys_word_is_not_good(answer):
    assert not examine(answer.about(answer.order, [], ()), "o", None).good


@pytest.mark.parametrize("case", ["signed by another", "another node's", "other order", "no token"])
def test_words_that_prove_nothing(answer, case):
    name, token, jwk = answer.word(answer.order)
    row = {
        "signed by another": (name, token, answer.other.jwk),
        "another node's": (name, *answer.word(answer.order, node=answer.other)[1:]),
        "other order": answer.word(replace(answer.order, id="p")),
        "no token": (name, "x", jwk),
    }[case]
    found = examine(answer.about(answer.order, [row]), "o", None)
    assert not found.good
    assert found.nodes[0].since is None


def test_a_word_from_before_the_lifting_does_not_count_for_it(answer):
    row = answer.word(answer.order)
    found = examine(answer.about(answer.lifted, [row]), "o", None)
    assert not found.good
    assert "before it was lifted" in found.nodes[0].verdict
    now = answer.word(answer.lifted, at=(NOW + 9) * 1000 + 80)
    (state,) = examine(answer.about(answer.lifted, [now]), "o", None).nodes
    assert (state.verdict, state.delay) == ("good", 80)
    # a node that is gone cannot acknowledge any more, and is no fault
    gone = answer.word(answer.order, node=answer.other)
    assert examine(answer.about(answer.lifted, [now, gone]), "o", None).good


def _pins(**marks):
    return {name: frozenset(keys.split()) for name, keys in marks.items()}


def test_only_the_pinned_key_proves_who_obeys(answer):
    """Whoever can write where acknowledgements are kept can sign one with a key of their own."""
    word = answer.word(answer.order)
    imposter = replace(answer.other, name="north")
    forged = ("north", imposter.acknowledge(answer.order, NOW * 1000 + 2500, 4), imposter.jwk)
    north, south = answer.node.thumbprint, answer.other.thumbprint
    for rows, pins, good, key in (
        ([word], None, True, Pin.NO_LIST),
        ([forged], None, True, Pin.NO_LIST),  # without a list nobody can tell
        ([word], _pins(north=north), True, Pin.PINNED),
        ([word], _pins(north=f"{south} {north}"), True, Pin.PINNED),  # while it is replaced
        ([forged], _pins(north=north), False, Pin.OTHER),
        ([word], _pins(east=north), False, Pin.UNLISTED),
    ):
        found = examine(answer.about(answer.order, rows), "o", None, pins)
        state = next(state for state in found.nodes if state.node == "north")
        assert (found.good, state.good, state.key) == (good, good, key)
        assert state.verdict == "good"  # the signature itself stands
        assert (state.since is None) is not good


def test_a_listed_node_that_is_silent_is_missing(answer):
    pins = _pins(north=answer.node.thumbprint, south=answer.other.thumbprint)
    found = examine(answer.about(answer.order, [answer.word(answer.order)]), "o", None, pins)
    assert not found.good
    assert [(s.node, s.verdict, s.key) for s in found.nodes] == [
        ("north", "good", Pin.PINNED),
        ("south", "none", Pin.PINNED),
    ]


def test_a_node_that_runs_unlisted_is_missing_and_one_that_is_gone_is_not(answer):
    given = answer.about(answer.order, [answer.word(answer.order)], ("north", "south"))
    pins = _pins(north=answer.node.thumbprint)
    assert examine(given, "o", None, pins).good  # last seen long ago
    given["nodes"][1]["seen"] = int(time.time())
    assert not examine(given, "o", None, pins).good


def test_the_services_list_counts_unless_one_is_given(answer):
    given = answer.about(answer.order, [answer.word(answer.order)])
    given["pins"] = {"north": [answer.other.thumbprint]}
    assert not examine(given, "o", None).good
    assert examine(given, "o", None, _pins(north=answer.node.thumbprint)).good


def test_keys_of_nodes_are_pinned_from_the_command_line_on(
    service, signer, desk, desk_with, tmp_path
):
    config = desk.service.settings.data.parent / "zhenxian.toml"
    entry = RUNNER.invoke(fleet, ["node", "-c", str(config)]).stdout
    pins, wrong = tmp_path / "nodes.toml", tmp_path / "wrong.toml"
    pins.write_text(entry)
    mark = desk.service.node.thumbprint
    assert mark in entry
    wrong.write_text(entry.replace(mark, mark[::-1]))
    _run("stop", *signer, "--spc", "1", "--order", "o-1", "--url", URL)
    assert "not pinned" in _run("status", "o-1").stdout
    shown = _run("status", "o-1", "--nodes", pins)
    assert shown.exit_code == 0
    assert "pinned" in shown.stdout
    shown = _run("status", "o-1", "--nodes", wrong)
    assert shown.exit_code == 1
    assert "another key" in shown.stdout
    assert "0 of 1" in _run("status", "--nodes", wrong).stdout
    service.desk = desk_with(registry={"nodes": wrong})
    assert any("does not name this node" in text for text in remarks(service.desk.service))
    assert _run("status", "o-1").exit_code == 1
    service.desk = desk_with(registry={"nodes": pins})
    assert not any("this node" in text for text in remarks(service.desk.service))
    (order,) = json.loads(_run("status", "o-1", "--json").stdout)["orders"]
    assert [node["key"] for node in order["nodes"]] == ["pinned"]
    listed = RUNNER.invoke(fleet, ["nodes"]).stdout
    assert "pinned" in listed
    assert mark in listed


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "node = 3",
        '[[node]]\nname = "a"\n',
        '[[node]]\nname = "a"\nkey = "short"\n',
        '[[node]]\nname = "a"\nkey = []\n',
        '[[node]]\nname = ""\nkey = "' + "A" * 43 + '"\n',
        '[[node]]\nname = "a"\nkey = "' + "A" * 43 + '"\nmay = 1\n',
        2 * ('[[node]]\nname = "a"\nkey = "' + "A" * 43 + '"\n'),
    ],
)
def test_lists_of_nodes_that_cannot_be_meant(tmp_path, text):
    file = tmp_path / "nodes.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"nodes\.toml"):
        load_pins(file)


@pytest.mark.parametrize(
    "change", [{"target": "somebody"}, {"since": 1}, {"reference": "x"}, {"issuer": "x"}]
)
def test_a_record_that_is_not_what_was_signed(answer, change):
    order = replace(answer.order, **change)
    found = examine(answer.about(order, [answer.word(order)]), "o", None)
    assert not found.good
    assert "differs" in found.signature


def test_a_lifting_that_nobody_signed(answer):
    order = replace(answer.order, lifted=NOW, lifted_by="r", lift_token="x.y.z")
    assert not examine(answer.about(order, [answer.word(order)]), "o", None).good
    order = replace(answer.order, lifted=NOW, lifted_by="r")
    assert not examine(answer.about(order, [answer.word(order)]), "o", None).good


def test_issuers_tell_a_forged_order(answer, tmp_path):
    (tmp_path / "pub.pem").write_bytes(answer.other.key.verifying_key.public_pem)
    (tmp_path / "issuers.toml").write_text('[[issuer]]\nname = "r"\nkey = "pub.pem"\n')
    given = answer.about(answer.order, [answer.word(answer.order)])
    found = examine(given, "o", load_issuers(tmp_path / "issuers.toml"))
    assert not found.good
    assert "forged" in found.signature


@pytest.mark.parametrize(
    "given", [{}, {"order": 3}, {"order": {}, "acknowledgements": [], "nodes": []}]
)
def test_answers_that_are_none(given):
    with pytest.raises(ConfigError, match="not understood"):
        examine(given, "o", None)


def test_an_answer_about_another_order(answer):
    with pytest.raises(ConfigError, match="answered with order o"):
        examine(answer.about(answer.order, []), "p", None)


# The client --------------------------------------------------------------------------------------


def _answering(pool, status, content):
    pool.answer = lambda *_: httpcore.Response(status, content=content)


def test_the_key_is_sent(pool, tmp_path, monkeypatch):
    _answering(pool, 200, b"{}")
    Client(URL).get("/v1/orders")
    assert "x-api-key" not in pool.asked[-1][2]
    monkeypatch.setenv("ZHENXIAN_API_KEY", "zx_env")
    Client(URL).get("/v1/orders")
    assert pool.asked[-1][2]["x-api-key"] == "zx_env"
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text("zx_file\n")
    Client(URL + "/", file).post("/v1/orders", {"a": 1}, reason="b c&d")
    method, url, headers, content = pool.asked[-1]
    assert (method, url, content) == ("POST", URL + "/v1/orders?reason=b+c%26d", b'{"a":1}')
    assert headers == {"x-api-key": "zx_file", "content-type": "application/json"}


@pytest.mark.parametrize("content", ["", "a b", "a\nx: y", "é"])
def test_what_is_no_key_is_not_sent(pool, tmp_path, content):
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text(content)
    with pytest.raises(ConfigError, match="holds no API key"):
        Client(URL, file)


def test_a_key_file_others_may_read(pool, tmp_path):
    file = tmp_path / "key"
    file.write_text("zx_file")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Client(URL, file)
    with pytest.raises(ConfigError, match="missing"):
        Client(URL, tmp_path / "missing")


def test_a_key_does_not_travel_in_clear(pool, monkeypatch):
    monkeypatch.setenv("ZHENXIAN_API_KEY", "zx_env")
    with pytest.raises(ConfigError, match="in clear"):
        Client("http://example.com")
    Client("https://example.com")
    Client("http://[::1]:8080")


@pytest.mark.parametrize(
    "url", ["", "ftp://a", "127.0.0.1:8080", "http://", "http://a?b", "http://["]
)
def test_addresses_that_are_none(pool, url):
    with pytest.raises(ConfigError, match="expected"):
        Client(url)


def test_problems_are_told_and_end_with_1(pool, capsys):
    _answering(pool, 403, b'{"title": "Forbidden", "detail": "role [red]x[/] is not enough"}')
    with pytest.raises(typer.Exit) as caught:
        Client(URL).get("/v1/orders")
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err.strip() == "403 Forbidden: role [red]x[/] is not enough"


@pytest.mark.parametrize(
    ("status", "content"),
    [(200, b"<html>"), (200, b"[]"), (302, b"{}"), (502, b"<html>"), (404, b"{}"), (200, b"\xff")],
)
def test_what_is_not_the_service(pool, status, content):
    _answering(pool, status, content)
    with pytest.raises(ServiceUnreachableError, match=f"status {status}"):
        Client(URL).get("/v1/orders")


@pytest.mark.parametrize(
    "error",
    [httpcore.ConnectError("refused"), httpcore.ReadTimeout(), httpcore.RemoteProtocolError()],
)
def test_no_answer(pool, error):
    def fail(*_):
        raise error

    pool.answer = fail
    with pytest.raises(ServiceUnreachableError, match="is the service running"):
        Client(URL).get("/v1/orders")


def test_certificates_are_verified(monkeypatch):
    made = {}
    monkeypatch.setattr(httpcore, "ConnectionPool", lambda **given: made.update(given))
    Client("https://example.com")
    assert made["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert made["ssl_context"].check_hostname
