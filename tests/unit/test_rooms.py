"""The rooms are one package: each is a folder at the top of the repository and a link in src/."""

import sys
from pathlib import Path

import pytest

import zhenxian

ROOT = Path(__file__).parents[2]
PACKAGE = Path(zhenxian.__file__).parent
ROOMS = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
IN_REPOSITORY = pytest.mark.skipif(
    not (ROOT / "signer").is_dir(), reason="a source distribution has the rooms in src/ itself"
)


@IN_REPOSITORY
def test_each_room_is_a_link_to_its_folder():
    for room in ROOMS:
        assert (PACKAGE / room).resolve() == ROOT / room


@IN_REPOSITORY
def test_no_room_lacks_its_link():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"bench"} == ROOMS


def test_no_room_is_imported_by_its_bare_name():
    # The folder is on the path too. A module that came in twice would have two sets of classes,
    # and a token that one of them made would not be a token to the other.
    assert ROOMS
    assert not [name for name in sys.modules if name.partition(".")[0] in ROOMS]
