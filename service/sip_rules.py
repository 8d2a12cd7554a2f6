"""The rules that the table [sip] of the settings tells."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from zhenxian.api.management.common import ALWAYS, problems
from zhenxian.api.schema import answered
from zhenxian.core.reading import Reading
from zhenxian.service.settings import Settings
from zhenxian.sip.access import AccessRules, Trunk, networks
from zhenxian.sip.answering import SipPolicy
from zhenxian.sip.chosen import Callee, Caller, Choice
from zhenxian.sip.digest import Digest, load_users
from zhenxian.sip.routes import LINES, AdviceAnswer


def sip_policy(settings: Settings, reading: Reading) -> SipPolicy:
    """What INVITEs are answered, however they come."""
    sip = settings.sip
    return SipPolicy(
        choice=Choice(caller=Caller(sip.caller), callee=Callee(sip.callee), reading=reading),
        reject_failed=sip.failed == "reject",
        as_608=sip.refused == 608,
        date_window=settings.signer.iat_window,
        wait_seconds=sip.wait_ms / 1000,
        fork_seconds=settings.verifier.repeat_seconds,
    )


def sip_responses() -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of the answers to INVITEs over HTTP."""
    told = answered("What to do.", AdviceAnswer)
    told[200]["content"] |= {LINES: {"schema": {"type": "string"}}}
    return (
        told
        | problems(
            c400="The body is no SIP request; says which header field is wrong.",
            c401="Missing or unknown credentials.",
            c403="The role does not permit it.",
            c406="Neither lines nor JSON are accepted.",
            c413="The message is too large.",
            c415="The body is of another type.",
            c422="A query parameter is too long.",
            c503="More calls wait than can be answered soon.",
        )
        | ALWAYS
    )


def digest_of(settings: Settings, clock: Callable[[], float]) -> Digest | None:
    """Who must authenticate; None where nobody is asked. Raises ConfigError."""
    if settings.sip.digest is None:
        return None
    # Of this process alone, which remembers what its nonces were used for: elsewhere, or after a
    # restart, credentials that were listened to would serve again.
    key = secrets.token_bytes(32)
    return Digest(load_users(settings.sip.digest), key, clock)


def access_rules(settings: Settings) -> AccessRules:
    """What tells by which access a call came in."""
    sip = settings.sip
    return AccessRules(
        parameter=sip.access_parameter,
        header=sip.access_header,
        customer_parameter=sip.customer_parameter,
        customer_header=sip.customer_header,
        trunks=tuple(
            Trunk(
                access=trunk.access,
                source=networks((trunk.source,))[0] if trunk.source is not None else None,
                host=trunk.host,
                customer=trunk.customer,
            )
            for trunk in sip.trunks
        ),
    )
