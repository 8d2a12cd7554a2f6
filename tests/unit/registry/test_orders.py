"""Orders: who may give them, what is refused, and what a node's word proves."""

import base64
import hashlib
import hmac
import json
import multiprocessing

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec.structs import asdict, replace
from plain import PlainRegistry

from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.core.tn import TN
from zhenxian.passport.jws import SigningKey, b64url_encode
from zhenxian.registry.journal import RegistryConflictError, put
from zhenxian.registry.model import Order, TargetKind, Who
from zhenxian.registry.node_key import public_key, thumbprint
from zhenxian.registry.orders import (
    MAX_AHEAD,
    MAX_TOKEN,
    Action,
    Instruction,
    Issuer,
    OrderFault,
    OrderIndex,
    OrderRefusedError,
    claimed,
    lifted,
    order_of,
    read_acknowledgement,
    read_instruction,
    sign_instruction,
    unfounded,
)
from zhenxian.service.order_files import load_issuers
from zhenxian.stores.key_file import load_node_key

NOW = 1_790_000_000
KEY, NEXT_KEY, OTHER = (SigningKey(ec.generate_private_key(ec.SECP256R1())) for _ in range(3))
ISSUERS = {
    "regulator": Issuer("regulator", (KEY.verifying_key, NEXT_KEY.verifying_key)),
    "carrier": Issuer("carrier", (OTHER.verifying_key,), frozenset({TargetKind.NUMBER})),
}
STOP = Instruction(
    action=Action.STOP,
    order="order-1",
    issuer="regulator",
    number=1,
    reference="ref 7",
    kind=TargetKind.SUBJECT,
    target="acme",
    since=NOW,
    iat=NOW,
)
LIFT = replace(STOP, action=Action.LIFT, number=2)
HEADER = {"alg": "ES256", "typ": "zhenxian-order+jwt"}


def _token(payload=None, header=HEADER, key=KEY, sign=None):
    """A token as a careless or hostile maker builds it; bytes stand as they are."""
    parts = [
        b64url_encode(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, _claims() if payload is None else payload)
    ]
    signed = b".".join(parts)
    signature = key.sign(signed) if sign is None else sign(signed)
    return b".".join((signed, b64url_encode(signature))).decode()


def _claims(**changes):
    return {**asdict(STOP), "action": "stop", "kind": "subject", **changes}


def _refused(token, issuers=ISSUERS, now=NOW):
    with pytest.raises(OrderRefusedError) as caught:
        read_instruction(token, issuers, now)
    return caught.value.kind


# Reading -----------------------------------------------------------------------------------------


def test_what_is_signed_is_read():
    token = sign_instruction(STOP, KEY, "k1")
    assert read_instruction(token, ISSUERS, NOW) == STOP
    assert claimed(token) == STOP
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header == {**HEADER, "kid": "k1"}


def test_a_hand_made_token_is_read():
    """So that what the tests below change is what makes them fail."""
    assert read_instruction(_token(), ISSUERS, NOW) == STOP


def test_each_key_of_an_issuer_counts():
    assert read_instruction(sign_instruction(STOP, NEXT_KEY, ""), ISSUERS, NOW) == STOP


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        (_token(key=OTHER), OrderFault.FORGED),
        (_token(sign=lambda _: bytes(64)), OrderFault.FORGED),
        (_token(sign=lambda _: b""), OrderFault.FORGED),
        (_token(sign=lambda signed: KEY.sign(signed)[:63]), OrderFault.FORGED),
        (_token(_claims(issuer="nobody")), OrderFault.UNKNOWN_ISSUER),
        (_token(_claims(issuer="carrier"), key=OTHER), OrderFault.NOT_ENTITLED),
        (_token(_claims(issuer="carrier")), OrderFault.FORGED),
        (_token(header={**HEADER, "alg": "none"}), OrderFault.MALFORMED),
        (_token(header={**HEADER, "alg": "none"}, sign=lambda _: b""), OrderFault.MALFORMED),
        (_token(header={**HEADER, "typ": "passport"}), OrderFault.MALFORMED),
        (_token(header={**HEADER, "typ": "zhenxian-ack+jwt"}), OrderFault.MALFORMED),
        (_token(header={"alg": "ES256"}), OrderFault.MALFORMED),
        (_token(header={**HEADER, "crit": ["b64"], "b64": False}), OrderFault.MALFORMED),
        (_token(_claims(until=NOW + 1)), OrderFault.MALFORMED),
        (_token(_claims(number=0)), OrderFault.MALFORMED),
        (_token(_claims(number="1")), OrderFault.MALFORMED),
        (_token(_claims(since=-1)), OrderFault.MALFORMED),
        (_token(_claims(since=10**12)), OrderFault.MALFORMED),
        (_token(_claims(action="pause")), OrderFault.MALFORMED),
        (_token(_claims(kind="planet")), OrderFault.MALFORMED),
        (_token(_claims(target="")), OrderFault.MALFORMED),
        (_token(_claims(reference="a\nb")), OrderFault.MALFORMED),
        (_token(_claims(reference="x" * 257)), OrderFault.MALFORMED),
        (_token(_claims(order="a/b")), OrderFault.MALFORMED),
        (_token(_claims(order="x" * 129)), OrderFault.MALFORMED),
        (_token({"action": "stop"}), OrderFault.MALFORMED),
        (_token(b"[]"), OrderFault.MALFORMED),
        ("", OrderFault.MALFORMED),
        ("a.b", OrderFault.MALFORMED),
        ("é.é.é", OrderFault.MALFORMED),
        (_token() + "=", OrderFault.FORGED),
        (_token(_claims(iat=NOW + MAX_AHEAD + 1)), OrderFault.FROM_THE_FUTURE),
    ],
)
def test_refused(token, fault):
    assert _refused(token) is fault


def test_hs256_with_the_public_key_as_secret_is_refused():
    def mac(signed):
        return hmac.digest(KEY.verifying_key.public_pem, signed, "sha256") * 2

    assert _refused(_token(header={**HEADER, "alg": "HS256"}, sign=mac)) is OrderFault.MALFORMED
    assert _refused(_token(sign=mac)) is OrderFault.FORGED


@pytest.mark.parametrize(
    "change", [{"target": "other"}, {"number": 9}, {"action": "lift"}, {"since": 0}]
)
def test_an_altered_payload_is_refused(change):
    header, _, signature = _token().split(".")
    altered = b64url_encode(json.dumps(_claims(**change)).encode()).decode()
    assert _refused(f"{header}.{altered}.{signature}") is OrderFault.FORGED


@pytest.mark.parametrize("place", ["header", "payload"])
def test_a_member_that_stands_twice_is_refused(place):
    twice = {
        "header": json.dumps(HEADER)[:-1] + ', "alg": "ES256"}',
        "payload": json.dumps(_claims())[:-1] + ', "target": "acme"}',
    }
    assert _refused(_token(**{place: twice[place].encode()})) is OrderFault.MALFORMED


def test_size_is_bounded():
    def with_kid(length):
        return sign_instruction(STOP, KEY, "k" * length)

    fits = (MAX_TOKEN - len(with_kid(0))) * 3 // 4
    lengths = range(fits - 3, fits + 4)
    taken = [length for length in lengths if len(with_kid(length)) <= MAX_TOKEN]
    assert taken
    assert len(taken) < len(lengths)
    for length in lengths:
        token = with_kid(length)
        if length in taken:
            assert read_instruction(token, ISSUERS, NOW) == STOP
        else:
            assert _refused(token) is OrderFault.MALFORMED


def test_iat_may_lie_ahead_as_clocks_do():
    token = _token(_claims(iat=NOW + MAX_AHEAD))
    assert read_instruction(token, ISSUERS, NOW).iat == NOW + MAX_AHEAD


def test_an_order_may_begin_later_and_be_lifted_only_now():
    later = NOW + MAX_AHEAD + 1
    assert read_instruction(_token(_claims(since=later)), ISSUERS, NOW).since == later
    lift = _token(_claims(action="lift", since=later))
    assert _refused(lift) is OrderFault.FROM_THE_FUTURE


def test_signing_refuses_what_reading_would():
    with pytest.raises(OrderRefusedError) as caught:
        sign_instruction(replace(STOP, number=0), KEY, "")
    assert caught.value.kind is OrderFault.MALFORMED


# Targets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "written", "canonical"),
    [
        ("number", "+86 138-0013-8000", "8613800138000"),
        ("number", "10086", "10086"),
        ("range", "+8613800138000-+8613800138999", "8613800138000-8613800138999"),
        ("range", "8613800138000", "8613800138000"),
        ("certificate", "00ab", "AB"),
        ("certificate", "f" * 40, "F" * 40),
        ("subject", "Acme", "Acme"),
        ("spc", "1001", "1001"),
    ],
)
def test_targets_are_canonical(kind, written, canonical):
    """Also when the issuer signed another spelling: the record is what calls are compared to."""
    found = read_instruction(_token(_claims(kind=kind, target=written)), ISSUERS, NOW)
    assert order_of(found, "t").target == canonical


@pytest.mark.parametrize(
    ("kind", "target"), [("number", "0755-88880001"), ("range", "07550-07559"), ("number", "0")]
)
def test_nothing_is_stopped_that_no_call_can_show(kind, target):
    """But an order of that kind from before is read on, and can be lifted."""
    token = _token(_claims(kind=kind, target=target))
    with pytest.raises(OrderRefusedError, match="begins with 0"):
        read_instruction(token, ISSUERS, NOW)
    with pytest.raises(OrderRefusedError, match="begins with 0"):
        sign_instruction(replace(STOP, kind=TargetKind(kind), target=target), KEY, "")
    order = order_of(claimed(token), token)
    assert unfounded(order, None, ISSUERS) is None


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("number", "1-800-FLOWERS"),
        ("range", "8613800138999-8613800138000"),
        ("range", "100-1000"),
        ("range", "-100"),
        ("range", "1-2-3"),
        ("certificate", "0"),
        ("certificate", "-AB"),
        ("certificate", "0xAB"),
        ("certificate", "A_B"),
        ("certificate", " AB"),
        ("certificate", "１"),
        ("certificate", "F" * 41),
    ],
)
def test_targets_that_are_none_are_refused(kind, target):
    assert _refused(_token(_claims(kind=kind, target=target))) is OrderFault.MALFORMED


# Records, replays, rollbacks ---------------------------------------------------------------------


def _given(registry, record):
    return registry.write([put(record)], author="a", reason="r", now=NOW)


def test_records():
    order = order_of(STOP, "stop-token")
    assert order == Order(
        id="order-1",
        issuer="regulator",
        reference="ref 7",
        kind=TargetKind.SUBJECT,
        target="acme",
        since=NOW,
        number=1,
        token="stop-token",
    )
    after = lifted(order, replace(LIFT, since=NOW + 5), "lift-token")
    assert after == replace(
        order, number=2, lifted=NOW + 5, lifted_by="regulator", lift_token="lift-token"
    )


@pytest.mark.parametrize(
    "change",
    [{"order": "order-2"}, {"issuer": "carrier"}, {"target": "b"}, {"kind": TargetKind.SPC}],
)
def test_only_the_same_order_is_lifted(change):
    with pytest.raises(OrderRefusedError) as caught:
        lifted(order_of(STOP, "t"), replace(LIFT, **change), "l")
    assert caught.value.kind is OrderFault.NOT_ENTITLED


def test_an_instruction_does_what_it_says():
    for wrong in (lambda: order_of(LIFT, "t"), lambda: lifted(order_of(STOP, "t"), STOP, "l")):
        with pytest.raises(OrderRefusedError) as caught:
            wrong()
        assert caught.value.kind is OrderFault.MALFORMED


def test_records_that_somebody_else_wrote_must_rest_on_their_tokens():
    token, lift = (sign_instruction(instruction, KEY, "k") for instruction in (STOP, LIFT))
    order = order_of(STOP, token)
    done = lifted(order, LIFT, lift)
    for record in (order, done):
        assert unfounded(record, None, ISSUERS) is None
        assert unfounded(record, record, ISSUERS) is None
        assert "issuer" in unfounded(record, None, {})
    assert unfounded(done, order, ISSUERS) is None
    assert "older" in unfounded(order, done, ISSUERS)
    for altered in (
        replace(order, target="b"),
        replace(order, number=9),
        replace(order, lifted=NOW, lifted_by="regulator", number=2),
        replace(order, lifted=NOW, lifted_by="regulator", number=2, lift_token=token),
        replace(done, lifted=NOW + 1),
        replace(order, token=sign_instruction(STOP, OTHER, "k")),
    ):
        assert unfounded(altered, None, ISSUERS) is not None


def test_replays_and_rollbacks_are_refused():
    registry = PlainRegistry()
    order = order_of(replace(STOP, number=5), "t")
    _given(registry, order)
    with pytest.raises(RegistryConflictError, match="in force"):
        _given(registry, order)
    for number in (1, 5):
        with pytest.raises(RegistryConflictError, match="already gave number 5"):
            _given(registry, order_of(replace(STOP, order="order-2", number=number), "t"))
        with pytest.raises(RegistryConflictError, match="already gave number 5"):
            _given(registry, lifted(order, replace(LIFT, number=number), "l"))
    after = lifted(order, replace(LIFT, number=6), "l")
    _given(registry, after)
    with pytest.raises(RegistryConflictError, match="was lifted"):
        _given(registry, replace(order, number=7))
    with pytest.raises(RegistryConflictError, match="was lifted"):
        _given(registry, replace(after, number=7))


def test_issuers_count_apart():
    registry = PlainRegistry()
    _given(registry, order_of(replace(STOP, number=50), "t"))
    other = replace(STOP, order="order-2", issuer="carrier", number=1)
    _given(registry, order_of(other, "t"))
    assert registry.last_number("regulator") == 50
    assert registry.last_number("carrier") == 1


def test_an_order_in_force_does_not_become_another():
    registry = PlainRegistry()
    _given(registry, order_of(STOP, "t"))
    with pytest.raises(RegistryConflictError, match="can only be lifted"):
        _given(registry, order_of(replace(STOP, target="other", number=2), "t"))


# Acknowledgements --------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path):
    return load_node_key(tmp_path / "node.pem", "north-1")


def test_a_node_acknowledges(node):
    order = order_of(STOP, "t")
    token = node.acknowledge(order, 1000 * NOW + 7, 42)
    found = read_acknowledgement(token, order, public_key(node.jwk))
    assert (found.order, found.node, found.since, found.cursor) == (
        "order-1", "north-1", 1000 * NOW + 7, 42,
    )  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        order_of(STOP, "another token"),
        order_of(replace(STOP, order="order-2"), "t"),
        lifted(order_of(STOP, "t"), LIFT, "l"),
    ],
)
def test_it_acknowledges_one_order_in_one_state(node, other):
    token = node.acknowledge(order_of(STOP, "t"), 1, 1)
    with pytest.raises(OrderRefusedError, match="something else"):
        read_acknowledgement(token, other, public_key(node.jwk))


def test_another_nodes_signature_is_refused(node, tmp_path):
    order = order_of(STOP, "t")
    forger = load_node_key(tmp_path / "forger.pem", "north-1")
    token = forger.acknowledge(order, 1, 1)
    with pytest.raises(OrderRefusedError) as caught:
        read_acknowledgement(token, order, public_key(node.jwk))
    assert caught.value.kind is OrderFault.FORGED


def test_tokens_of_one_kind_do_not_pass_for_the_other(node):
    order = order_of(STOP, "t")
    with pytest.raises(OrderRefusedError, match="zhenxian-ack"):
        read_acknowledgement(sign_instruction(STOP, KEY, ""), order, KEY.verifying_key)
    issuers = {"regulator": Issuer("regulator", (node.key.verifying_key,))}
    assert _refused(node.acknowledge(order, 1, 1), issuers) is OrderFault.MALFORMED


def test_an_altered_acknowledgement_is_refused(node):
    order = order_of(STOP, "t")
    header, payload, signature = node.acknowledge(order, 5000, 1).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    earlier = b64url_encode(json.dumps({**claims, "since": 1}).encode()).decode()
    with pytest.raises(OrderRefusedError) as caught:
        read_acknowledgement(f"{header}.{earlier}.{signature}", order, public_key(node.jwk))
    assert caught.value.kind is OrderFault.FORGED


# Node keys ---------------------------------------------------------------------------------------


def test_a_node_keeps_its_key(tmp_path):
    path = tmp_path / "node.pem"
    first = load_node_key(path, "n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_node_key(path, "n").thumbprint == first.thumbprint
    assert [each.name for each in tmp_path.iterdir()] == ["node.pem"]
    assert load_node_key(tmp_path / "b.pem", "n").thumbprint != first.thumbprint


def test_the_thumbprint_is_that_of_rfc_7638(node):
    """Section 3: required members in lexicographic order, no white space, SHA-256, base64url."""
    jwk = json.loads(node.jwk)
    assert sorted(jwk) == ["crv", "kty", "x", "y"]
    text = f'{{"crv":"P-256","kty":"EC","x":"{jwk["x"]}","y":"{jwk["y"]}"}}'
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert node.thumbprint == thumbprint(node.key.verifying_key) == digest.rstrip("=")
    header = node.acknowledge(order_of(STOP, "t"), 1, 1).split(".")[0]
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["kid"] == node.thumbprint
    assert public_key(node.jwk).public_bytes == node.key.verifying_key.public_bytes


def test_a_key_others_may_read_is_refused(tmp_path):
    path = tmp_path / "node.pem"
    load_node_key(path, "n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_node_key(path, "n")


def test_a_file_that_is_no_key_is_refused(tmp_path):
    path = tmp_path / "node.pem"
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        load_node_key(path, "n")
    with pytest.raises(StoreUnavailableError):
        load_node_key(tmp_path / "missing" / "node.pem", "n")


@pytest.mark.parametrize(
    "jwk",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"kty":"oct","k":"AA"}',
        '{"kty":"EC"}',
        '{"kty":"EC","crv":"P-256","x":1,"y":2}',
        '{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}',
    ],
)
def test_what_is_no_public_key_is_refused(jwk):
    with pytest.raises(ConfigError):
        public_key(jwk)


def _thumbprint_of(path):
    return load_node_key(path, "n").thumbprint


def test_processes_that_start_together_have_one_key(tmp_path):
    with multiprocessing.get_context("forkserver").Pool(4) as pool:
        prints = pool.map(_thumbprint_of, [tmp_path / "node.pem"] * 16, chunksize=1)
    assert len(set(prints)) == 1


# Issuers -----------------------------------------------------------------------------------------


def _issuers(tmp_path, text):
    (tmp_path / "a.pem").write_bytes(KEY.verifying_key.public_pem)
    file = tmp_path / "issuers.toml"
    file.write_text(text)
    return load_issuers(file)


def test_issuers_from_a_file(tmp_path):
    inline = OTHER.verifying_key.public_pem.decode()
    found = _issuers(
        tmp_path,
        f'[[issuer]]\nname = "a"\nkey = "a.pem"\n'
        f'[[issuer]]\nname = "b"\nkey = ["a.pem", """\n{inline}"""]\nmay = ["number", "range"]\n',
    )
    assert list(found) == ["a", "b"]
    assert found["a"].may == frozenset(TargetKind)
    assert found["b"].may == {TargetKind.NUMBER, TargetKind.RANGE}
    assert [key.public_bytes for key in found["b"].keys] == [
        KEY.verifying_key.public_bytes,
        OTHER.verifying_key.public_bytes,
    ]
    assert load_issuers(None) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[issuer]", "issuers"),
        ("issuer = 3", r"\[\[issuer\]\]"),
        ("issuer = [3]", "entry 1: a table"),
        ('[[issuer]]\nkey = "a.pem"', "entry 1: name"),
        ('[[issuer]]\nname = "a"', "entry 1: key"),
        ('[[issuer]]\nname = "a"\nkey = []', "entry 1: key"),
        ('[[issuer]]\nname = "a"\nkey = "b.pem"', "entry 1: .*b.pem"),
        ('[[issuer]]\nname = "a"\nkey = "issuers.toml"', "not a P-256 public key"),
        ('[[issuer]]\nname = "a"\nkey = "a.pem"\nmay = "number"', "entry 1: may"),
        ('[[issuer]]\nname = "a"\nkey = "a.pem"\nmay = ["planet"]', "planet"),
        ('[[issuer]]\nname = "a"\nkey = "a.pem"\nmays = ["number"]', "mays"),
        ('[[issuer]]\nname = "a"\nkey = "a.pem"\n' * 2, "entry 2: a stands twice"),
    ],
)
def test_issuers_that_cannot_be_meant(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says):
        _issuers(tmp_path, text)


def test_a_private_key_or_another_curve_is_no_issuers_key(tmp_path):
    load_node_key(tmp_path / "private.pem", "n")
    with pytest.raises(ConfigError, match="not a P-256 public key"):
        _issuers(tmp_path, '[[issuer]]\nname = "a"\nkey = "private.pem"')
    public = ec.generate_private_key(ec.SECP384R1()).public_key()
    (tmp_path / "p384.pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(ConfigError, match=r"entry 1: .*P-256"):
        _issuers(tmp_path, '[[issuer]]\nname = "a"\nkey = "p384.pem"')


# The index ---------------------------------------------------------------------------------------


def _order(name, kind, target, since=1):
    return Order(
        id=name,
        issuer="regulator",
        reference="r",
        kind=kind,
        target=target,
        since=since,
        number=1,
        token="t",
    )


@pytest.mark.parametrize(
    ("kind", "target", "who"),
    [
        (TargetKind.SUBJECT, "x", Who(subjects=("w", "x"))),
        (TargetKind.RESELLER, "x", Who(resellers=("w", "x"))),
        (TargetKind.SPC, "x", Who(spcs=("w", "x"))),
        (TargetKind.NUMBER, "86138", Who(numbers=(TN("1"), TN("86138")))),
        (TargetKind.RANGE, "86100-86199", Who(numbers=(TN("1"), TN("86138")))),
        (TargetKind.RANGE, "86138", Who(numbers=(TN("86138"),))),
        (TargetKind.CERTIFICATE, "AB", Who(serial="AB")),
    ],
)
def test_an_order_stops_its_target_and_no_other(kind, target, who):
    order = _order("o", kind, target)
    index = OrderIndex([order])
    assert index.find(who, 1) is order
    assert index.find(who, 0) is None
    assert index.find(Who(), 1) is None
    everything = Who(("86138",), ("86138",), ("86138",), (TN("10000"), TN("861")), "86138")
    assert index.find(everything, 1) is None
    same = Who(*[(target,)] * 3, tuple(who.numbers), target)
    assert index.find(same, 1) is order
    assert OrderIndex([replace(order, lifted=1)]).find(who, 1) is None


def test_the_oldest_of_several_is_named():
    orders = [
        _order("c", TargetKind.SUBJECT, "x", 3),
        _order("b", TargetKind.SUBJECT, "x", 2),
        _order("d", TargetKind.NUMBER, "500", 2),
        _order("a", TargetKind.RANGE, "100-999", 9),
    ]
    index = OrderIndex(orders)
    who = Who(subjects=("x",), numbers=(TN("500"),))
    assert index.find(who, 9).id == "b"
    assert index.find(replace(who, subjects=()), 9).id == "d"
    assert index.find(Who(numbers=(TN("501"),)), 9).id == "a"
    assert index.find(Who(numbers=(TN("501"),)), 8) is None


def test_a_wide_range_under_many_narrow_ones_is_found():
    wide = _order("wide", TargetKind.RANGE, "1000-9999")
    narrow = [_order(f"{i}", TargetKind.RANGE, f"{i}0-{i}5", 2) for i in range(200, 800)]
    index = OrderIndex([*narrow, wide])
    assert {index.find(Who(numbers=(TN(f"{n}"),)), 2).id for n in range(1000, 10_000)} == {"wide"}
    without = OrderIndex(narrow)
    found = [without.find(Who(numbers=(TN(f"{n}"),)), 2) for n in range(1000, 10_000)]
    assert [order.id if order else None for order in found] == [
        f"{n // 10}" if 200 <= n // 10 < 800 and n % 10 <= 5 else None for n in range(1000, 10_000)
    ]
