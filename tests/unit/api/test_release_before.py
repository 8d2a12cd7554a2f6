"""A data folder of the release before starts under this one, with everything that was in it."""

from __future__ import annotations

import json
import time

import pytest
from release.before import BEFORE, content, lacking, request, unpack
from streams import ACCESS, NOON

from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.jws import b64url_decode
from zhenxian.registry.journal import KeyReusedError, put
from zhenxian.registry.model import Holding, Subject, Verification, Who
from zhenxian.service.problems import problems
from zhenxian.stores.sqlite.file import RegistryFile

READ = BEFORE["data"]["read"]
SIGNING = "/stir/v1/signing"


@pytest.fixture
def folder(installation):
    """An installation whose data folder the release before wrote."""
    state = installation.config.parent / "state"
    for path in state.glob("registry.db*"):
        path.unlink()
    unpack(BEFORE["data"]["files"], state)
    return installation


def test_every_record_version_and_commit_is_read(folder):
    file = RegistryFile(folder.config.parent / "state" / "registry.db")
    assert lacking(READ, content(file)) == []
    assert READ["last"][0] == 15
    assert all(READ["records"].values())
    file.close()


def test_writing_goes_on_and_what_was_asked_before_is_known(folder):
    file = RegistryFile(folder.config.parent / "state" / "registry.db", writer=True)
    how = {"author": "a", "reason": "r", "now": NOON}
    again = file.write([put(Subject(id="bank"))], **how, **request(1))
    assert (again.seq, again.changes) == (1, ())
    with pytest.raises(KeyReusedError):
        file.write(
            [put(Subject(id="bank"))], **how, request=request(1)["request"], fingerprint=b"x"
        )
    new = Holding(
        numbers=TNRange(TN("862161002000"), TN("862161002000")),
        subject="shop",
        verification=Verification.VERIFIED,
    )
    assert file.write([put(new)], **how).seq == 16
    assert file.covering(TN("862161002000")) == new
    assert file.covering(TN("862161000700")).subject == "bank"
    file.close()


def test_the_service_starts_on_it_and_answers(folder, desk_of):
    desk = desk_of(folder.config)
    assert problems(desk.service) == []
    shop = desk.http("GET", "/v1/subjects/shop")
    assert shop.json()["name"] == "商店"
    past = desk.http("GET", "/v1/holdings/862161000500/history").json()
    assert [version["record"]["subject"] for version in past["versions"]] == ["shop", "bank"]
    listed = desk.http("GET", "/v1/orders").json()["orders"]
    assert [(row["id"], row["issuer"]) for row in listed] == [
        ("o-range", "regulator"),
        ("o-shop", "regulator"),
    ]
    assert desk.http("GET", "/v1/exemptions/e-1").json()["reason"] == "hotline"
    (cleared,) = desk.http("GET", "/v1/clearings").json()["clearings"]
    assert cleared["key"] == "subject:shop"
    new = desk.http("PUT", "/v1/subjects/new?reason=test", json={"name": "New"})
    assert new.status_code in (200, 201), new.text


def test_calls_are_decided_by_it(folder, desk_of):
    desk = desk_of(folder.config)

    def sign(number):
        call = {
            "attest": "A",
            "orig": {"tn": number},
            "dest": {"tn": ["8613911110000"]},
            "iat": int(time.time()),
            "origid": "10000000-0000-4000-8000-000000000003",
        }
        return desk.call(SIGNING, {"signingRequest": call})

    status, answer = sign("862161000500")
    assert status == 200, answer
    identity = answer["signingResponse"]["identity"]
    assert json.loads(b64url_decode(identity.split(".")[1].encode(), "payload"))["attest"] == "A"
    for number, reason in (
        ("862161000700", "RESELLER_SUSPENDED"),
        ("8613000000005", "ORDERED"),
    ):
        status, answer = sign(number)
        assert status == 403
        assert reason in answer["requestError"]["policyException"]["variables"]


def test_orders_exemptions_refusals_and_bindings_count_for_calls(folder, desk_of):
    registry = desk_of(folder.config).service.registry
    stopped = registry.order(Who(numbers=(TN("8613000000005"),)), NOON)
    assert stopped.id == "o-range"
    assert registry.order(Who(subjects=("shop",)), NOON) is None  # lifted
    assert registry.exemption("subject", "bank", NOON).id == "e-1"
    assert registry.access(None, "10000000-0000-4000-8000-000000000003").id == "t-1"
    assert registry.records.access_of("10000000-0000-4000-8000-000000000001").id == "t-1"
    assert registry.standing("bank", "centre").closed_by == "reseller mvno is suspended"
    a, b, x = TN("8613800000001"), TN("8613900000001"), TN("8617000000001")
    assert registry.binding(a, x, b, "", NOON).id == "b-1"
    assert [one.key for one in registry.records.refusals(TN("862188881234"))] == [
        "862188880000-862188889999"
    ]
    assert registry.records.refusals(TN("8613700000001")) == []


def test_what_callers_were_found_to_do_stands(folder, desk_of):
    desk = desk_of(folder.config, lambda: NOON + 4_000)
    asked = f"/v1/displays/{ACCESS.kind.value}:{ACCESS.id}"
    desk.service.keeper.restore()
    assert desk.http("GET", asked).json()["state"] == "pooled"
