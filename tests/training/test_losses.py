"""The losses of a margin, from their definitions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmodels.training import ExponentialLoss, PerceptronLoss

SCORES = np.array([[2.0], [0.5], [-0.25], [-3.0], [0.0], [1.5]], "float32")
LABELS = np.array([[1], [0], [1], [0], [1], [0]])
MARGIN = np.array([[2.0], [-0.5], [-0.25], [3.0], [0.0], [-1.5]])
# loss -> its values and its slopes at every margin.
EXPECTED = {
    PerceptronLoss: (np.maximum(0, -MARGIN), np.where(MARGIN < 0, -1.0, 0.0)),
    ExponentialLoss: (np.exp(-MARGIN), -np.exp(-MARGIN)),
}


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("labels", [LABELS, 2 * LABELS - 1], ids=["0 and 1", "-1 and 1"])
def test_values_and_gradients_are_those_of_the_definition(kind, labels):
    values, slopes = EXPECTED[kind]
    scores = tf.Variable(SCORES)
    with tf.GradientTape() as tape:
        loss = kind()(labels, scores)
    np.testing.assert_allclose(loss, values.mean(), rtol=1e-6)
    np.testing.assert_allclose(kind(reduction=None)(labels, SCORES), values[:, 0], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, scores), slopes * (2 * LABELS - 1) / len(LABELS), rtol=1e-6)


@pytest.mark.parametrize("kind", EXPECTED)
def test_rows_are_weighed_and_the_loss_comes_back_from_its_configuration(kind):
    weights = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 3.0])
    values = EXPECTED[kind][0][:, 0]
    again = keras.losses.deserialize(keras.losses.serialize(kind(reduction="sum", name="margin")))
    assert isinstance(again, kind) and again.name == "margin"
    np.testing.assert_allclose(again(LABELS, SCORES, sample_weight=weights), np.sum(values * weights), rtol=1e-6)


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_linear_model_learns_to_tell_classes_that_a_line_parts(kind):
    random = np.random.default_rng(0)
    points = random.normal(size=(200, 2)).astype("float32")
    labels = (points @ [1.0, -2.0] > 0).astype("int64")[:, None]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), loss=kind())
    model.fit(points, labels, epochs=20, verbose=0)
    assert np.mean((model.predict(points, verbose=0) > 0) == labels) > 0.97
