"""The redress contact over the real service: fetched and verified as a rejected caller would."""

from __future__ import annotations

import time

import jwt
import pytest
from cryptography import x509

from gateway.redress import FRESH_FOR, MEDIA_TYPE, PATH

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


def test_a_service_without_contact_has_nothing_there(service):
    with service.client() as client:
        assert client.get(PATH).status_code == 404


def test_a_contact_on_a_public_listener_without_https_does_not_start(serve):
    with pytest.raises(AssertionError, match=r"signer\.publish_base"):
        serve(signer__publish_base="http://north.example", **CONTACT)
