"""neurfield: 1-D, 2-D and 3-D signals as vectors, through meta-learned neural fields."""

from neurfield.encoder import FunctaEncoder
from neurfield.presets import list_presets

__version__ = "0.1.0"

__all__ = ["FunctaEncoder", "__version__", "list_presets"]
