"""Whether signals have the axes, channels and units of others."""

from __future__ import annotations

from neurfield.signals.layout import Layout


def check_agreement(layout: Layout, expected: Layout, where: str = "seen in fit") -> None:
    """Refuse signals whose axes or channels are not those of another layout."""
    if layout.n_axes != expected.n_axes:
        raise ValueError(
            f"X must have {expected.n_axes} coordinate axes {expected.axis_names} as {where}, "
            f"got {layout.n_axes}: {layout.axis_names}"
        )
    if set(layout.axis_names) != set(expected.axis_names):
        raise ValueError(
            f"the coordinate axes of X must be {expected.axis_names} as {where}, "
            f"got {layout.axis_names}"
        )
    if layout.n_channels != expected.n_channels:
        raise ValueError(
            f"X must have {expected.n_channels} channel(s) as {where}, got {layout.n_channels}"
        )
    seen = _units(expected)
    for name, unit in _units(layout).items():
        if seen.get(name, unit) != unit:
            raise ValueError(
                f'the unit of {name} of X must be "{seen[name]}" as {where}, got "{unit}": convert '
                'the numbers, or correct the attribute "units"'
            )


def _units(layout: Layout) -> dict[str, str]:
    """Return the units that attributes name, of each axis and of the values."""
    attrs = {f'"{n}"': own for n, own in {**layout.axis_attrs, **layout.variable_attrs}.items()}
    if not layout.variable_attrs:
        attrs["values"] = layout.attrs
    return {name: str(own["units"]).strip() for name, own in attrs.items() if "units" in own}
