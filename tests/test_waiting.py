"""Libraries are asked to wait for a short while when they are loaded, and no trace is left."""

import os
import subprocess
import sys

import pytest

from neurfield.waiting import short_waits


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


def test_the_environment_is_as_before():
    before = dict(os.environ)
    with short_waits():
        assert int(os.environ["GOMP_SPINCOUNT"]) > 0
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_the_choice_of_the_caller_stands(name, monkeypatch):
    monkeypatch.setenv(name, "7")
    with short_waits():
        assert os.environ[name] == "7"
        assert len({"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ)) == 1
    assert os.environ[name] == "7"


def test_it_is_put_back_where_an_import_fails():
    with pytest.raises(ImportError), short_waits():
        raise ImportError
    assert "GOMP_SPINCOUNT" not in os.environ


def test_torch_is_loaded_inside():
    program = (
        "import os, sys\n"
        "seen = []\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': seen.append(os.environ.get('GOMP_SPINCOUNT'))\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from neurfield import FunctaEncoder\n"
        "assert seen and seen[0] is not None\n"
        "assert 'GOMP_SPINCOUNT' not in os.environ\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ))
