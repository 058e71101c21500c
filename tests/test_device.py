"""Precision of matrix products: supported or refused, and only as long as asked."""

import numpy as np
import pytest
import torch

from neurfield.device import matrix_products, resolve_device, resolve_dtype

CPU = torch.device("cpu")


def rounds_to_bf16():
    try:
        resolve_dtype("bf16", CPU)
    except ValueError:
        return False
    return True


HAS_BF16 = rounds_to_bf16()


def test_a_backend_that_torch_knows_and_cannot_import_is_not_available():
    with pytest.raises(ValueError, match=r"device='hpu' is not available.*\['cpu'"):
        resolve_device("hpu")


def test_tf32_needs_a_gpu(small_encoder):
    with pytest.raises(ValueError, match=r"precision='tf32' needs a CUDA device .* got .*'cpu'"):
        small_encoder(precision="tf32").fit(np.zeros((6, 8)))


def test_bf16_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr("neurfield.device._has_bf16", lambda device: False)
    with pytest.raises(ValueError, match=r"precision='bf16' needs a CPU"):
        resolve_dtype("bf16", CPU)


def test_bf16_rounds_the_factors_of_products_where_it_is_accepted_and_leaves_no_trace():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 64, 64, generator=generator)
    exact, rounded = a @ b, a.bfloat16().float() @ b.bfloat16().float()
    with matrix_products("bf16"):
        product = a @ b
    expected = rounded if HAS_BF16 else exact
    torch.testing.assert_close(product, expected, rtol=1e-4, atol=1e-4)
    assert (rounded - exact).abs().max() > 1e-2
    torch.testing.assert_close(a @ b, exact, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["auto", "float32", "float64"])
def test_other_precisions_leave_products_alone(precision):
    before = torch.get_float32_matmul_precision()
    with matrix_products(precision):
        assert torch.get_float32_matmul_precision() == before


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bfloat16 matrix products")
@pytest.mark.parametrize("learner", ["cavia", "varpro"])
def test_fit_in_bf16_comes_near_to_float32(small_encoder, learner, rng):
    signals = rng.random((6, 1)) * np.sin(np.linspace(0, 3, 12)) + rng.random((6, 1))
    scores = [
        small_encoder(learner=learner, precision=precision, max_iter=20).fit(signals).score(signals)
        for precision in ("float32", "bf16")
    ]
    assert scores[1] == pytest.approx(scores[0], abs=1.0)
