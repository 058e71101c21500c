"""Every file of the package is on the map in the documentation, and the map has no other."""

import re

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "neurfield"
MAP = (REPOSITORY / "docs" / "contributing.md").read_text()
DETAILED = ("learning", "fields", "signals")


def named_in(section):
    """Return the files and folders in the first column of a table."""
    table = MAP[MAP.index(section) :].split("\n\n")[0]
    rows = table.splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`([\w/.]+)`", row.split("|")[1])}


def there(folder):
    """Return the files and folders of a folder, without what every package has."""
    files = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    folders = {f"{path.name}/" for path in folder.iterdir() if (path / "__init__.py").is_file()}
    return files | folders


def test_rooms_are_on_the_map():
    assert named_in("| Where | holds |") == there(PACKAGE)


@pytest.mark.parametrize("room", DETAILED)
def test_files_of_large_rooms_are_on_the_map(room):
    assert named_in(f"| In `{room}/` | holds |") == there(PACKAGE / room)


def test_no_file_is_longer_than_one_can_read():
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 450
    }
    assert long == {}
