"""The files of keys and of SIP users, for commands: who may do what, and in which dialect."""

from zhenxian.api.auth import Role, add_certificate, add_key, load_credentials
from zhenxian.api.calls.requests import Dialect
from zhenxian.api.permissions import ROLES
from zhenxian.sip.digest import add_user

__all__ = ["ROLES", "Dialect", "Role", "add_certificate", "add_key", "add_user", "load_credentials"]
