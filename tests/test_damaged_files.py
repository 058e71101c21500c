"""Files damaged at random are read or refused with their path, soon and in little memory."""

import pytest
from damage import Reader
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
