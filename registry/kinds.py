"""What kind of number a number is, from tables: labels for people, never a verdict by themselves.

Prefixes of privacy numbers outside of their range and of spammers are the same. Three kinds have an
effect: a carrier's own service number and an emergency number, which nobody else may show, and a
privacy number, which needs a binding.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from importlib import resources
from types import MappingProxyType
from typing import Final

import phonenumbers
from msgspec import Struct

from zhenxian.core.errors import ConfigError, shown
from zhenxian.core.tn import TN, URI, TNRange

COLUMNS: Final = ("prefix", "lengths", "kind", "label", "label_zh", "source")
_CHINA: Final = "86"
_TABLE_OF: Final = "CN"  # the country whose numbers the table shipped is of
_MAX_EMERGENCY: Final = 6  # digits
_SOS: Final = "urn:service:sos"  # RFC 5031 section 4.2


class NumberKind(str, Enum):
    """Kinds of number in a national numbering plan."""

    EMERGENCY = "emergency"
    SHORT_CODE = "short-code"
    CARRIER_SERVICE = "carrier-service"
    SERVICE_ENTERPRISE = "service-enterprise"
    CALL_CENTRE = "call-centre"
    SHARED_COST = "shared-cost"
    TOLL_FREE = "toll-free"
    MESSAGING = "messaging"
    PRIVACY = "privacy"
    MOBILE = "mobile"
    MVNO = "mvno"
    IOT = "iot"
    FIXED = "fixed"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


class Label(Struct, frozen=True):
    """A kind with its names in English and Chinese, and where that comes from."""

    kind: NumberKind
    text: str
    text_zh: str
    source: str


_OF_ITS_COUNTRY: Final = (NumberKind.EMERGENCY, NumberKind.PRIVACY)
# One number for the whole country, so that it is no other one behind an area code.
_NATIONWIDE: Final = (
    NumberKind.EMERGENCY,
    NumberKind.CARRIER_SERVICE,
    NumberKind.SERVICE_ENTERPRISE,
    NumberKind.CALL_CENTRE,
)
_AREA_DIGITS: Final = 3  # of the longest area code; China has none of one
_MARKED: Final = (NumberKind.MESSAGING, NumberKind.PRIVACY)
_LOOKED_AT: Final = 1_000  # numbers of a range
_NEVER: Final[Mapping[str, int]] = MappingProxyType({})
_UNKNOWN: Final = Label(NumberKind.UNKNOWN, "unknown", "未知", "")
_FOREIGN: Final = Label(NumberKind.FOREIGN, "number of another country", "境外号码", "E.164")


class Plan:
    """Number kinds by longest prefix and length.

    Attributes:
        code: the country code of the plan.
        max_coded: digits of the longest number that is read without its country and area code.
    """

    def __init__(
        self,
        rows: Iterable[tuple[str, int, Label]] = (),
        country: str | None = None,
        middle: Mapping[str, int] = _NEVER,
    ) -> None:
        """Rows of prefix, length of the whole number, label; the later of two equals wins.

        Args:
            country: ISO 3166 code of where emergency numbers are of; without it there are none,
                for 110 is the police in one country and nobody in the next.
            middle: by country code without "+", seconds since the epoch from which on no number
                but a privacy number serves as a middle number there.
        """
        self._country = country
        self._emergency = emergency_pattern(country)
        self._labels = {(length, prefix): label for prefix, length, label in rows}
        self._service_lengths = self._lengths(NumberKind.CARRIER_SERVICE)
        self._privacy_lengths = self._lengths(NumberKind.PRIVACY)
        self._marked = tuple(
            {prefix for (_, prefix), label in self._labels.items() if label.kind in _MARKED}
        )
        self._middle = middle
        self._longest = max((len(prefix) for _, prefix in self._labels), default=0)
        self.code = str(phonenumbers.country_code_for_region(country or _TABLE_OF))
        self._coded = self._behind_codes()
        self.max_coded = len(self.code) + _AREA_DIGITS + _MAX_EMERGENCY

    def _lengths(self, kind: NumberKind) -> set[int]:
        """Which lengths numbers of a kind have: nearly every other number is told by its own."""
        return {length for (length, _), label in self._labels.items() if label.kind is kind}

    def label(self, tn: str) -> Label:
        """What kind of number it is, as far as the tables know."""
        labels, length = self._labels, len(tn)
        for end in range(min(self._longest, length), 0, -1):
            found = labels.get((length, tn[:end]))
            if found is not None:
                return found
        if not tn.startswith(_CHINA) and tn.isdecimal() and _country(tn):
            return _FOREIGN
        return _UNKNOWN

    def service_number(self, tn: str) -> bool:
        """True for a carrier's own service number."""
        return len(tn) in self._service_lengths and (
            self.label(tn).kind is NumberKind.CARRIER_SERVICE
        )

    def marked(self, tn: TN) -> NumberKind | None:
        """The kind that a screen is to show: a privacy number, or a port for messages."""
        if not tn.startswith(self._marked):
            return None
        kind = self.label(tn).kind
        return kind if kind in _MARKED else None

    def privacy(self, tn: TN) -> bool:
        """True for a number of the range that is for privacy numbers alone."""
        return len(tn) in self._privacy_lengths and self.marked(tn) is NumberKind.PRIVACY

    def middle_ended(self, tn: TN, now: float) -> bool:
        """True for a number that may serve as a middle number no more, as it is no privacy number.

        Args:
            now: seconds since the epoch.
        """
        for code, ended in self._middle.items():
            here = tn.startswith(code) or (code == _CHINA and self.national(tn))
            if here and now >= ended and not self.privacy(tn):
                return True
        return False

    def emergency(self, identity: TN | URI) -> bool:
        """True for an emergency number of the country, and for the URN of an emergency service."""
        if len(identity) > _MAX_EMERGENCY:
            return type(identity) is URI and (identity == _SOS or identity.startswith(f"{_SOS}."))
        if self._country is None or not isinstance(identity, TN):
            return False
        return (
            self._emergency is not None and self._emergency.fullmatch(identity) is not None
        ) or self.label(identity).kind is NumberKind.EMERGENCY

    def _behind_codes(self) -> re.Pattern[str] | None:
        """What nationwide numbers look like behind their country code, and an area code."""
        here = self._country in (None, _TABLE_OF)
        kinds = _NATIONWIDE if here else (NumberKind.EMERGENCY,)
        numbers = [
            f"{prefix}[0-9]{{{length - len(prefix)}}}"
            for (length, prefix), label in self._labels.items()
            if label.kind in kinds and length <= _MAX_EMERGENCY
        ]
        if self._emergency is not None:
            numbers.append(self._emergency.pattern)
        if not numbers:
            return None
        area = (
            rf"0?(?:[0-9]{{{2 if here else 1},{_AREA_DIGITS}}})??"  # with the 0 dialled before it
        )
        return re.compile(rf"{self.code}{area}({'|'.join(numbers)})\Z", re.ASCII)

    def national_form(self, digits: str) -> str | None:
        """The number that has no country code in its plan, and was given one: 8610086 is 10086.

        A nationwide number, such as that of the police, is the same behind an area code: 86755110
        is 110.
        """
        if not digits.startswith(self.code):
            return None
        here = self._country in (None, _TABLE_OF)  # where no line begins with 1 or 9
        if here:
            bare = digits.removeprefix(_CHINA)
            unknown = self.label(digits).kind is NumberKind.UNKNOWN
            if unknown and self.national(bare):
                return bare
        found = self._coded.match(digits) if self._coded is not None else None
        return found[1] if found is not None and (here or not _assigned(digits)) else None

    def first_national(self, numbers: TNRange) -> str | None:
        """The first number of a range that `national_form` knows, in that form; of the first ones.

        Nationwide numbers stand close together: a thousand are looked at.
        """
        first, width = int(numbers.first), len(numbers.first)
        for number in range(first, first + min(numbers.size, _LOOKED_AT)):
            form = self.national_form(str(number).zfill(width))
            if form is not None:
                return form
        return None

    def national(self, tn: str) -> bool:
        """True for a number of the plan without country code, such as 95588 and 10086."""
        return not tn.startswith(_CHINA) and self.label(tn).kind not in (
            NumberKind.UNKNOWN,
            NumberKind.FOREIGN,
        )


def _country(tn: str) -> bool:
    return any(int(tn[:end]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE for end in (1, 2, 3))


def _assigned(digits: str) -> bool:
    """True for a number that its country's plan has: a town's lines may be of three digits."""
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(f"+{digits}"))
    except phonenumbers.NumberParseException:
        return False


def emergency_pattern(country: str | None) -> re.Pattern[str] | None:
    """What a country's emergency numbers look like, from the phonenumbers data."""
    if country is None:
        return None
    metadata = phonenumbers.PhoneMetadata.short_metadata_for_region(country)
    numbers = metadata.emergency if metadata is not None else None
    if numbers is None or numbers.national_number_pattern is None:
        return None
    return re.compile(numbers.national_number_pattern, re.ASCII)


def load_plan(
    more: Sequence[tuple[str, str]] = (),
    country: str | None = None,
    middle: Mapping[str, int] = _NEVER,
) -> Plan:
    """The plan shipped, and tables of the operator's own, such as MVNO prefixes to the 7th digit.

    Emergency and privacy numbers of the plan shipped are of its country alone.

    Args:
        more: name and text (CSV with COLUMNS) of each of the operator's tables; the last one wins.
        country, middle: as of Plan.

    Raises:
        ConfigError: names file, line and column.
    """
    rows: list[tuple[str, int, Label]] = []
    shipped = resources.files("zhenxian.registry") / "data" / "cn.csv"
    own = _read(shipped.read_text(encoding="utf-8").splitlines(), "cn.csv")
    here = country in (None, _TABLE_OF)
    rows += [row for row in own if here or row[2].kind not in _OF_ITS_COUNTRY]
    for name, text in more:
        rows += _read(text.splitlines(), name)
    return Plan(rows, country, middle)


def _read(lines: list[str], name: str) -> list[tuple[str, int, Label]]:
    rows: list[tuple[str, int, Label]] = []
    reader = csv.DictReader(lines, strict=True, restval="")
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ConfigError(f"{name} line 1: columns {', '.join(COLUMNS)} expected")
    try:
        for row in reader:
            where = f"{name} line {reader.line_num}"
            prefix = row["prefix"]
            if not (prefix.isascii() and prefix.isdecimal()):
                raise ConfigError(f"{where}: prefix: {shown(prefix)} is not made of digits")
            try:
                kind = NumberKind(row["kind"])
                lengths = [int(text) for text in row["lengths"].split()]
            except ValueError:
                raise ConfigError(f"{where}: kind or lengths cannot be read") from None
            if not lengths or min(lengths) < len(prefix):
                raise ConfigError(f"{where}: lengths: lengths of whole numbers expected")
            label = Label(kind, row["label"], row["label_zh"], row["source"])
            rows += [(prefix, length, label) for length in lengths]
    except csv.Error:
        raise ConfigError(f"{name} line {reader.line_num}: not CSV") from None
    return rows


NO_PLAN: Final = Plan()
