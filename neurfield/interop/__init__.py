"""Files of other programs, read without running anything that is in them."""

from neurfield.interop.inert import RefusedError
from neurfield.interop.torch_files import read_torch

__all__ = ["RefusedError", "read_torch"]
