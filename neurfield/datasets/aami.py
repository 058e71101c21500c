"""Classes of heartbeats after the recommendation ANSI/AAMI EC57."""

from __future__ import annotations

#: Beat classes of the AAMI recommendation EC57, and the annotation symbols that belong to each.
AAMI_CLASSES = {"N": "NLRejB", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}

#: What the AAMI classes stand for.
AAMI_NAMES = {
    "N": "normal or bundle branch block",
    "S": "supraventricular ectopic",
    "V": "ventricular ectopic",
    "F": "fusion of ventricular and normal",
    "Q": "paced or unknown",
}

#: Class of each annotation symbol that marks a beat.
CLASS_OF = {symbol: name for name, symbols in AAMI_CLASSES.items() for symbol in symbols}
