"""The one family of errors about files, and the limit on what they unpack to."""

import pickle

import pytest

from neurfield.errors import FileError, MissingFileError
from neurfield.limits import VARIABLE, check_unpacked, most_bytes


def test_file_errors_are_caught_as_either_kind_and_know_the_path():
    error = FileError("a.npz", "is damaged")
    assert isinstance(error, OSError)
    assert isinstance(error, ValueError)
    assert str(error) == "a.npz: is damaged"
    assert str(error.path) == "a.npz"


@pytest.mark.parametrize("kind", [FileError, MissingFileError])
def test_file_errors_come_back_from_workers(kind):
    error = pickle.loads(pickle.dumps(kind("a.npz", "is damaged")))
    assert type(error) is kind
    assert str(error) == "a.npz: is damaged"
    assert error.reason == "is damaged"


def test_a_file_may_unpack_to_a_gibibyte_or_to_what_is_allowed(tmp_path, monkeypatch):
    path = tmp_path / "a.gz"
    path.write_bytes(b"1")
    check_unpacked(path, 2**30)
    with pytest.raises(FileError, match=f"a.gz: its content takes .* {VARIABLE}"):
        check_unpacked(path, 2**30 + 1)
    monkeypatch.setenv(VARIABLE, str(2**31))
    assert most_bytes(path) == 2**31
    check_unpacked(path, 2**31)
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(ValueError, match=f"{VARIABLE} must be"):
        check_unpacked(path, 1)


def test_messages_can_be_printed_whatever_a_file_says():
    error = FileError("a.npz", "holds two arrays \ud800, \u03c9")
    assert str(error).encode() == "a.npz: holds two arrays \\ud800, ω".encode()


def test_a_folder_counts_as_the_files_in_it(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("a", "below/b"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(2**30)  # takes no room on disk
    assert most_bytes(tmp_path) == 40 * 2**30
