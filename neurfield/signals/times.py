"""Axes of dates and of durations: seconds from an origin, there and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_MOST_SECONDS = 9e9  # that nanoseconds can count


@dataclass(frozen=True)
class TimeAxis:
    """How an axis of dates or durations becomes seconds.

    Parameters
    ----------
    dtype : str
        Type of the coordinate, such as "datetime64[ns]" or "timedelta64[ms]".
    origin : int, default=0
        Where seconds count from, in steps of `dtype` since 1970; 0 for durations.

    Examples
    --------
    >>> days = np.array(["2024-03-01", "2024-03-02"], dtype="datetime64[s]")
    >>> axis = TimeAxis.of(days)
    >>> axis.seconds(days).tolist()
    [0.0, 86400.0]
    >>> axis.times(np.array([0.5]))
    array(['2024-03-01T00:00:00.500000'], dtype='datetime64[us]')
    """

    dtype: str
    origin: int = 0

    @classmethod
    def of(cls, times: np.ndarray) -> Self:
        """Take the first date as origin, so that seconds are small enough to be exact.

        Parameters
        ----------
        times : datetime64 or timedelta64 array
            Coordinates in seconds or finer, without NaT.
        """
        unit = np.datetime_data(times.dtype)[0]
        if unit not in _PER_SECOND:
            unit = "us" if unit in ("Y", "M", "W", "D", "h", "m") else "ns"
            times = times.astype(f"{times.dtype.type.__name__}[{unit}]")
        is_date = times.dtype.kind == "M"
        return cls(times.dtype.name, int(times.min().astype(np.int64)) if is_date else 0)

    @property
    def is_date(self) -> bool:
        """Whether the axis holds dates, as opposed to durations."""
        return np.dtype(self.dtype).kind == "M"

    def seconds(self, times: np.ndarray) -> np.ndarray:
        """Return float64 seconds from the origin.

        Parameters
        ----------
        times : datetime64 or timedelta64 array
            Of the kind of this axis, in any unit.
        """
        delta = times - np.array(self.origin).astype(self.dtype)
        ticks, per_second = delta.astype(np.int64), _PER_SECOND[np.datetime_data(delta.dtype)[0]]
        whole, rest = np.divmod(ticks, per_second)
        return np.asarray(whole + rest / per_second)

    def times(self, seconds: np.ndarray) -> np.ndarray:
        """Return dates or durations, rounded to microseconds, or to nanoseconds as in fit.

        Parameters
        ----------
        seconds : float array
            From the origin.
        """
        own = np.dtype(self.dtype)
        is_fine = np.datetime_data(own)[0] == "ns" and np.abs(seconds).max() < _MOST_SECONDS
        unit = "ns" if is_fine else "us"
        whole = np.floor(seconds)
        ticks = np.rint((seconds - whole) * _PER_SECOND[unit]).astype(np.int64)
        ticks += whole.astype(np.int64) * _PER_SECOND[unit]
        origin = np.array(self.origin).astype(own).astype(f"{own.type.__name__}[{unit}]")
        found = origin + ticks.astype(f"timedelta64[{unit}]")
        # The unit of fit where it holds these positions, which need not lie on its steps.
        rounded = found.astype(own)
        return np.asarray(rounded if (rounded == found).all() else found)


def seconds_of(values: Any, time: TimeAxis, name: str) -> np.ndarray:
    """Return what a caller gives as positions along a time axis, in seconds from its origin.

    Parameters
    ----------
    values : array-like of datetime64, timedelta64, datetime, str or real numbers
        Numbers are seconds from the origin already.
    time : TimeAxis
        The axis seen in fit.
    name : str
        What the argument is called in messages.

    Raises
    ------
    ValueError
        If they are no times, of the other kind, or have a time zone.
    """
    array = np.asarray(values)
    wanted = "dates" if time.is_date else "durations"
    if array.dtype.kind == "O":
        refuse_zones(array, name)
    try:
        if array.dtype.kind in "OU":  # dates of Python, and text of ISO 8601
            array = np.asarray(array, dtype="datetime64" if time.is_date else "timedelta64")
        elif array.dtype.kind in "iuf":
            return np.asarray(array, dtype=np.float64)
        found = time.seconds(array) if array.dtype.kind == np.dtype(time.dtype).kind else None
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None:
        raise ValueError(
            f"{name} must hold {wanted} or seconds from {np.array(time.origin).astype(time.dtype)},"
            f" got {values!r:.200}"
        )
    return np.where(np.isnat(array), np.nan, found)


def refuse_zones(values: np.ndarray, name: str) -> None:
    """Refuse dates with a time zone, and of other calendars, which NumPy's dates have not.

    Parameters
    ----------
    values : object array
        Whose first value tells.
    name : str
        What they are called in the message.
    """
    first = values.flat[0] if values.size else None
    if getattr(first, "tzinfo", None) is not None:
        raise ValueError(
            f"{name} has the time zone {first.tzinfo}; bring it to dates without one, of pandas by "  # type: ignore[union-attr]
            '.tz_convert("UTC").tz_localize(None)'
        )
    if type(first).__module__.startswith("cftime"):
        raise ValueError(
            f"{name} holds dates of cftime, of the calendar {getattr(first, 'calendar', None)!r}; "
            'bring them to NumPy\'s, by X.convert_calendar("standard", use_cftime=False)'
        )
