"""Heartbeat tables that are damaged, of another kind, or made to hurt."""

import gzip
import time
import tracemalloc

import numpy as np
import pytest

from neurfield.datasets import load_heartbeat_csv
from neurfield.errors import FileError

ROW = ["0.5"] * 187 + ["2.0"]


def rows(n_rows=3):
    return [list(ROW) for _ in range(n_rows)]


def text_of(table):
    return "\n".join(",".join(row) for row in table) + "\n"


@pytest.mark.parametrize(
    ("line", "column", "word", "match"),
    [
        (2, 5, "abc", "line 2, column 5: expected a finite number, got 'abc'"),
        (3, 188, "", "line 3, column 188: expected a finite number, got ''"),
        (1, 1, "1e999", "line 1, column 1: expected a finite number, got '1e999'"),
        (1, 7, "-inf", "line 1, column 7: .* got '-inf'"),
        (2, 3, "0.5,0.5", "expected 188 numbers a row .*, got 189 in line 2"),
        (2, 188, "#2", "line 2, column 188: .* got '#2'"),
        (2, 188, "5", "the class at the end of row 2 must be one of 0 to 4, got 5"),
        (2, 188, "-1", "the class at the end of row 2 must be one of 0 to 4, got -1"),
        (2, 188, "1.5", "the class at the end of row 2 must be one of 0 to 4, got 1.5"),
        (2, 188, "nan", "the class at the end of row 2 must be one of 0 to 4, got nan"),
        (2, 9, "½", "line 2, column 9: .* got '½'"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_line_and_column_are_named(line, column, word, match, packed, tmp_path):
    table = rows()
    table[line - 1][column - 1] = word
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    (gzip.open if packed else open)(path, "wb").write(text_of(table).encode())
    with pytest.raises(FileError, match=match):
        load_heartbeat_csv(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "could not be read"),
        (b"\n\n\n", "could not be read"),
        (text_of(rows()).encode("utf-16"), "line 1 is no text in UTF-8"),
        (text_of(rows()).encode() + b"\xff\xfe,1\n", "line 4 is no text in UTF-8"),
        (b"1," * 187 + b"\0\n", "line 1, column 188"),
        (b"\x89PNG\r\n", "line 1 is no text in UTF-8"),
        (text_of(rows()).replace(",", ";").encode(), "got 1 in line 1"),
    ],
)
def test_other_content_is_refused(content, match, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(FileError, match=match):
        load_heartbeat_csv(tmp_path / "a.csv")


def test_a_truncated_archive_is_named(tmp_path):
    path = tmp_path / "a.csv.gz"
    packed = gzip.compress(text_of(rows(50)).encode())
    path.write_bytes(packed[:-20])
    with pytest.raises(FileError, match=r"a\.csv\.gz: could not be read"):
        load_heartbeat_csv(path)


@pytest.mark.parametrize("content", [b"0," * 2**26, b"0" * 2**27], ids=["numbers", "digits"])
def test_an_endless_line_is_refused_before_it_is_read(content, tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(content, 1))
    del content
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(FileError, match="line 1 is longer than 16384 letters"):
        load_heartbeat_csv(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - began < 2
    assert peak < 5e6


def test_a_table_that_unpacks_to_more_than_it_may_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress((text_of(rows(1)) * 3000).encode()))
    assert len(load_heartbeat_csv(path)) == 3000
    monkeypatch.setenv("NEURFIELD_MAX_BYTES", "1000000")
    with pytest.raises(FileError, match=r"a\.csv\.gz: .* set the variable NEURFIELD_MAX_BYTES"):
        load_heartbeat_csv(path)


def test_what_was_not_observed_stays_so(tmp_path):
    table = rows()
    table[1][4] = "NaN"
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text_of(table).encode())
    beats = load_heartbeat_csv(tmp_path / "a.csv")
    assert np.argwhere(np.isnan(beats.values)).tolist() == [[1, 4]]
    assert beats["label"].values.tolist() == ["V"] * 3
