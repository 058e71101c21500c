"""What is known of one signal is not said of another that is decoded by the same field."""

import numpy as np
import pytest
import xarray as xr

from neurfield import FunctaEncoder
from neurfield.cli import main
from neurfield.datasets import load_edf, save_signals


def _recording(name, start, word):
    time = ("time", np.arange(200) / 100, {"units": "s"})
    label = ("time", np.where(np.arange(200) < 100, word, ""))
    attrs = {"filename": name, "record": name, "units": "uV", "start": start}
    values = np.sin(np.arange(200) / 20)
    return xr.DataArray(values, {"time": time, "label": label}, "time", attrs=attrs)


FIRST = _recording("a.edf", "2001-02-03T04:05:06", "wake")
SECOND = _recording("b.edf", "2011-12-13T14:15:16", "sleep")
SIZES = {"latent_dim": 2, "hidden_dim": 4, "n_layers": 2, "max_iter": 1, "device": "cpu"}


@pytest.mark.parametrize("signal", [FIRST, SECOND])
def test_decoding_on_the_grid_of_a_signal_takes_its_labels_and_attributes(signal):
    encoder = FunctaEncoder(**SIZES).fit([FIRST])
    (decoded,) = encoder.inverse_transform(encoder.transform([signal]), coords=[signal])
    assert decoded["label"].identical(signal["label"])
    assert decoded.attrs == signal.attrs


def test_scalar_facts_are_those_of_each_signal():
    volumes = [FIRST.drop_vars("label").assign_coords(subject=name) for name in ("01", "02")]
    encoder = FunctaEncoder(**SIZES).fit(volumes[:1])
    decoded = encoder.inverse_transform(encoder.transform(volumes), coords=volumes)
    assert [one["subject"].item() for one in decoded] == ["01", "02"]


def test_the_command_line_writes_nothing_of_the_recording_of_fit(tmp_path):
    pytest.importorskip("edfio", reason='needs the extra "eeg"')
    for signal in (FIRST, SECOND):
        save_signals([signal], tmp_path / signal.attrs["filename"])
    options = ["--option", "mode=records"]
    sizes = ["--latent-dim", "2", "--hidden-dim", "4", "--max-iter", "1", "-q"]
    field, latents, out = (str(tmp_path / name) for name in ("f.field", "z.npz", "c.edf"))
    assert main(["fit", str(tmp_path / "a.edf"), "-o", field, *sizes, *options]) == 0
    assert main(["transform", field, str(tmp_path / "b.edf"), "-o", latents, *options]) == 0
    assert main(["decode", field, latents, "-o", out]) == 0
    (written,) = load_edf(out, mode="records")
    assert "wake" not in written["label"].values
    assert "2001" not in written.attrs.get("start", "")
