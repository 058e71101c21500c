"""Studies one after the other, and the page that they make."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from neurfield.atomic import replacing
from neurfield.evaluation.studies.plan import Study
from neurfield.evaluation.studies.sources import SOURCES, Source
from neurfield.evaluation.tables import TABLES, Budget, TableData, make_data, run_table
from neurfield.evaluation.tables.writing import body

PAGE, PARTS = "results.md", "results"

_INTRODUCTION = """\
# Results

This page is written by one command, which anyone with the data can run again:

```sh
{command}
```

Quality is measured on signals that took no part in a fit; where the data has patients or records,
the split is between those. Methods that are compared share data, split, latent size, machine and
seconds. PSNR is in decibel, of decoded values cut off at the range of the signals that were learnt
from, which is its peak. Each table names the command that computes it alone, and the machine that
did. A *small* budget stands for reduced sizes and seconds in place of days: it does not say what
systems reach with their published networks and steps."""


def run_studies(
    studies: Sequence[Study],
    folder: Path,
    budget: Budget,
    output: Path,
    report: Callable[[str], None] = print,
    command: str = "run_studies",
    sources: Mapping[str, Source] = SOURCES,
) -> Path:
    """Compute what is missing of studies, and write a page of their tables.

    Parameters
    ----------
    studies : sequence of Study
        In the order of the page.
    folder : Path
        Holds the data sets. Studies of those that are not there are left out, and named at the end.
    budget : Budget
        With ``full`` tables have their published sizes; ``max_time`` holds for all fits.
    output : Path
        Gets ``results.md``, and a folder for each study in ``results/``.
    report : callable, default=print
        Takes lines about the progress.
    command : str, default="run_studies"
        What is called for this, without folders and options.
    sources : mapping of str to Source, optional
        The data sets by name; by default those that are known.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FileNotFoundError
        If the folder has none of the data sets.
    ValueError
        If no cell of a table could be computed.
    """
    wanted = dict.fromkeys(study.source for study in studies)
    there = [name for name in wanted if (folder / sources[name].path).exists()]
    if not there:
        named = ", ".join(sources[name].path for name in wanted)
        raise FileNotFoundError(f"{folder}: has none of {named}")
    options = f"{shlex.quote(str(folder))} --budget {'full' if budget.full else 'small'}"
    if budget.max_time is not None:
        options += f" --max-time {budget.max_time:g}"
    whole = f"{command} {options} -o {shlex.quote(str(output))}"
    parts, latest = [_INTRODUCTION.format(command=whole)], ""
    data: dict[tuple[str, tuple[int | None, int | None]], TableData] = {}
    for study in studies:
        if study.source not in there:
            continue
        source = sources[study.source]
        report(f"== {study.name}")
        limits = (None, None) if budget.full else study.limits
        if (study.source, limits) not in data:
            data = {(study.source, limits): _read(source, folder, limits)}  # one at a time
        table, place = TABLES[study.table](), output / PARTS / study.name
        place.mkdir(parents=True, exist_ok=True)
        own = f"{command} {options} --only {study.name} -o {shlex.quote(str(output))}"
        allowed = _allowed(study, budget)
        run_table(table, data[study.source, limits], allowed, place, report, own)
        if study.table != latest:
            parts.append(f"## {table.title}")
            parts.append(table.about())
        latest = study.table
        parts.append(f"### {source.title}: {study.table}")
        seconds = "" if allowed.max_time is None else f" Fits train for {allowed.max_time:g} s."
        parts.append(f"{source.credit}.{seconds}")
        parts.append(body(place / f"{table.name}.md", f"{PARTS}/{study.name}/"))
    left_out = [study.name for study in studies if study.source not in there]
    if left_out:
        parts.append(f"Left out, for want of data: {', '.join(left_out)}.")
    page = output / PAGE
    with replacing(page) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")
    return page


def _read(source: Source, folder: Path, limits: tuple[int | None, int | None]) -> TableData:
    train, test = source.read(folder / source.path)
    return make_data(train, test, limits=limits, grid=source.grid)


def _allowed(study: Study, budget: Budget) -> Budget:
    """Return what a study may take: of its own with a small budget, if the caller says nothing."""
    if budget.full:
        return budget
    return replace(
        budget,
        max_time=study.max_time if budget.max_time is None else budget.max_time,
        latent_dim=study.latent_dim,
        methods=study.methods,
        parameters=study.parameters,
    )
