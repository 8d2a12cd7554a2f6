"""The management API: who may write what, versions, idempotency, history, orders."""

from __future__ import annotations

import json
import time

import pytest

from zhenxian import __version__
from zhenxian.api.auth import Role, add_key
from zhenxian.passport.jws import SigningKey, b64url_encode
from zhenxian.registry.model import TargetKind
from zhenxian.registry.orders import Action, Instruction, sign_instruction
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE, PRIVACY, REGULATOR, RIDER, SHOP

WHY = {"reason": "a test"}
ORIGID = "0f000000-0000-4000-8000-000000000001"
RANGE = "8675599990000-8675599990099"
HOLDING = {"subject": "bakery"}
ACCESS = {"origid": ORIGID, "subject": "bakery"}
BINDING = {
    "platform": "platform", "model": "axb", "x": "700100020000002", "a": RIDER, "b": CALLEE,
    "since": 1, "until": 4_000_000_000,
}  # fmt: skip

EXEMPTION = {
    "kind": "subject", "target": "bakery", "reason": "night shift", "since": 1,
    "until": int(time.time()) + 86_400,
}  # fmt: skip


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


def _problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told.keys() == {"type", "title", "status", "detail"}
    assert told["status"] == status
    return told["detail"]


def _put(desk, path, body, status=200, **headers):
    answer = desk.http("PUT", f"/v1/{path}", json=body, params=WHY, headers=headers)
    assert answer.status_code == status, answer.text
    return answer


@pytest.fixture
def bakery(desk):
    _put(desk, "subjects/bakery", {"name": "Bakery"})
    return desk


def test_a_holding_is_put_found_changed_and_ended(bakery):
    made = _put(bakery, f"holdings/{RANGE}", HOLDING)
    tag = made.headers["etag"]
    found = bakery.http("GET", f"/v1/holdings/{RANGE}")
    assert found.headers["etag"] == tag
    assert found.json() == made.json()
    assert (found.json()["first"], found.json()["last"]) == tuple(RANGE.split("-"))
    changed = _put(bakery, f"holdings/{RANGE}", HOLDING | {"spcs": ["1", "2"]}, **{"if-match": tag})
    assert changed.json()["spcs"] == ["1", "2"]
    old = bakery.http(
        "PUT", f"/v1/holdings/{RANGE}", json=HOLDING, params=WHY, headers={"if-match": tag}
    )
    assert "version" in _problem(old, 412)
    gone = bakery.http("DELETE", f"/v1/holdings/{RANGE}", params=WHY)
    assert gone.status_code == 204
    _problem(bakery.http("GET", f"/v1/holdings/{RANGE}"), 404)
    _problem(bakery.http("DELETE", f"/v1/holdings/{RANGE}", params=WHY), 404)
    versions = bakery.http("GET", f"/v1/holdings/{RANGE}/history").json()["versions"]
    assert [v["record"] and v["record"]["spcs"] for v in versions] == [[], ["1", "2"], None]
    assert {v["reason"] for v in versions} == {"a test"}
    assert {v["author"] for v in versions} == {"local (local)"}


def test_creating_only_and_naming_a_reason(bakery):
    only = {"if-none-match": "*"}
    _put(bakery, f"holdings/{RANGE}", HOLDING, **only)
    again = bakery.http("PUT", f"/v1/holdings/{RANGE}", json=HOLDING, params=WHY, headers=only)
    _problem(again, 412)
    assert "reason" in _problem(bakery.http("PUT", f"/v1/holdings/{RANGE}", json=HOLDING), 422)
    for bad in ({"if-none-match": "7"}, {"if-match": "x"}):
        answer = bakery.http("PUT", f"/v1/holdings/{RANGE}", json=HOLDING, params=WHY, headers=bad)
        assert next(iter(bad)) in _problem(answer, 422).lower()


def test_a_number_is_given_to_another_only_by_naming_the_version_that_ends(bakery):
    held = bakery.http("GET", f"/v1/holdings/{SHOP}")
    detail = _problem(bakery.http("PUT", f"/v1/holdings/{SHOP}", json=HOLDING, params=WHY), 409)
    assert "call-centre" in detail
    assert "bakery" in detail
    _put(bakery, f"holdings/{SHOP}", HOLDING, **{"if-match": held.headers["etag"]})
    now = bakery.http("GET", f"/v1/numbers/{SHOP}").json()
    assert [h["subject"] for h in now["holdings"]] == ["bakery"]
    then = bakery.http("GET", f"/v1/numbers/{SHOP}", params={"at": "1970-01-02T00:00:00Z"}).json()
    assert then["holding"] is None


def test_two_registrars_write_one_holding(bakery):
    """With the version seen the second is refused; without, the later counts, and both are kept."""
    tag = _put(bakery, f"holdings/{RANGE}", HOLDING).headers["etag"]
    seen = {"if-match": tag}
    _put(bakery, f"holdings/{RANGE}", HOLDING | {"evidence": "first"}, **seen)
    path = f"/v1/holdings/{RANGE}"
    late = bakery.http("PUT", path, json=HOLDING | {"evidence": "2"}, params=WHY, headers=seen)
    assert "version" in _problem(late, 412)
    assert bakery.http("GET", path).json()["evidence"] == "first"
    for evidence in ("third", "fourth"):
        _put(bakery, f"holdings/{RANGE}", HOLDING | {"evidence": evidence})
    versions = bakery.http("GET", f"{path}/history").json()["versions"]
    assert [v["record"]["evidence"] for v in versions] == ["", "first", "third", "fourth"]


@pytest.mark.parametrize("step", [-50, 50])
def test_clock_steps_keep_the_order_of_commits(bakery, step):
    """Set back, or forward and right again: no commit is dated before the one before it."""
    right = time.time()
    versions = []
    for at in (right, right + step, right + 10):
        bakery.clock = lambda at=at: at
        versions.append(_put(bakery, f"holdings/{RANGE}", HOLDING | {"evidence": str(at)}).json())
    history = bakery.http("GET", f"/v1/holdings/{RANGE}/history").json()["versions"]
    times = [version["time"] for version in history]
    assert times == sorted(times)
    assert [v["version"] for v in history] == [v["version"] for v in versions]
    assert history[0]["time"] >= int(right)
    then = {"at": str(times[-1])}
    held = bakery.http("GET", "/v1/numbers/8675599990005", params=then).json()["holding"]
    assert held["version"] == versions[-1]["version"]  # the past is asked by the dates that it has


def test_foreign_numbers_are_numbers_like_others(bakery):
    number = "442071838750"
    told = bakery.http("GET", f"/v1/numbers/+{number}").json()
    assert (told["number"], told["kind"], told["holdings"]) == (number, "foreign", [])
    _put(bakery, f"holdings/{number}", HOLDING)
    (held,) = bakery.http("GET", f"/v1/numbers/{number}").json()["holdings"]
    assert held["subject"] == "bakery"


def test_a_cycle_of_resellers_is_refused_and_named(desk):
    _put(desk, "resellers/a", {})
    _put(desk, "resellers/b", {"parent": "a"})
    _put(desk, "resellers/c", {"parent": "b"})
    for parent in ("a", "b", "c"):
        refused = desk.http("PUT", "/v1/resellers/a", json={"parent": parent}, params=WHY)
        assert "a would come before itself" in _problem(refused, 409)


def test_the_same_request_under_one_idempotency_key_is_done_once(bakery):
    key = {"idempotency-key": "k1"}
    first = _put(bakery, f"holdings/{RANGE}", HOLDING, **key)
    second = _put(bakery, f"holdings/{RANGE}", HOLDING, **key)
    assert first.headers["etag"] == second.headers["etag"]
    other = bakery.http(
        "PUT", f"/v1/holdings/{RANGE}", json=HOLDING | {"evidence": "x"}, params=WHY, headers=key
    )
    assert "idempotency" in _problem(other, 409)


OTHER = "8675599990100-8675599990199"
# Each request under the key of `PUT holdings/RANGE` with HOLDING: what differs is part of it.
OTHERS = {
    "record": ("PUT", f"holdings/{OTHER}", HOLDING, {}, {}),
    "kind": ("PUT", "refusals/8675599990000", {"since": 1}, {}, {}),
    "body": ("PUT", f"holdings/{RANGE}", HOLDING | {"evidence": "x"}, {}, {}),
    "reason": ("PUT", f"holdings/{RANGE}", HOLDING, {"reason": "another"}, {}),
    "method": ("DELETE", f"holdings/{RANGE}", None, {}, {}),
    "if-match": ("PUT", f"holdings/{RANGE}", HOLDING, {}, {"if-match": '"1"'}),
    "if-none-match": ("PUT", f"holdings/{RANGE}", HOLDING, {}, {"if-none-match": "*"}),
    "a batch": ("POST", "holdings/batch", [HOLDING | {"first": "8675599990000"}], {}, {}),
    "a batch, best effort": (
        "POST", "holdings/batch", [HOLDING | {"first": "8675599990000"}],
        {"mode": "best-effort"}, {},
    ),
    "a rotation": ("POST", "accesses/bank-trunk/origid", None, {}, {}),
    "an end": ("DELETE", "subjects/bakery", None, {}, {}),
}  # fmt: skip


def _changes(desk):
    return desk.http("GET", "/v1/changes", params={"limit": 1000}).json()["changes"]


@pytest.mark.parametrize("differs", OTHERS)
def test_a_key_used_again_for_another_request_is_refused_and_nothing_is_written(bakery, differs):
    key = {"idempotency-key": "k1"}
    _put(bakery, f"holdings/{RANGE}", HOLDING, **key)
    before = _changes(bakery)
    method, path, body, query, headers = OTHERS[differs]
    other = bakery.http(
        method, f"/v1/{path}", params=WHY | query, headers=key | headers,
        **({} if body is None else {"json": body}),
    )  # fmt: skip
    assert "idempotency key was used for another request" in _problem(other, 409)
    assert _changes(bakery) == before
    under = bakery.http(
        method, f"/v1/{path}", params=WHY | query, headers=headers | {"idempotency-key": "k2"},
        **({} if body is None else {"json": body}),
    )  # fmt: skip
    assert under.status_code in (200, 204, 409, 412), under.text
    if differs in ("record", "kind", "body", "reason"):
        assert under.status_code == 200
        assert len(_changes(bakery)) == len(before) + 1


def test_two_records_under_two_keys_are_both_written(bakery):
    for number, numbers in enumerate((RANGE, OTHER)):
        _put(bakery, f"holdings/{numbers}", HOLDING, **{"idempotency-key": f"k{number}"})
    for numbers in (RANGE, OTHER):
        assert bakery.http("GET", f"/v1/holdings/{numbers}").status_code == 200


def test_a_request_that_says_the_same_otherwise_is_the_same(bakery):
    key = {"idempotency-key": "k1"}
    first = _put(bakery, f"holdings/{RANGE}", HOLDING, **key)
    spelled = json.dumps(HOLDING | {"spcs": [], "use": "direct"}, indent=4).encode()
    second = bakery.http(
        "PUT", f"/v1/holdings/{RANGE}?reason=a+test", content=spelled,
        headers=key | {"content-type": "application/json"},
    )  # fmt: skip
    assert second.headers["etag"] == first.headers["etag"]


def test_each_principal_has_keys_of_their_own(desk_with, tmp_path):
    keys = tmp_path / "keys.toml"
    names = [add_key(keys, name, list(Role)) for name in ("one", "other")]
    desk = desk_with(auth={"keys": keys})
    for number, name in enumerate(names):
        _put(
            desk, f"subjects/s{number}", {"name": "x"},
            **{"idempotency-key": "k1", "x-api-key": name},
        )  # fmt: skip
    again = desk.http(
        "PUT", "/v1/subjects/s1", json={"name": "x"}, params=WHY,
        headers={"idempotency-key": "k1", "x-api-key": names[0]},
    )  # fmt: skip
    _problem(again, 409)


def test_a_batch_by_rows_that_is_sent_again_writes_nothing_twice(bakery):
    """Not even when what was refused at first could be taken now, and others wrote meanwhile."""
    rows = [
        HOLDING | {"first": "8675599990000"},
        {"subject": "grocer", "first": "8675599990001"},
    ]
    how = {
        "json": rows, "params": WHY | {"mode": "best-effort"},
        "headers": {"idempotency-key": "k1"},
    }  # fmt: skip
    first = bakery.http("POST", "/v1/holdings/batch", **how).json()
    assert (first["accepted"], [r["row"] for r in first["rejected"]]) == (1, [1])
    _put(bakery, "subjects/grocer", {"name": "Grocer"})
    _put(bakery, "holdings/8675599990000", HOLDING | {"evidence": "of another"})
    second = bakery.http("POST", "/v1/holdings/batch", **how).json()
    assert (second["accepted"], second["rejected"]) == (2, [])
    held = bakery.http("GET", "/v1/holdings/8675599990000").json()
    assert held["evidence"] == "of another"
    assert bakery.http("GET", "/v1/holdings/8675599990001").json()["subject"] == "grocer"
    # A row's key is none that a client can send.
    _put(bakery, "subjects/s", {"name": "x"}, **{"idempotency-key": "k1/0"})


def test_conflicts_name_both(bakery):
    overlap = "8675588889990-8675588890009"
    detail = _problem(bakery.http("PUT", f"/v1/holdings/{overlap}", json=HOLDING, params=WHY), 409)
    assert "8675588880000-8675588889999 of bank" in detail
    assert f"{overlap} of bakery" in detail
    _put(bakery, "accesses/bakery-trunk", ACCESS)
    detail = _problem(bakery.http("PUT", "/v1/accesses/other", json=ACCESS, params=WHY), 409)
    assert "bakery-trunk" in detail
    assert "other" in detail


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        ("holdings/12a", HOLDING, "12a"),
        ("holdings/222-111", HOLDING, "range"),
        ("holdings/8675599990000", HOLDING | {"use": "rented"}, "direct"),
        ("holdings/8675599990000", HOLDING | {"verification": "yes"}, "withdrawn"),
        ("holdings/8675599990000", {"subject": ""}, "subject"),
        ("holdings/8675599990000", {"subject": "nobody"}, "nobody"),
        ("holdings/8675599990000", HOLDING | {"reseller": "nobody"}, "nobody"),
        ("holdings/8675599990000", HOLDING | {"colour": "red"}, "colour"),
        ("holdings/8675599990000", [], "body"),
        ("accesses/a", ACCESS | {"origid": "a b\n"}, "origid"),
        ("accesses/a", ACCESS | {"state": "bad"}, "suspended"),
        ("resellers/r", {"parent": "nobody"}, "nobody"),
        ("subjects/s", {"document": "x"}, "document_kind"),
        ("bindings/b", BINDING | {"b": None}, "axb needs b"),
        ("bindings/b", BINDING | {"until": 1}, "ends"),
        ("exemptions/e", EXEMPTION | {"reason": ""}, "reason"),
        ("refusals/12a", {"since": 1}, "12a"),
        ("refusals/12*", {"since": 1}, "range"),
        ("refusals/222-111", {"since": 1}, "range"),
        ("refusals/8613800138000", {}, "since"),
        ("refusals/8613800138000", {"since": 1, "until": 2}, "ended"),
        ("refusals/8613800138000", {"since": 1, "scopes": ["surveys"]}, "marketing"),
        ("exemptions/e", EXEMPTION | {"reason": " "}, "reason"),
        ("exemptions/e", EXEMPTION | {"until": 2}, "ended"),
        ("exemptions/e", EXEMPTION | {"until": 2**40}, "366 days"),
        ("exemptions/e", EXEMPTION | {"measures": ["speed"]}, "local-presence"),
        ("exemptions/e", EXEMPTION | {"kind": "number"}, "signer"),
        ("exemptions/e", EXEMPTION | {"kind": "signer"}, "spc/origid"),
        ("exemptions/e", EXEMPTION | {"target": "nobody"}, "nobody"),
        ("exemptions/e", EXEMPTION | {"kind": "agent", "target": "bakery"}, "platform/number"),
        ("exemptions/e", EXEMPTION | {"kind": "agent", "target": "bakery/x"}, "target"),
    ],
)
def test_unusable_values_are_named(bakery, path, body, names):
    assert names in _problem(bakery.http("PUT", f"/v1/{path}", json=body, params=WHY), 422)


def test_a_large_body_is_refused_before_it_is_read(desk):
    """Credentials are asked for after the body was read, so strangers could fill memory."""
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield b" " * 10_000

    headers = {"content-type": "application/json"}
    answer = desk.http("PUT", "/v1/subjects/x", content=endless(), headers=headers, params=WHY)
    _problem(answer, 413)
    assert sent < 10


def test_lists_come_in_pages(desk):
    whole = desk.http("GET", "/v1/holdings").json()
    assert whole["following"] is None
    rows, after = [], ""
    while after is not None:
        params = {"limit": 1, "after": after}
        page = desk.http("GET", "/v1/holdings", params=params).json()
        rows += page["holdings"]
        after = page["following"]
    assert rows == whole["holdings"]
    mine = desk.http("GET", "/v1/holdings", params={"subject": "bank"}).json()["holdings"]
    assert mine == [row for row in rows if row["subject"] == "bank"]
    for bad in ({"limit": 0}, {"limit": 1001}, {"limit": "x"}):
        assert "limit" in _problem(desk.http("GET", "/v1/accesses", params=bad), 422)
    _problem(desk.http("GET", "/v1/holdings", params={"after": "x"}), 422)


def test_identity_documents_are_hashed_and_make_one_subject(desk):
    document = {"document_kind": "id-card", "document_number": "11010119900101123X"}
    made = _put(desk, "subjects/one", document)
    assert "11010119900101123X" not in made.text
    assert len(made.json()["document"]) == 64
    spelled = {"document_kind": "id-card", "document_number": " １１０１０１19900101123x"}
    detail = _problem(desk.http("PUT", "/v1/subjects/two", json=spelled, params=WHY), 409)
    assert "one" in detail
    assert "11010119900101123" not in detail
    _put(desk, "subjects/one", document | {"state": "suspended"})
    detail = _problem(desk.http("PUT", "/v1/subjects/two", json=document, params=WHY), 409)
    assert "suspended" in detail
    next_number = desk.http("PUT", f"/v1/holdings/{RANGE}", json={"subject": "one"}, params=WHY)
    assert "suspended" in _problem(next_number, 409)


def test_an_origid_is_rotated_and_stays_traceable(desk):
    made = desk.http("POST", "/v1/accesses/bank-trunk/origid", params=WHY)
    fresh = made.json()["origid"]
    assert made.json()["former"] == [BANK_ORIGID]
    assert fresh != BANK_ORIGID
    old = desk.http("GET", f"/v1/origids/{BANK_ORIGID}").json()
    assert (old["id"], old["current"]) == ("bank-trunk", False)
    assert desk.http("GET", f"/v1/origids/{fresh}").json()["current"]
    _problem(desk.http("GET", f"/v1/origids/{ORIGID}"), 404)
    back = {"origid": BANK_ORIGID, "subject": "bank"}
    _problem(desk.http("PUT", "/v1/accesses/bank-trunk", json=back, params=WHY), 409)


def test_batches_are_whole_or_row_by_row(desk):
    rows = [
        BINDING | {"id": f"b{i}", "a": str(8613700000000 + i), "b": str(8613800000000 + i)}
        for i in range(5)
    ]
    rows[3]["x"] = SHOP  # not the platform's
    answer = desk.http("POST", "/v1/bindings/batch", json=rows, params=WHY)
    assert SHOP in _problem(answer, 409)
    _problem(desk.http("GET", "/v1/bindings/b0"), 404)
    rows[4]["model"] = "axc"
    some = desk.http("POST", "/v1/bindings/batch", json=rows, params=WHY | {"mode": "best-effort"})
    assert some.json()["accepted"] == 3
    assert [row["row"] for row in some.json()["rejected"]] == [3, 4]
    assert desk.http("GET", "/v1/bindings/b2").status_code == 200
    _problem(desk.http("POST", "/v1/bindings/batch", json=[], params=WHY), 422)


def test_a_number_tells_kind_holder_and_chain(desk):
    told = desk.http("GET", "/v1/numbers/8617100005678").json()
    assert (told["kind"], told["label_zh"]) == ("mvno", "移动转售（虚商）")
    assert told["chain"] == ["sample-mvno", "sample-agent"]
    assert told["holdings"][0]["subject"] == "workshop"
    now = desk.http("GET", f"/v1/numbers/{BANK}", params={"at": str(int(time.time()))}).json()
    assert now["holding"]["record"]["subject"] == "bank"
    assert "at" in _problem(desk.http("GET", f"/v1/numbers/{BANK}", params={"at": "x"}), 422)


def _token(installation, number, action="stop", order="o1", **more):
    now = int(time.time())
    members = {
        "action": Action(action), "order": order, "issuer": REGULATOR, "number": number,
        "reference": "ref 1", "kind": TargetKind.SUBJECT, "target": "call-centre",
        "since": now, "iat": now,
    } | more  # fmt: skip
    key = SigningKey.from_pem(installation.regulator.read_bytes())
    return sign_instruction(Instruction(**members), key, REGULATOR)


def _order(desk, token):
    return desk.http("POST", "/v1/orders", json={"token": token}, params=WHY)


def test_an_order_is_taken_once_obeyed_acknowledged_and_lifted(desk, installation):
    token = _token(installation, 5)
    assert _order(desk, token).json()["id"] == "o1"
    _problem(_order(desk, token), 409)  # replayed
    older = _token(installation, 4, order="o2")
    assert "number 5" in _problem(_order(desk, older), 409)  # rolled back
    told = desk.http("GET", "/v1/orders/o1/acknowledgements").json()
    assert [entry["node"] for entry in told["acknowledgements"]] == [told["nodes"][0]["node"]]
    assert told["nodes"][0]["version"] == __version__
    detail = _problem(
        desk.http("PUT", "/v1/holdings/8675566660009", json={"subject": "call-centre"}, params=WHY),
        409,
    )
    assert "o1" in detail
    assert _order(desk, _token(installation, 6, "lift")).json()["lifted_by"] == REGULATOR
    _problem(_order(desk, token), 409)  # what was lifted does not come back
    _problem(_order(desk, _token(installation, 7, "lift", "o9")), 404)


def test_orders_that_are_not_the_regulators_are_refused(desk, installation):
    token = _token(installation, 1)
    head, payload, signature = token.split(".")
    forged = ".".join((head, payload, signature[:-6] + "AAAAAA"))
    for bad in (forged, _token(installation, 1, issuer="somebody")):
        _problem(_order(desk, bad), 403)
    unsigned = b64url_encode(b'{"alg":"none","typ":"zhenxian-order+jwt"}').decode()
    for bad in (
        "x",
        "a.b.c",
        f"{head}.{payload}",
        f"{unsigned}.{payload}.",
        f"{head}.e30.{signature}",
    ):
        assert "malformed" in _problem(_order(desk, bad), 422)
    ahead = _token(installation, 1, iat=int(time.time()) + 3600)
    assert "clock" in _problem(_order(desk, ahead), 403)
    assert desk.http("GET", "/v1/orders").json()["orders"] == []


WRITES = {
    Role.REGISTRAR: [
        ("PUT", "/v1/subjects/bakery", {}),
        ("PUT", "/v1/resellers/r", {}),
        ("PUT", f"/v1/holdings/{RANGE}", HOLDING),
        ("PUT", "/v1/accesses/bakery-trunk", ACCESS),
        ("POST", "/v1/accesses/bakery-trunk/origid", None),
        ("DELETE", "/v1/accesses/bakery-trunk", None),
        ("POST", "/v1/holdings/batch", [HOLDING | {"first": "8675599990000"}]),
        ("PUT", "/v1/exemptions/e1", EXEMPTION),
        ("PUT", f"/v1/refusals/{CALLEE}", {"since": 1}),
        ("DELETE", f"/v1/refusals/{CALLEE}", None),
        ("POST", "/v1/refusals/batch", [{"first": CALLEE, "since": 1}]),
    ],
    Role.PLATFORM: [
        ("PUT", "/v1/bindings/b1", BINDING),
        ("POST", "/v1/bindings/batch", [BINDING | {"id": "b1"}]),
        ("DELETE", "/v1/bindings/b1", None),
    ],
}
BOOKS = (Role.REGISTRAR, Role.REGULATOR, Role.AUDITOR, Role.OPERATOR)
READS = {
    "/v1/subjects": BOOKS,
    "/v1/holdings": BOOKS,
    "/v1/accesses": BOOKS,
    "/v1/resellers": BOOKS,
    "/v1/bindings": (*BOOKS, Role.PLATFORM),
    "/v1/orders": BOOKS,
    "/v1/exemptions": BOOKS,
    "/v1/refusals": BOOKS,
    f"/v1/numbers/{BANK}": BOOKS,
    f"/v1/origids/{BANK_ORIGID}": (Role.REGULATOR, Role.AUDITOR),
    "/v1/changes": (Role.REGULATOR, Role.AUDITOR),
    "/v1/nodes": (Role.OPERATOR, Role.REGULATOR, Role.AUDITOR),
}


def test_every_route_asks_for_its_role(desk_with, tmp_path, installation):
    file = tmp_path / "keys.toml"
    keys = {role: add_key(file, role.value, [role], None, "platform") for role in Role}
    desk = desk_with(auth={"keys": file})

    def status(role, method, path, body=None):
        given = {"x-api-key": keys[role]} if role is not None else {}
        answer = desk.http(method, path, json=body, params=WHY, headers=given)
        if answer.status_code in (401, 403):
            _problem(answer, answer.status_code)
        return answer.status_code

    for role, requests in WRITES.items():
        for request in requests:
            assert status(None, *request) == 401
            for other in set(Role) - {role, Role.REGISTRAR}:
                assert status(other, *request) == 403, (other, request)
            assert status(role, *request) in (200, 204), (role, request)
    for path, roles in READS.items():
        assert status(None, "GET", path) == 401
        for role in Role:
            assert status(role, "GET", path) == (200 if role in roles else 403), (role, path)
    for role in set(Role) - {Role.REGULATOR}:
        assert status(role, "POST", "/v1/orders", {"token": "x"}) == 403
    for role in (*set(Role) - {Role.REGULATOR, Role.REGISTRAR}, None):
        assert status(role, "DELETE", "/v1/exemptions/e1") == (403 if role else 401)
    assert status(Role.REGULATOR, "DELETE", "/v1/exemptions/e1") == 204
    token = {"token": _token(installation, 1)}
    assert status(Role.REGULATOR, "POST", "/v1/orders", token) == 200


def test_a_platform_writes_and_sees_its_own_bindings_only(desk_with, tmp_path):
    file = tmp_path / "keys.toml"
    headers = {"x-api-key": add_key(file, "other", [Role.PLATFORM], None, "courier")}
    desk = desk_with(auth={"keys": file})
    answer = desk.http("PUT", "/v1/bindings/b1", json=BINDING, params=WHY, headers=headers)
    assert "platform" in _problem(answer, 403)
    assert desk.http("GET", "/v1/bindings", headers=headers).json()["bindings"] == []
    for path in ("/v1/bindings/ride-1", "/v1/bindings/ride-1/history"):
        _problem(desk.http("GET", path, headers=headers), 404)
    gone = desk.http("DELETE", "/v1/bindings/ride-1", params=WHY, headers=headers)
    _problem(gone, 403)


def test_names_and_documents_are_not_for_operators(desk_with, tmp_path):
    file = tmp_path / "keys.toml"
    keys = {role: add_key(file, role.value, [role]) for role in (Role.OPERATOR, Role.AUDITOR)}
    desk = desk_with(auth={"keys": file})
    for role, shown in ((Role.OPERATOR, False), (Role.AUDITOR, True)):
        headers = {"x-api-key": keys[role]}
        for path in ("/v1/subjects", "/v1/subjects/bank", "/v1/subjects/bank/history"):
            text = desk.http("GET", path, headers=headers).text
            assert ("Sample Bank" in text) is shown


def test_every_change_is_listed_with_author_and_reason(desk):
    before = desk.http("GET", "/v1/changes").json()["changes"]
    _put(desk, "subjects/bakery", {})
    (change,) = desk.http("GET", "/v1/changes", params={"after": before[-1]["seq"]}).json()[
        "changes"
    ]
    assert change["changed"] == [{"kind": "subject", "key": "bakery"}]
    assert (change["author"], change["reason"]) == ("local (local)", "a test")


def test_a_disk_that_takes_nothing_is_told_and_nothing_changes(desk):
    desk.written_database().execute("PRAGMA query_only = 1")
    answer = desk.http("PUT", "/v1/subjects/bakery", json={}, params=WHY)
    assert "readonly" in _problem(answer, 503)
    _problem(desk.http("GET", "/v1/subjects/bakery"), 404)


def test_a_change_counts_for_the_next_call(desk):
    body = {
        "signingRequest": {
            "attest": "A", "orig": {"tn": PRIVACY}, "dest": {"tn": [CALLEE]},
            "iat": int(time.time()), "origid": BANK_ORIGID, "access": "platform-trunk",
            "caller": {"tn": RIDER},
        }
    }  # fmt: skip
    assert desk.call("/stir/v1/signing", body)[1]["signingResponse"]["attest"] == "A"
    assert desk.http("DELETE", "/v1/bindings/ride-1", params=WHY).status_code == 204
    status, answer = desk.call("/stir/v1/signing", body)
    assert status == 403
    assert "NOT_BOUND" in json.dumps(answer)


def test_an_exemption_is_on_record_with_its_reason_and_end(bakery):
    made = _put(bakery, "exemptions/e1", EXEMPTION | {"measures": ["rotation", "spread"]})
    assert made.json() == EXEMPTION | {
        "id": "e1", "measures": ["spread", "rotation"], "reference": "",
        "version": made.json()["version"],
    }  # fmt: skip
    assert bakery.service.registry.exemption("subject", "bakery", int(time.time())).id == "e1"
    _put(bakery, "exemptions/e2", EXEMPTION | {"kind": "signer", "target": "1001/abc"})
    mine = bakery.http("GET", "/v1/exemptions", params={"subject": "bakery"}).json()["exemptions"]
    assert mine == [made.json()]
    agent = {"kind": "agent", "target": "bakery/+86 138-0000-0001"}
    told = _put(bakery, "exemptions/e4", EXEMPTION | agent).json()
    assert told["target"] == "bakery/8613800000001"  # as the key has it
    assert len(bakery.http("GET", "/v1/exemptions").json()["exemptions"]) == 3
    detail = _problem(bakery.http("PUT", "/v1/exemptions/e3", json=EXEMPTION, params=WHY), 409)
    assert "e1" in detail
    assert bakery.http("DELETE", "/v1/exemptions/e1", params=WHY).status_code == 204
    assert bakery.service.registry.exemption("subject", "bakery", int(time.time())) is None
    versions = bakery.http("GET", "/v1/exemptions/e1/history").json()["versions"]
    assert [v["record"] and v["record"]["reason"] for v in versions] == ["night shift", None]


def test_a_refusal_is_put_found_and_ended(desk):
    body = {"since": 1, "until": 4_000_000_000, "source": "callee, hotline"}
    made = _put(desk, "refusals/+8613800138000", body)
    assert made.json() == body | {
        "first": "8613800138000", "last": "8613800138000", "scopes": ["marketing"],
        "version": made.json()["version"],
    }  # fmt: skip
    assert desk.http("GET", "/v1/refusals/8613800138000").json() == made.json()
    several = [
        body | {"first": "8613900000000", "last": "8613900009999"},
        body | {"first": "95588"},
    ]
    answer = desk.http("POST", "/v1/refusals/batch", json=several, params=WHY)
    assert answer.json()["accepted"] == 2
    page = desk.http("GET", "/v1/refusals", params={"limit": 2}).json()
    assert [row["first"] for row in page["refusals"]] == ["95588", "8613800138000"]
    rest = desk.http("GET", "/v1/refusals", params={"after": page["following"]}).json()
    assert [row["last"] for row in rest["refusals"]] == ["8613900009999"]
    gone = desk.http("DELETE", "/v1/refusals/8613800138000", params=WHY)
    assert gone.status_code == 204
    versions = desk.http("GET", "/v1/refusals/8613800138000/history").json()["versions"]
    assert [v["record"] and v["record"]["source"] for v in versions] == [body["source"], None]


@pytest.mark.parametrize(
    "path",
    ["subjects/nobody", f"holdings/{SHOP}", "accesses/none", "bindings/none", "refusals/1234567"],
)
def test_if_match_of_any_version_needs_one(desk, path):
    body = {
        "holdings": {"subject": "bank"},
        "accesses": {"subject": "bank", "origid": ORIGID},
        "bindings": BINDING,
        "refusals": {"since": 1, "source": "a form"},
    }.get(path.partition("/")[0], {"name": "N"})
    desk.http("DELETE", f"/v1/{path}", params=WHY)
    seen = {"if-match": "*"}
    for method, given in (("PUT", body), ("DELETE", None)):
        _problem(desk.http(method, f"/v1/{path}", json=given, params=WHY, headers=seen), 412)
    assert desk.http("PUT", f"/v1/{path}", json=body, params=WHY).status_code == 200
    assert desk.http("PUT", f"/v1/{path}", json=body, params=WHY, headers=seen).status_code == 200
    assert desk.http("DELETE", f"/v1/{path}", params=WHY, headers=seen).status_code == 204
    _problem(desk.http("DELETE", f"/v1/{path}", params=WHY), 404)
    rotated = desk.http("POST", "/v1/accesses/none/origid", params=WHY, headers=seen)
    _problem(rotated, 412)


def test_any_version_gives_no_number_to_another(desk):
    """`*` names no version that was seen."""
    given = desk.http(
        "PUT", f"/v1/holdings/{SHOP}", json={"subject": "courier"}, params=WHY,
        headers={"if-match": "*"},
    )  # fmt: skip
    assert "held by call-centre" in _problem(given, 409)


def test_where_a_platforms_page_ends_tells_nothing_of_others(desk_with, tmp_path):
    file = tmp_path / "keys.toml"
    keys = {
        name: {"x-api-key": add_key(file, name, [Role.PLATFORM], None, name)}
        for name in ("platform", "courier")
    }
    office = {"x-api-key": add_key(file, "office", [Role.REGISTRAR])}
    desk = desk_with(auth={"keys": file})
    shared = "7001000200000{:02}"
    for n in range(10, 18):
        who = "platform" if n % 4 == 1 else "courier"
        held = {"subject": who, "use": "privacy", "verification": "verified"}
        for path, body in (
            (f"holdings/{shared.format(n)}", held),
            (f"bindings/of-platform-{n}", BINDING | {"platform": who, "x": shared.format(n)}),
        ):
            answer = desk.http("PUT", f"/v1/{path}", json=body, params=WHY, headers=office)
            assert answer.status_code == 200, answer.text

    def pages(headers):
        after, found = "", []
        while after is not None:
            page = desk.http(
                "GET", "/v1/bindings", params={"limit": 1, "after": after}, headers=headers
            ).json()
            found.append([row["id"] for row in page["bindings"]])
            after = page["following"]
            assert after is None or [after] == found[-1]
        return found

    for name, headers in keys.items():
        seen = pages(headers)
        assert all(len(page) == 1 for page in seen), seen
        assert all(
            desk.http("GET", f"/v1/bindings/{key}", headers=office).json()["platform"] == name
            for (key,) in seen
        )
    assert sum(map(len, pages(office))) == sum(len(pages(headers)) for headers in keys.values())


def test_two_ids_that_look_the_same_are_not_two_records(desk):
    """Unicode writes the letter in two ways; one who is suspended would come back by the other."""
    composed, other = "caf\u00e9", "cafe\u0301"
    _put(desk, f"subjects/{composed}", {"name": "x"})
    for answer in (
        desk.http("PUT", f"/v1/subjects/{other}", json={"name": "x"}, params=WHY),
        desk.http("POST", "/v1/bindings/batch", json=[BINDING | {"id": other}], params=WHY),
        desk.http(
            "PUT", f"/v1/accesses/{other}", params=WHY, json={"origid": "o-1", "subject": "bank"}
        ),
        desk.http("PUT", "/v1/accesses/x", params=WHY, json={"origid": other, "subject": "bank"}),
    ):
        assert "Normal Form C" in _problem(answer, 422)
    csv = f"id,name\n{other},x\nfine,x\n".encode()
    for more in ({"dry_run": True}, {"mode": "all-or-nothing"}, {"mode": "best-effort"}):
        told = desk.http(
            "POST",
            "/v1/imports/subjects",
            content=csv,
            params=WHY | more,
            headers={"content-type": "text/csv"},
        ).json()
        assert "Normal Form C" in told["rejected"][0]["reason"]
        assert told["rejected"][0]["line"] == 2
    assert desk.http("GET", f"/v1/subjects/{other}").status_code == 404
