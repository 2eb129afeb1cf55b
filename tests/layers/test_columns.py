"""The columns of a table, and the classifier that reads them beside a text."""

import keras
import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import to_numpy, token_batch
from tests.support.gradients import check_gradients_reach, random_sum
from tests.support.tensors import assert_close
from tfmodels.layers import Columns, MeanPooling
from tfmodels.models import TableClassifier

NUMBERS = np.array([[1990.0, 2.0], [2010.0, np.nan], [2000.0, 2.0]])
CATEGORIES = np.array([[0, 3], [2, 1], [1, 0]], "int32")


def table_classifier(dtype=None):
    columns = Columns.of(NUMBERS, CATEGORIES, embedding_dim=3)
    return TableClassifier(tiny(num_layers=2, dtype=dtype), 4, columns, hidden_dim=9, pooling=MeanPooling())


def table_batch():
    return {**token_batch([5, 2, 4]), "numbers": NUMBERS.astype("float32"), "categories": CATEGORIES}


def test_numbers_are_standardised_and_categories_looked_up():
    layer = Columns.of(NUMBERS, CATEGORIES, embedding_dim=3)
    assert layer.width == 2 + 2 * 3 and layer.sizes == [3, 4]
    row = to_numpy(layer({"numbers": NUMBERS.astype("float32"), "categories": CATEGORIES}))
    # Missing counts as the mean, and a column without spread is left at 0.
    assert_close(row[:, :2], [[-np.sqrt(1.5), 0], [np.sqrt(1.5), 0], [0, 0]], 1e-6)
    tables = [to_numpy(table.embeddings) for table in layer.tables]
    assert_close(row[:, 2:], [np.concatenate([tables[0][a], tables[1][b]]) for a, b in CATEGORIES], 1e-7)


def test_the_classifier_keeps_to_a_tasks_contract(tmp_path):
    model, inputs = table_classifier(), table_batch()
    outputs = model(inputs)
    assert outputs["logits"].shape == (3, 4) and set(model.predictions(outputs)) == {"logits", "probabilities"}
    variables = [v for v in model.trainable_variables if "pooler" not in v.path]
    check_gradients_reach(lambda: random_sum(model(inputs)), variables)
    full = model.with_intermediates()(inputs)
    np.testing.assert_array_equal(to_numpy(full["logits"]), to_numpy(outputs["logits"]))
    assert len(full["hidden_states"]) == 3
    model.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(to_numpy(twin(inputs)["logits"]), to_numpy(outputs["logits"]))


def test_half_precision_tells_years_apart():
    low, inputs = table_classifier("mixed_bfloat16"), table_batch()
    assert keras.backend.standardize_dtype(low(inputs)["logits"].dtype) == "float32"
    # bfloat16 has 8 bits: 2001 and 2002 would be one number before they are standardised.
    years = [{**inputs, "numbers": np.array([[year, 2.0]] * 3, "float32")} for year in (2001, 2002)]
    first, second = (to_numpy(low.head.columns(year)) for year in years)
    assert_close(second[:, 0] - first[:, 0], np.full(3, np.sqrt(1.5) / 10), 1e-4)
    low.head.join.kernel.assign(np.random.default_rng(0).normal(size=low.head.join.kernel.shape))
    assert (to_numpy(low(years[0])["logits"]) != to_numpy(low(years[1])["logits"])).any()


@pytest.mark.parametrize(
    "settings, told",
    [({}, "there are no columns"), ({"means": [1.0], "deviations": []}, "there are 1 means and 0 deviations")],
)
def test_columns_that_make_no_sense_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Columns(**settings)
