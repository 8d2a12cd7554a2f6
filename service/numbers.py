"""The national plan and the reading of numbers, as the settings have them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from pathlib import Path

import phonenumbers

from zhenxian.certs.files import octets_of
from zhenxian.core.errors import ConfigError
from zhenxian.core.reading import Reading, none_special
from zhenxian.core.tn import TN
from zhenxian.passport.words import said
from zhenxian.registry.kinds import Plan, load_plan
from zhenxian.service.settings import Settings


def plan_of(settings: Settings) -> Plan:
    """The plan of the country, with the operator's tables.

    Raises:
        ConfigError: a table that cannot be read.
    """
    ended = {
        str(phonenumbers.country_code_for_region(rule.country)): int(
            datetime.combine(rule.until, time(), UTC).timestamp()
        )
        for rule in settings.numbers.middle
    }
    tables = [(path.name, _text_of(path)) for path in settings.registry.kinds]
    return load_plan(tables, settings.country, ended)


def _text_of(path: Path) -> str:
    try:
        return octets_of(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {said(error)}") from None


def reading_of(
    settings: Settings, plan: Plan, special: Callable[[TN], bool] = none_special
) -> Reading:
    """How identities are read.

    Args:
        special: as of Reading.
    """
    numbers = settings.numbers
    return Reading(
        country=settings.country,
        hosts=frozenset(numbers.hosts),
        special=special,
        national_form=plan.national_form,
        max_coded=plan.max_coded,
        long_codes=tuple(
            str(phonenumbers.country_code_for_region(one)) for one in numbers.sixteen_digits
        ),
        emergency=plan.emergency,
    )
