"""The published modulations of Functa."""

from __future__ import annotations

import os

import numpy as np
import xarray as xr

from neurfield.datasets._files import existing_file, reading
from neurfield.interop.inert import InertUnpickler, plain_array

_SPLITS = ("train", "test")


def load_functa_npz(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a file of modulations that Functa's ``modulation_dataset_writer`` wrote.

    Parameters
    ----------
    path : path-like
        Such as ``celeba_modulations_64_latents.npz``. In spite of its ending it is a pickle; it is
        read without running any code in it.

    Returns
    -------
    Dataset
        ``latents`` of shape (n_samples, P), dims (sample, latent), in the file's dtype, and
        ``psnr`` in dB over ``sample``, the quality that Functa's own field reached. The coordinate
        ``split`` over ``sample`` is "train" or "test".

    Raises
    ------
    MissingFileError
        If the file is not there.
    FileError
        If it is damaged, of another layout, or asks for code to be run.

    References
    ----------
    Dupont et al., "From data to functa: Your data point is a function and you can treat it like
    one", ICML 2022; layout as in its public implementation.
    """
    source = existing_file(path)
    with reading(source, "a pickled set of Functa's modulations"), open(source, "rb") as file:
        content = InertUnpickler(file).load()
        parts = [content[split] for split in _SPLITS]
        latents = [plain_array(part["modulation"], "'modulation'") for part in parts]
        psnr = [plain_array(part["psnr"], "'psnr'") for part in parts]
        if any(z.ndim != 2 or p.shape != z.shape[:1] for z, p in zip(latents, psnr, strict=True)):
            raise ValueError(
                "modulation must have shape (n, P) and psnr shape (n,), got "
                f"{[z.shape for z in latents]} and {[p.shape for p in psnr]}"
            )
        return xr.Dataset(
            {
                "latents": (("sample", "latent"), np.concatenate(latents)),
                "psnr": ("sample", np.concatenate(psnr), {"units": "dB"}),
            },
            coords={"split": ("sample", np.repeat(_SPLITS, [len(z) for z in latents]))},
            attrs={"source": source.name},
        )
