"""The redress contact over the real service: fetched and verified as a rejected caller would."""

from __future__ import annotations

import time

import jwt
import pytest
from cryptography import x509
from running import verdict, verification

from zhenxian.api.calls.messages import VERIFICATION
from zhenxian.api.published.redress import FRESH_FOR, MEDIA_TYPE, PATH

CONTACT = {
    "redress__organisation": "北方电信",
    "redress__phone": "+86 10 6600 0000",
    "redress__email": "redress@north.example",
    "redress__language": "zh-Hans",
}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_contact_verifies_with_the_certificate_it_names(serve, workers):
    service = serve(server__workers=workers, **CONTACT)
    before = int(time.time())
    with service.client() as client:
        for _ in range(4):
            answer = client.get(PATH)
            assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPE)
            header = jwt.get_unverified_header(answer.text)
            assert header == {"alg": "ES256", "typ": "vcard+json", "x5u": service.x5u("1001")}
            leaf = x509.load_pem_x509_certificates(client.get(header["x5u"]).content)[0]
            claims = jwt.decode(answer.text, leaf.public_key(), algorithms=["ES256"])
            assert before - FRESH_FOR <= claims["iat"] <= time.time()
            kind, properties = claims["jcard"]
            assert kind == "vcard"
            assert properties[0] == ["version", {}, "text", "4.0"]
            assert ["fn", {"language": "zh-Hans"}, "text", "北方电信"] in properties
            assert ["tel", {"type": ["work", "voice"]}, "uri", "tel:+861066000000"] in properties
            assert ["email", {"type": "work"}, "text", "redress@north.example"] in properties


BOX = "d3000000-0000-4000-8000-000000000001"
CITIES = (
    10, 20, 21, 22, 23, 24, 25, 27, 28, 29, 311, 351, 371, 411, 431, 451, 471, 512, 531, 551, 571,
    591, 731, 755, 771, 791, 851, 871, 891, 898, 931, 951, 971, 991,
)  # fmt: skip


def _fetched(client, call_info):
    """What a caller's side makes of the Call-Info of a 608."""
    uri, _, parameter = call_info.partition(">;")
    assert parameter == "purpose=jwscard"
    jws = client.get(uri.removeprefix("<")).text
    x5u = jwt.get_unverified_header(jws)["x5u"]
    leaf = x509.load_pem_x509_certificates(client.get(x5u).content)[0]
    return jwt.decode(jws, leaf.public_key(), algorithms=["ES256"])


def test_a_pool_with_good_signatures_is_rejected_and_told_where_to_object(serve):
    service = serve(**CONTACT)
    with service.client() as client:
        for number in range(400):
            code = CITIES[number % len(CITIES)]
            orig, dest = (f"86{code}{first}{number:07}" for first in (8, 6))
            identity = service.token("2002", orig, dest=dest, origid=BOX)
            told = verdict(client, orig, identity, to={"tn": [dest]})
            if told["verstat"] != "TN-Validation-Passed":
                break
            over = {"spc": "2002", "origid": BOX, "orig": orig, "dest": dest}
            over |= {"answered": False, "seconds": 0}
            assert client.post("/v1/displays/ended", json=[over]).status_code == 200
        assert (told["verstat"], told["reason"]) == ("TN-Validation-Failed", "DISPLAY_POOLED")
        assert (told["reasoncode"], told["reasontext"]) == (608, "Rejected")
        assert "reasonHeader" not in told
        response = told["sipResponse"]
        assert (response["code"], response["phrase"]) == (608, "Rejected")
        claims = _fetched(client, response["callInfo"])
        assert ["fn", {"language": "zh-Hans"}, "text", "北方电信"] in claims["jcard"][1]
        body = verification(orig, to={"tn": dest})
        body["verificationRequest"]["identityHeader"] = service.token(
            "2002", orig, dest=dest, origid=BOX
        )
        told = client.post(VERIFICATION, json=body).json()["verificationResponse"]
        result = told["verifyResults"][0]["verifyResult"]
        assert (result["reasonCode"], result["reasonText"]) == (608, "Rejected")
        assert told["sipResponse"] == response


def _no_contact(world):
    world.config.write_text(world.config.read_text().partition("[redress]")[0])


def test_a_service_without_contact_has_nothing_there(serve):
    with serve(alter=_no_contact).client() as client:
        assert client.get(PATH).status_code == 404


def test_a_contact_on_a_public_listener_without_https_does_not_start(serve):
    with pytest.raises(AssertionError, match=r"signer\.publish_base"):
        serve(signer__publish_base="http://north.example", **CONTACT)
