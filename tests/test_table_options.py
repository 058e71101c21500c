"""Options of field and learner in tables, by nested names."""

import pytest

from neurfield.datasets import digits
from neurfield.evaluation.tables import TABLES, Budget, make_data
from neurfield.evaluation.tables.fits import make_encoder


@pytest.fixture(scope="module")
def data():
    return make_data(digits()[:60])


def encoders(data, methods, **parameters):
    cells = TABLES["methods"]().cells(data, Budget(parameters=parameters, methods=methods))
    return [make_encoder(cell["method"], cell["parameters"], 0) for cell in cells]


def test_options_reach_learners_of_presets_and_of_names(data):
    methods = ["functa", "cavia", "varpro"]
    chosen = encoders(data, methods, learner__context_ratio=0.5)
    assert [encoder.learner.context_ratio for encoder in chosen] == [0.5, 0.5, 0.5]


def test_a_field_that_is_chosen_by_name_has_its_options(data):
    (encoder,) = encoders(data, ["varpro"], field="spatial", field__grid=[2, 2])
    assert encoder.field.grid == (2, 2)


def test_rows_that_are_left_out_need_not_have_an_option(data):
    (encoder,) = encoders(data, ["cavia"], learner__inner_lr=0.1)
    assert encoder.learner.inner_lr == 0.1
    with pytest.raises(ValueError, match="'varpro' has no parameter 'learner__inner_lr'"):
        encoders(data, ["varpro"], learner__inner_lr=0.1)
