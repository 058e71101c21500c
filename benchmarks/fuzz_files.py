"""Damaged files of every kind that the package reads: each must be read or refused, and soon.

    python benchmarks/fuzz_files.py [--cases 10000] [--formats npz zarr] [--seed 0] [--first 0]

Each row is one format: how many damaged files were read, how many refused with the package's own
error and the path, and how many were neither: another error, one without the path, more than 2 s of
a processor, more than 200 MB, no answer or a crash. Each of those is printed with the number of the
case; ``--formats FORMAT --first CASE --cases 1`` repeats it. The status is 1 if there are any.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from damage import Reader
from formats import FORMATS
from tables import print_table


def run(name: str, cases: range, seed: int) -> dict[str, Any]:
    """Try the cases of one format and return a row of the table."""
    kinds: Counter[str] = Counter()
    seconds = megabytes = 0.0
    with tempfile.TemporaryDirectory() as folder, Reader(name, Path(folder)) as reader:
        for case in cases:
            outcome = reader.attempt(Random(f"{seed} {name} {case}"))
            kinds[outcome.kind] += 1
            seconds = max(seconds, outcome.seconds)
            megabytes = max(megabytes, outcome.megabytes)
            if not outcome.is_fine:
                print(f"{name}, case {case}, seed {seed}: {outcome}", flush=True)
    bad = ("foreign", "pathless", "slow", "large", "hung", "crashed")
    return {
        "format": name,
        "cases": len(cases),
        **{kind: kinds[kind] for kind in ("read", "refused", *bad)},
        "most_s": round(seconds, 2),
        "most_MB": round(megabytes),
    }


def main() -> int:
    """Run the cases, print the table, and tell whether all was well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000, help="of each format")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    args = parser.parse_args()
    rows = []
    for name in args.formats:
        absent = [need for need in FORMATS[name].needs if importlib.util.find_spec(need) is None]
        if absent:
            print(f"{name}: left out, for want of {', '.join(absent)}")
            continue
        rows.append(run(name, range(args.first, args.first + args.cases), args.seed))
    print_table(rows)
    return int(any(row["read"] + row["refused"] < row["cases"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
