"""Studies: tables on several data sets, and the page that they make."""

from __future__ import annotations

import numpy as np
import pytest

from neurfield.cli.experiment import NAMES
from neurfield.datasets import digits
from neurfield.evaluation.studies import STUDIES, Study, run_studies, select
from neurfield.evaluation.studies.sources import SOURCES, Source, smear_crops
from neurfield.evaluation.tables import TABLES, Budget

pytest.importorskip("matplotlib")

TINY = {"hidden_dim": 8, "n_layers": 3, "max_iter": 2, "batch_size": 8, "device": "cpu"}
SMALL = {
    "digits": Source("Digits", "digits", "All of us", lambda path: (digits()[:60], None)),
    "more": Source("More digits", "more", "All of us", lambda path: (digits()[60:120], None)),
    "absent": Source("Nothing", "absent", "Nobody", lambda path: 1 / 0),
}
ROWS = {"latent_dim": 4, "methods": ("mean", "pca", "varpro"), "parameters": TINY}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("digits", "more"):
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


def studied(folder, output, *studies, **budget):
    output.mkdir(exist_ok=True)
    lines = []
    page = run_studies(
        studies, folder, Budget(**budget), output, lines.append, "do all", sources=SMALL
    )
    return page.read_text(), lines


def test_a_page_has_every_table_with_its_command(folder, tmp_path):
    studies = [Study("methods", name, **ROWS) for name in ("digits", "more", "absent")]
    text, lines = studied(folder, tmp_path / "out", *studies)
    assert text.startswith("# Results\n")
    assert text.count("## Reconstruction\n") == 1  # one heading for both
    assert "### Digits: methods\n\nAll of us.\n" in text
    assert "### More digits: methods\n" in text
    command = f"do all {folder} --budget small --only methods-more -o {tmp_path / 'out'}"
    assert f"```sh\n{command}\n```" in text
    assert "](results/methods-more/methods.svg)" in text
    assert "Left out, for want of data: methods-absent." in text
    assert "| pca |" in text
    assert (tmp_path / "out" / "results" / "methods-digits" / "methods.svg").exists()
    again, lines = studied(folder, tmp_path / "out", *studies)
    assert again == text
    assert sum("finished before" in line for line in lines) == 6


def test_a_limit_of_time_holds_for_all_studies(folder, tmp_path):
    study = Study("methods", "digits", **{**ROWS, "methods": ("varpro",)}, max_time=500.0)
    text, _ = studied(folder, tmp_path / "out", study, max_time=100.0)
    assert "--max-time 100 " in text
    assert "All of us. Fits train for 100 s.\n" in text
    cells = (tmp_path / "out/results/methods-digits/methods.jsonl").read_text()
    assert '"max_time": 100.0' in cells


def test_a_folder_without_data_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has none of digits$"):
        studied(tmp_path, tmp_path / "out", Study("methods", "digits"))


def test_names_select_studies():
    first, second = STUDIES[:2]
    assert select(STUDIES, None) == list(STUDIES)
    assert select(STUDIES, [second.name, first.name]) == [second, first]
    with pytest.raises(ValueError, match="there is no study 'a'; there are "):
        select(STUDIES, ["a"])


def test_every_table_is_studied_on_data_that_is_known():
    assert {study.table for study in STUDIES} == set(TABLES) == set(NAMES)
    assert {study.source for study in STUDIES} <= set(SOURCES)
    assert len({study.name for study in STUDIES}) == len(STUDIES)


def test_crops_are_of_pictures_that_are_apart(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    for number in range(10):
        pixels = np.full((24, 24, 3), 20 * number, np.uint8)
        pillow.fromarray(pixels).save(tmp_path / f"{number}.jpg", quality=100)
    train, test = smear_crops(tmp_path, 5, 40, 10)
    assert train.shape == (40, 5, 5, 3)
    assert train.dims == ("sample", "y", "x", "channel")
    seen, held_out = (
        {round(float(v) * 255 / 20) for v in part.mean(("y", "x", "channel"))}
        for part in (train, test)
    )
    assert len(held_out) == 2
    assert not seen & held_out
    np.testing.assert_array_equal(smear_crops(tmp_path, 5, 40, 10)[0], train)
