"""PNG, JPEG, GIF, BMP and WebP, through Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neurfield.datasets._files import reading, require
from neurfield.datasets._tiff import Picture, without_alpha
from neurfield.errors import FileError
from neurfield.limits import check_unpacked

if TYPE_CHECKING:
    from PIL.Image import Image

RASTER_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")

# Pillow knows others, some of which start programs; these are all that is asked for.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")

_DIRECT = ("L", "I;16", "I;16B", "I;16L", "I", "RGB", "LA", "RGBA")


def read_raster(path: Path, drops_alpha: bool = False) -> Picture:
    """Read a picture, upright, with its palette looked up.

    Parameters
    ----------
    path : Path
        File, which must be there.
    drops_alpha : bool, default=False
        Whether to read transparent pictures too, without their alpha.

    Raises
    ------
    FileError
        If it cannot be read as it is stored.
    """
    require("PIL", "pictures")
    from PIL import Image, ImageOps

    with reading(path, "a picture"), Image.open(path, formats=_FORMATS) as image:
        n_frames = getattr(image, "n_frames", 1)
        size = image.width * image.height * max(4, len(image.getbands()))
        check_unpacked(path, n_frames * size, f"its {n_frames} pictures")
        frames = []
        for frame in range(n_frames):
            image.seek(frame)
            _check_depth(path, image)
            frames.append(_values(path, ImageOps.exif_transpose(image), drops_alpha))
    frames = _alike(frames)
    whole = frames[0] if n_frames == 1 else np.stack(frames)
    axes = "yx" if frames[0].ndim == 2 else "yxc"
    return Picture(whole, axes if n_frames == 1 else f"t{axes}")


def _check_depth(path: Path, image: Image) -> None:
    """Refuse sixteen bits in colour, which Pillow would cut to eight."""
    tiles = getattr(image, "tile", [])  # how the file's bytes stand for pixels
    modes = [str(argument) for tile in tiles for argument in np.atleast_1d(tile[3] or "")]
    if any(";16" in mode for mode in modes) and not image.mode.startswith("I"):
        raise FileError(
            path, "has sixteen bits a colour, of which eight would be read; save it as TIFF"
        )


def _values(path: Path, image: Image, drops_alpha: bool) -> np.ndarray:
    """Return one frame of shape (y, x[, c])."""
    transparent = "transparency" in image.info
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if transparent or image.mode == "PA" else "RGB")
    elif image.mode in ("1", "L") and transparent:
        image = image.convert("LA")
    elif image.mode == "RGB" and transparent:
        image = image.convert("RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    if image.mode not in _DIRECT:
        raise FileError(path, f"is stored as {image.mode}; convert it to grey or RGB")
    values = np.array(image)
    if image.mode in ("LA", "RGBA"):
        values = without_alpha(path, values, drops_alpha)
        values = values[..., 0] if image.mode == "LA" else values
    return values


def _alike(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Give grey frames the three channels that others of the same animation have."""
    if all(frame.ndim == frames[0].ndim for frame in frames):
        return frames
    return [np.stack([f] * 3, axis=-1) if f.ndim == 2 else f for f in frames]
