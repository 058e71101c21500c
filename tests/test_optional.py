"""Optional libraries that cannot be imported: one line says which, why, and what to do."""

import sys

import numpy as np
import pytest

from neurfield import FunctaEncoder
from neurfield.cli import main
from neurfield.datasets import digits
from neurfield.evaluation import CNNClassifier, compare, lpips, metrics
from neurfield.evaluation.tables import TABLES, Budget, make_data, run_table
from neurfield.fields import siren_layers
from neurfield.operators import NonUniformFourier
from neurfield.optional import require, require_from

NMS = "raise RuntimeError('operator torchvision::nms\\n  does not exist')"


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Return a function that puts a package in a library's place, by the code of its import."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(name, code):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        for module in [m for m in sys.modules if m.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)

    return put


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (NMS, r"\(RuntimeError: operator torchvision::nms does not exist\)"),
        ("raise OSError('libcudart.so.12: cannot open')", r"\(OSError: libcudart.so.12: cannot"),
        ("raise AttributeError", r"\(AttributeError: no further reason given\)"),
        ("from os import no_such_name", r"\(ImportError: cannot import name 'no_such_name'"),
        ("import no_such_library", r"\(ModuleNotFoundError: No module named 'no_such_library'\)"),
        ("raise ValueError(4000 * 'long ')", r"\(ValueError: (long ){60}\)"),
    ],
)
def test_whatever_an_import_raises_is_one_error(put, code, reason):
    put("brokenlib", code)
    for module in ("brokenlib", "brokenlib.part"):
        with pytest.raises(ImportError, match=reason) as info:
            require(module, "readers")
        text = str(info.value)
        assert text.startswith("this needs the package brokenlib, which is installed and cannot")
        assert text.endswith('fit together with: pip install --upgrade "neurfield[readers]"')
        assert "\n" not in text
        assert info.value.__cause__ is not None


def test_the_package_behind_is_named(put):
    put("torchvision", NMS)
    put("brokenlib", "from json import loads\nimport torchvision")
    with pytest.raises(ImportError) as info:
        require("brokenlib", "evaluation")
    assert str(info.value) == (
        "this needs the package brokenlib, which cannot be imported because torchvision cannot "
        "(RuntimeError: operator torchvision::nms does not exist); install versions that fit "
        'together with: pip install --upgrade "neurfield[evaluation]" torchvision'
    )


def test_what_is_absent_is_told_from_what_is_broken(put):
    put("brokenlib", "")
    with pytest.raises(ImportError, match=r"package nolib; install it with: pip install no-lib$"):
        require_from("nolib.part", "no-lib")
    with pytest.raises(ImportError, match=r"brokenlib, which is installed .*'brokenlib\.part'"):
        require("brokenlib.part", "readers")


@pytest.fixture
def broken_measures(put):
    """Break torchvision, and torchmetrics by it, as its images' measures import it."""
    put("torchvision", NMS)
    put("torchmetrics", "import torchvision")
    metrics._weights_obstacle.cache_clear()
    yield
    metrics._weights_obstacle.cache_clear()


@pytest.mark.usefixtures("broken_measures")
def test_other_measures_come_without_those_that_are_broken(rng):
    images = rng.random((3, 32, 32, 1))
    scores = compare(images, 0.9 * images, 0.0, 1.0)
    assert set(scores.means()) == {"psnr", "mse"}
    assert "torchmetrics, which cannot be imported because torchvision" in scores.missing["ssim"]
    assert scores.missing["lpips"].startswith("LPIPS")


def test_a_broken_torchvision_is_why_there_is_no_lpips(put, monkeypatch, tmp_path):
    pytest.importorskip("torchmetrics.functional.image")
    put("torchvision", NMS)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    metrics._weights_obstacle.cache_clear()
    images = np.zeros((1, 32, 32, 1))
    with pytest.raises(ValueError, match=r"the package torchvision, .*pip install --upgrade torch"):
        lpips(images, images)
    metrics._weights_obstacle.cache_clear()


@pytest.mark.usefixtures("broken_measures")
def test_a_model_is_evaluated_without_them(capsys, tmp_path):
    images = digits()[:30]
    encoder = FunctaEncoder(4, hidden_dim=8, n_layers=3, max_iter=2, random_state=0, device="cpu")
    encoder.fit(images).save(tmp_path / "d.field")
    assert main(["evaluate", str(tmp_path / "d.field"), "digits", "--limit", "30"]) == 0
    told = capsys.readouterr()
    assert "PSNR (dB)" in told.out
    (line,) = [line for line in told.out.splitlines() if line.startswith("SSIM")]
    assert "not measured: this needs the package torchmetrics" in line
    assert "RuntimeError: operator torchvision::nms does not exist" in line
    assert "Traceback" not in told.out + told.err


def test_networks_say_so_before_they_look_at_the_signals(put):
    put("monai", NMS)
    with pytest.raises(ImportError, match="package monai, which is installed and cannot"):
        CNNClassifier().fit(np.full((4, 9), np.nan), [0, 1, 0, 1])


def test_a_table_draws_nothing_before_it_computes(put, tmp_path):
    put("matplotlib", "raise ImportError('numpy.core.multiarray failed to import')")
    data = make_data(digits()[:20])
    with pytest.raises(ImportError, match="matplotlib, which is installed and cannot"):
        run_table(TABLES["methods"](), data, Budget(methods=["mean"]), tmp_path)
    assert not list(tmp_path.glob("methods.*"))


def test_operators_and_compiled_layers(put):
    put("finufft", "raise OSError('libfinufft.so: cannot open')")
    with pytest.raises(ImportError, match=r'finufft.*OSError.*"neurfield\[mri\]"'):
        NonUniformFourier((4, 4), np.zeros((3, 2)))
    put("numba", "raise ImportError('Numba needs NumPy 2.2 or less')")
    siren_layers._fused.cache_clear()
    with pytest.warns(UserWarning, match=r"slower than they could be: .*numba.*NumPy 2.2 or less"):
        assert siren_layers._fused() is None
    siren_layers._fused.cache_clear()
