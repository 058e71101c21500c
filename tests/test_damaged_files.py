"""Files damaged at random are read, or refused with our error and their path, soon and in little memory."""


import pytest
from damage import MEGABYTES, SECONDS, Reader, damaged
from formats import FORMATS
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

CASES = 200  # of each format; benchmarks/fuzz_files.py tries as many as one likes
RANDOMS = st.randoms(use_true_random=False)


@pytest.fixture(scope="module", params=list(FORMATS))
def reader(request, tmp_path_factory):
    for package in FORMATS[request.param].needs:
        pytest.importorskip(package)
    with Reader(request.param, tmp_path_factory.mktemp("damaged")) as there:
        yield there


@settings(max_examples=CASES, derandomize=True, phases=[Phase.generate, Phase.shrink])
@given(random=RANDOMS)
def test_a_damaged_file_is_read_or_refused(reader, random):
    outcome = reader.attempt(random)
    assert outcome.is_fine, f"{reader.name}: {outcome}"


def test_a_reader_sees_what_it_is_to_see(tmp_path):
    """The limits and the errors are noticed: a reader that breaks them does not pass."""
    with Reader("npz", tmp_path) as there:
        there.target.write_bytes(b"")
        assert there._read().kind == "refused"
        there.target.unlink()
        there.target.mkdir()
        assert there._read().kind == "refused"
    assert (SECONDS, MEGABYTES) == (2.0, 200.0)
