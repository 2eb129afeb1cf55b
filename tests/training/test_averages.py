"""The moving average of the weights: what it is, who is judged by it, and that a resumed run keeps it."""

import keras
import numpy as np
import pytest

from tests.training.keywords import classify, keyword_batches, tiny_classifier
from tfmodels.errors import UserError
from tfmodels.training import FitConfig, adamw, fit

MOMENTUM = 0.8


class Weights(keras.callbacks.Callback):
    """Keeps the weights after every step."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.seen, self.stop_after = [], stop_after

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([variable.numpy() for variable in self.model.trainable_variables])

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.stop_after:
            raise KeyboardInterrupt


def trained(directory, validation=None, average=MOMENTUM, callback=None, **settings):
    keras.utils.set_random_seed(0)
    model = tiny_classifier()
    config = FitConfig(**{"epochs": 3, "learning_rate": 1e-2, "average": average, "monitor": "val_loss", **settings})
    history = fit(
        model, keyword_batches(64), validation, config, directory, callbacks=[callback or Weights()], **classify()
    )
    return model, history


def average_of(seen):
    average = seen[0]
    for weights in seen[1:]:
        average = [MOMENTUM * kept + (1 - MOMENTUM) * value for kept, value in zip(average, weights)]
    return average


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_model_ends_with_the_average_of_its_steps(tmp_path, precision):
    weights = Weights()
    model, _ = trained(tmp_path, callback=weights, precision=precision)
    assert len(weights.seen) == 12
    for variable, expected in zip(model.trainable_variables, average_of(weights.seen)):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=variable.path)
    # Steps go on from the weights and not from their average: they are those of a run without one.
    plain = Weights()
    trained(tmp_path / "plain", average=None, callback=plain, precision=precision)
    for ours, theirs in zip(weights.seen[-1], plain.seen[-1]):
        np.testing.assert_array_equal(ours, theirs)


def test_validation_judges_the_average_and_training_goes_on_from_the_weights(tmp_path):
    validation, weights = keyword_batches(64, seed=1), Weights()
    model, history = trained(tmp_path, validation, callback=weights)
    plain = Weights()
    trained(tmp_path / "plain", validation, average=None, callback=plain)
    for ours, theirs in zip(weights.seen[-1], plain.seen[-1]):
        np.testing.assert_array_equal(ours, theirs)
    judge = tiny_classifier()
    judge.compile(loss=classify()["loss"])
    for epoch, found in enumerate(history["val_loss"], start=1):
        for variable, value in zip(judge.trainable_variables, average_of(weights.seen[: 4 * epoch])):
            variable.assign(value)
        np.testing.assert_allclose(judge.evaluate(validation.in_order(), verbose=0), found, rtol=1e-4)
    best = average_of(weights.seen[: 4 * (1 + int(np.argmin(history["val_loss"])))])
    for variable, expected in zip(model.trainable_variables, best):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.learns
def test_a_run_that_was_killed_ends_with_the_same_average(tmp_path, validated):
    validation = keyword_batches(32, seed=1) if validated else None
    whole, expected = trained(tmp_path / "whole", validation)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", validation, callback=Weights(stop_after=1))
    again, history = trained(tmp_path / "killed", validation)
    # Once more: it is finished, and gives what it gave.
    finished, _ = trained(tmp_path / "killed", validation)
    assert history == expected
    for one, two, three in zip(whole.get_weights(), again.get_weights(), finished.get_weights()):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_an_optimizer_refuses_what_is_no_momentum():
    with pytest.raises(UserError, match=r"average=1\.0 must be a momentum"):
        adamw(1e-3, average=1.0)
