"""The key that identity documents are hashed with."""

from __future__ import annotations

from zhenxian.certs.files import octets_of
from zhenxian.core.errors import ConfigError
from zhenxian.service.settings import Settings
from zhenxian.stores.key_file import load_secret


def identity_key_of(settings: Settings) -> bytes:
    """The key of registry.identity_key, or that of the data folder, made on first use.

    Raises:
        ConfigError: a file is named and there is none: a new key would find no identity again.
    """
    path = settings.registry.identity_key
    if path is None:
        return load_secret(settings.data / "identity.key")
    try:
        found = octets_of(path)
    except OSError as error:
        raise ConfigError(
            f"registry.identity_key: {path}: {error.strerror}; it is not made anew, as identities"
            " that are registered would not be found with another key"
        ) from None
    if not found.strip():
        raise ConfigError(f"registry.identity_key: {path} is empty")
    return found
