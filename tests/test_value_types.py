"""Values too large, too small or too close to each other for single precision."""

import numpy as np
import pytest

from neurfield.evaluation import metrics


def smooth():
    rng = np.random.default_rng(0)
    return rng.normal(size=(10, 4)).repeat(4, axis=1)


@pytest.fixture(scope="module")
def plain(small_encoder):
    enc = small_encoder(max_iter=10).fit(smooth())
    return enc.inverse_transform(enc.transform(smooth()))


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(1e300, 0.0), (1e-300, 0.0), (1e40, 0.0), (1e-45, 0.0), (1.0, 1e9), (1e-3, 5e5)],
)
def test_values_that_single_precision_cannot_hold_are_decoded_in_double(
    scale, offset, plain, small_encoder
):
    X = scale * smooth() + offset
    enc = small_encoder(max_iter=10).fit(X)
    decoded, std = enc.inverse_transform(enc.transform(X), return_std=True, observed=X)
    assert decoded.dtype == np.float64
    assert np.isfinite(std).all()
    np.testing.assert_allclose((decoded - offset) / scale, plain, rtol=0, atol=0.05)
    assert metrics.psnr(X / scale, decoded / scale, 4.0).min() > 5.0
    slope = enc.inverse_transform(enc.transform(X), derivative=enc.layout_.axis_names[0])
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0.0


def test_a_field_in_double_precision_decodes_in_double(small_encoder):
    enc = small_encoder(precision="float64").fit(smooth())
    decoded = enc.inverse_transform(enc.transform(smooth()))
    assert decoded.dtype == np.float64
    assert (decoded != decoded.astype(np.float32)).any()


def test_ordinary_values_are_decoded_in_single_precision(plain):
    assert plain.dtype == np.float32
