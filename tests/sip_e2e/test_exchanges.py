"""The files for switches that cannot be had here: what they send, and what they make of the answer.

The requests are made from the files themselves, with a switch's variables filled in; Oracle's and
Ribbon's are those of their public documentation.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
import tomllib
import urllib.parse
import xml.etree.ElementTree as ET
from pathlib import Path

import httpx
import pytest

from bench.sip.messages import Message
from bench.sip.proxies import ROOT
from bench.sip.stage import Node
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE

DEPLOY = ROOT / "deploy"
ASTERISK = (DEPLOY / "asterisk" / "extensions.conf").read_text("utf-8")
FREESWITCH = ET.parse(DEPLOY / "freeswitch" / "zhenxian.xml").getroot()
ORACLE = (DEPLOY / "oracle" / "zhenxian.acli").read_text("utf-8")
RIBBON = tomllib.loads((DEPLOY / "ribbon" / "zhenxian.toml").read_text("utf-8"))
FIELD = json.loads((Path(__file__).parent.parent / "field" / "rest.json").read_text("utf-8"))


def filled(text, values):
    """A switch's text with ${NAME} and ${FILTER(SET,TEXT)} filled in, the innermost first."""

    def one(found):
        name = found[1]
        if name.startswith("FILTER(0-9+,"):
            return re.sub(r"[^0-9+]", "", name[12:-1])
        return str(values[name])

    while re.search(r"\$+\{", text):
        text = re.sub(r"\$+\{([^${}]*)\}", one, text)
    return text


def post(node, path, body):
    return httpx.post(
        node.base + path, content=body, trust_env=False,
        headers={"content-type": "application/json", "authorization": "Bearer none"},
    )  # fmt: skip


def asterisk(name, values, at=0):
    """The body that the at-th Set of a variable makes."""
    return filled(re.findall(rf"Set\({name}=(.*)\)$", ASTERISK, re.MULTILINE)[at], values)


def decoded(answer, path):
    """JSON_DECODE: the value at a path, "" where there is none."""
    for key in path.split("."):
        answer = answer.get(key, "") if isinstance(answer, dict) else ""
    return answer


def asterisk_paths(context):
    part = ASTERISK.partition(f"[{context}]")[2].partition("\n[")[0]
    return set(re.findall(r"JSON_DECODE\(ZX_ANSWER,([A-Za-z.]+)\)", part))


def test_asterisk(stage):
    call = {"CALLERID(num)": f"+{BANK}", "EXTEN": CALLEE, "ZX_ACCESS": "bank-trunk"}
    call |= {"EPOCH": int(time.time()), "ZX_TO": f"+{CALLEE}", "CHANNEL(pjsip,call-id)": "a"}
    signed = post(stage.signing, "/stir/v1/signing", asterisk("ZX_BODY", call)).json()
    refused = post(
        stage.signing, "/stir/v1/signing",
        asterisk("ZX_BODY", call | {"ZX_ACCESS": "call-centre-trunk"}),
    ).json()  # fmt: skip
    identity = decoded(signed, "signingResponse.identity")
    assert identity.endswith(";ppt=shaken")
    assert decoded(refused, "requestError.policyException.messageId") == "POL4030"
    assert asterisk_paths("zx-leave") == {
        "signingResponse.identity", "requestError.policyException.messageId",
        "requestError.policyException.variables",
    }  # fmt: skip
    for token, verstat in ((identity, "TN-Validation-Passed"), ("", "No-TN-Validation")):
        body = asterisk("ZX_BODY", call | {"ZX_ID": token}, 1)
        answer = post(stage.verifying, "/stir/v1/verification", body).json()
        assert decoded(answer, "verificationResponse.verstat") == verstat
        assert decoded(answer, "verificationResponse.sipResponse.code") == ""
    assert asterisk_paths("zx-arrive") == {
        "verificationResponse.verstat", "verificationResponse.sipResponse.code",
    }  # fmt: skip
    over = re.search(
        r"CURL\(\$\{ZX_SERVICE\}/v1/displays/ended,(.*)\)\}\)$", ASTERISK, re.MULTILINE
    )
    assert over is not None
    body = over[1].replace('${IF($["${DIALSTATUS}" = "ANSWER"]?true:false)}', "true")
    body = body.replace('${IF($["${ANSWEREDTIME}" = ""]?0:${ANSWEREDTIME})}', "75")
    told = post(
        stage.signing, "/v1/displays/ended", filled(body, call | {"DIALEDPEERNUMBER": CALLEE})
    )
    assert (told.status_code, told.json()) == (200, {"taken": 2})


def freeswitch(extension, application):
    (found,) = FREESWITCH.findall(f".//extension[@name='{extension}']")
    return [a.get("data") for a in found.iter("action") if a.get("application") == application]


def expressions(extension):
    (found,) = FREESWITCH.findall(f".//extension[@name='{extension}']")
    return [
        c.get("expression") for c in found.iter("condition")
        if c.get("field") == "${curl_response_data}"
    ]  # fmt: skip


def test_freeswitch(stage):
    call = {"effective_caller_id_number": BANK, "strepoch()": int(time.time()),
            "zx_access": "bank-trunk", "caller_id_number": BANK, "sip_to_user": f"+{CALLEE}",
            "sip_call_id": "c@d"}  # fmt: skip

    def body(extension, **more):
        (text,) = [d for d in freeswitch(extension, "set") if d.startswith("zx_body=")]
        made = filled(text.removeprefix("zx_body=").replace("$1", f"+{CALLEE}"), call | more)
        assert " " not in made  # mod_curl takes its arguments apart at spaces
        return made

    signed = post(stage.signing, "/stir/v1/signing", body("zx-leave"))
    (expression,) = expressions("zx-signed")
    identity = re.search(expression, signed.text)[1]
    refused = post(
        stage.signing, "/stir/v1/signing", body("zx-leave", zx_access="call-centre-trunk")
    )
    assert refused.status_code == 403
    assert re.search(expression, refused.text) is None
    (verdict,), (rejected,) = expressions("zx-verdict"), expressions("zx-rejected")
    answer = post(
        stage.verifying, "/stir/v1/verification", body("zx-arrive", sip_h_identity=identity)
    )
    assert re.search(verdict, answer.text)[1] == "TN-Validation-Passed"
    assert re.search(rejected, answer.text) is None
    rejection = '{"verificationResponse":{"sipResponse":{"code":608,"phrase":"Rejected"}}}'
    assert re.search(rejected, rejection).groups() == ("608", "Rejected")


@pytest.mark.parametrize("one", [c for c in FIELD if c["name"].startswith("oracle-")],
                         ids=lambda one: one["name"])  # fmt: skip
def test_oracle(stage, one):
    """As its documentation shows the requests, to the paths below its as- and vs-server-root."""
    for name in ("as-server-root", "vs-server-root"):
        root = re.search(rf"^{name} (\S+)$", ORACLE, re.MULTILINE)[1]
        assert (
            urllib.parse.urlsplit(root).path == ""
        )  # it adds /stir/v1/signing, /stir/v1/verification
    node = stage.signing if one["path"].endswith("/signing") else stage.verifying
    answer = httpx.post(
        node.base + one["path"], content=one["body"].replace("@NOW", str(int(time.time()))),
        headers=one["headers"], trust_env=False,
    )  # fmt: skip
    assert answer.status_code == one["expect"]["status"], answer.text
    for path, wanted in one["expect"]["members"].items():
        seen = decoded(answer.json(), path)
        if isinstance(wanted, str) and wanted.startswith("~"):
            assert re.fullmatch(wanted[1:], seen), path
        else:
            assert seen == wanted, path


def invite(number, via):
    """As Identity Hub's description asks: From names the caller, To the callee."""
    access = "bank-trunk" if number == BANK else "call-centre-trunk"
    return Message(
        f"INVITE sip:+{CALLEE}@192.0.2.30 SIP/2.0",
        (
            ("Via", f"SIP/2.0/UDP {via};branch=z9hG4bK{time.time_ns()}"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:+{number}@192.0.2.40>;tag=1"),
            ("To", f"<sip:+{CALLEE}@192.0.2.30>"),
            ("Call-ID", str(time.time_ns())),
            ("CSeq", "1 INVITE"),
            ("Contact", f"<sip:{via}>"),
            ("X-Access", access),
            ("Content-Length", "0"),
        ),
    ).dumps()


def test_ribbon(stage, tmp_path):
    """300 with Identity in Contact, as the SBC copies it; a refusal ends the call; 503 goes on."""
    settings = {
        f"sip__{key}": value for key, value in RIBBON["sip"].items()
        if key not in ("originating", "terminating", "allow")
    }  # fmt: skip
    node = Node(tmp_path, "ribbon", "originating", settings)
    node.start()
    try:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sbc:
            sbc.bind(("127.0.0.1", 0))
            sbc.settimeout(20)
            host, _, port = node.redirect.partition(":")
            via = f"127.0.0.1:{sbc.getsockname()[1]}"
            answers = []
            for number in (BANK, "95001"):
                sbc.sendto(invite(number, via), (host, int(port)))
                answers.append(Message.loads(sbc.recv(65_535)))
    finally:
        node.stop()
    signed, refused = answers
    assert signed.status == 300
    uri = re.search(r"<([^>]+)>", signed.one("contact"))[1]
    headers = dict(urllib.parse.parse_qsl(uri.partition("?")[2]))
    assert headers["Identity"].endswith(";ppt=shaken")
    assert uri.partition("?")[0] == f"sip:+{CALLEE}@192.0.2.30"
    assert signed.all("identity") == []
    assert refused.status == 403
    assert BANK_ORIGID not in refused.dumps().decode()
