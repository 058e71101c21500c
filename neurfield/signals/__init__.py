"""From the caller's containers to numbers and back."""

from neurfield.signals.frame import CoordinateFrame, grid_points
from neurfield.signals.groups import SignalGroup, Signals
from neurfield.signals.layout import Layout
from neurfield.signals.reading import read_signals
from neurfield.signals.scaling import ValueScaler
from neurfield.signals.units import Units

__all__ = [
    "CoordinateFrame",
    "Layout",
    "SignalGroup",
    "Signals",
    "Units",
    "ValueScaler",
    "grid_points",
    "read_signals",
]
