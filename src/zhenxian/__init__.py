"""Zhenxian (真显): caller ID that can be believed.

Each room here is a link to the folder of that name at the top of the repository. The names in
`__all__` are the public library (docs/library.md); a room's module is loaded when one of its names
is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from zhenxian.certs.ca import create_development_pki
    from zhenxian.certs.chain import Chain, TrustedSigner, Untrusted, parse_chain, validate
    from zhenxian.certs.keys import Credential, load_credential
    from zhenxian.certs.profile import ProfilePolicy
    from zhenxian.certs.revocation import RevocationPolicy, RevocationView, build_view
    from zhenxian.certs.trustlist import TrustList, load_trust_list
    from zhenxian.certs.x5u import X5uPolicy
    from zhenxian.core.errors import (
        ConfigError,
        ParseError,
        StoreUnavailableError,
        ZhenxianError,
    )
    from zhenxian.core.reasons import Reason, Verstat
    from zhenxian.core.tn import TN, URI, TNRange
    from zhenxian.passport.claims import Destination, Header, PASSporT
    from zhenxian.passport.identity import IdentityHeader, parse_identity_header
    from zhenxian.passport.ppt.shaken import Attestation, Shaken
    from zhenxian.registry.journal import put
    from zhenxian.registry.model import Access, Holding, Registry, Subject, Verification
    from zhenxian.signer.decide import Decision, decide, gather
    from zhenxian.signer.request import SigningRequest
    from zhenxian.signer.sign import SignedHeader, sign
    from zhenxian.stores.replay.memory import MemoryReplayStore
    from zhenxian.stores.sqlite.registry import EmbeddedRegistry
    from zhenxian.verifier.opened import NeedCertificates
    from zhenxian.verifier.request import VerificationRequest
    from zhenxian.verifier.screen import ScreenPolicy
    from zhenxian.verifier.trust import Trust
    from zhenxian.verifier.verdict import Verdict
    from zhenxian.verifier.verify import Verifier

__all__ = [
    "TN",
    "URI",
    "Access",
    "Attestation",
    "Chain",
    "ConfigError",
    "Credential",
    "Decision",
    "Destination",
    "EmbeddedRegistry",
    "Header",
    "Holding",
    "IdentityHeader",
    "MemoryReplayStore",
    "NeedCertificates",
    "PASSporT",
    "ParseError",
    "ProfilePolicy",
    "Reason",
    "Registry",
    "RevocationPolicy",
    "RevocationView",
    "ScreenPolicy",
    "Shaken",
    "SignedHeader",
    "SigningRequest",
    "StoreUnavailableError",
    "Subject",
    "TNRange",
    "Trust",
    "TrustList",
    "TrustedSigner",
    "Untrusted",
    "Verdict",
    "Verification",
    "VerificationRequest",
    "Verifier",
    "Verstat",
    "X5uPolicy",
    "ZhenxianError",
    "__version__",
    "build_view",
    "create_development_pki",
    "decide",
    "gather",
    "load_credential",
    "load_trust_list",
    "parse_chain",
    "parse_identity_header",
    "put",
    "sign",
    "validate",
]

_FROM = {
    "certs.ca": "create_development_pki",
    "certs.chain": "Chain TrustedSigner Untrusted parse_chain validate",
    "certs.keys": "Credential load_credential",
    "certs.profile": "ProfilePolicy",
    "certs.revocation": "RevocationPolicy RevocationView build_view",
    "certs.trustlist": "TrustList load_trust_list",
    "certs.x5u": "X5uPolicy",
    "core.errors": "ConfigError ParseError StoreUnavailableError ZhenxianError",
    "core.reasons": "Reason Verstat",
    "core.tn": "TN TNRange URI",
    "passport.claims": "Destination Header PASSporT",
    "passport.identity": "IdentityHeader parse_identity_header",
    "passport.ppt.shaken": "Attestation Shaken",
    "registry.journal": "put",
    "registry.model": "Access Holding Registry Subject Verification",
    "signer.decide": "Decision decide gather",
    "signer.request": "SigningRequest",
    "signer.sign": "SignedHeader sign",
    "stores.replay.memory": "MemoryReplayStore",
    "stores.sqlite.registry": "EmbeddedRegistry",
    "verifier.opened": "NeedCertificates",
    "verifier.request": "VerificationRequest",
    "verifier.screen": "ScreenPolicy",
    "verifier.trust": "Trust",
    "verifier.verdict": "Verdict",
    "verifier.verify": "Verifier",
}
_MODULES = {name: module for module, names in _FROM.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'zhenxian' has no attribute {name!r}")
    value = getattr(import_module(f"zhenxian.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
