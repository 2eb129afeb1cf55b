"""A batch in parts: the update, the figures and the count of steps are those of the whole batch."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.objectives.topics import topic_backbone, topic_batches
from tests.support.processes import python_environment
from tests.support.tensors import assert_close
from tests.training.keywords import classify, keyword_batches
from tests.training.large_batches import LENGTHS, MODELS, lamb, replicated, sgd, train
from tfmodels.distillation import Distiller, SoftLabels
from tfmodels.errors import UserError
from tfmodels.models import PermutationLM, TextClassifier
from tfmodels.objectives import MaskedLanguageModel, PermutationPretrainer, Pretrainer
from tfmodels.training import FitConfig, fit, micro_batches

# A key's bias has no gradient but rounding, of which the step of Adam makes something.
ROUNDING = "key/bias"


@pytest.fixture(scope="module")
def whole():
    """The models after Keras's own steps, by name and optimiser; made when asked for."""
    made = {}

    def get(name, make_optimizer):
        key = name, make_optimizer.__name__
        if key not in made:
            made[key] = train(name, None, make_optimizer)
        return made[key]

    return get


def values_of(model):
    return [variable.numpy() for variable in model.trainable_variables]


def assert_same_update(values, model):
    """The values of all weights are those of a model, to 1e-6."""
    for value, variable in zip(values, model.trainable_variables, strict=True):
        assert_close(value, variable.numpy(), 1e-4 if variable.path.endswith(ROUNDING) else 1e-6, variable.path)


@pytest.mark.parametrize("name", MODELS)
def test_an_update_in_eight_parts_is_that_of_the_batch(name, whole):
    model, figures = train(name, 8, sgd)
    other, wanted = whole(name, sgd)
    assert_same_update(values_of(model), other)
    assert set(figures) == set(wanted)
    for figure, value in wanted.items():
        assert figures[figure] == pytest.approx(value, rel=1e-5), figure
    assert int(model.optimizer.iterations) == 2


def test_the_clipping_of_these_tests_bites(whole):
    clipped, free = whole("classifier", sgd)[0], train("classifier", 8, lambda: keras.optimizers.SGD(5.0))[0]
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(values_of(clipped), values_of(free)))


def test_a_scaled_loss_and_lamb_see_the_batch(whole):
    model, _ = train("classifier", 4, lamb)
    assert_same_update(values_of(model), whole("classifier", lamb)[0])
    assert int(model.optimizer.iterations) == 2


def test_every_objective_tells_its_count_beforehand():
    model, inputs, targets = MODELS["pretrainer"]()
    inputs, targets = (keras.tree.map_structure(tf.convert_to_tensor, part) for part in (inputs, targets))
    outputs, counts = model(inputs), model.loss_counts(inputs, targets)
    for objective in model.objectives:
        _, count = objective.measure(outputs, inputs, targets, model.backbone, False)["loss"]
        assert float(counts[objective.name]) == float(count) > 0, objective.name
    # They differ, and so do the rows' shares of them.
    assert len({float(count) for count in counts.values()}) >= 6


@pytest.mark.e2e
def test_two_replicas_make_the_update_of_one(whole, tmp_path):
    path = tmp_path / "weights.npz"
    environment = python_environment()
    result = subprocess.run(
        [sys.executable, "-m", "tests.training.large_batches", str(path)],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = np.load(path)
    for name, (_, make_optimizer) in replicated().items():
        model, figures = whole(name, make_optimizer)
        assert_same_update([found[f"{name}/{index}"] for index in range(len(model.trainable_variables))], model)
        assert float(found[f"{name}/loss"]) == pytest.approx(figures["loss"], rel=1e-5)


def test_fit_makes_one_step_of_a_batch_whatever_its_parts(tmp_path):
    """Through `fit`, with a schedule and a last batch that is smaller.

    The pre-trainer's pooler has no gradient: LAMB would decay it if it were handed zeros.
    """
    kinds = {
        "classifier": (lambda: TextClassifier(_plain(), 2, dropout=0.0), keyword_batches(40), classify),
        "pretrainer": (
            lambda: Pretrainer(topic_backbone(), [MaskedLanguageModel()]),
            topic_batches(72),
            lambda: {"verbose": 0},
        ),
        "distiller": (
            lambda: Distiller(_task(), _task(), [SoftLabels(2.0, name="soft_labels")], hard_label_weight=0.5),
            keyword_batches(40, target="labels"),
            lambda: {"verbose": 0},
        ),
    }
    for name, (make, batches, settings) in kinds.items():
        results = []
        for parts in (1, 8):
            keras.utils.set_random_seed(0)
            model = make()
            config = FitConfig(epochs=2, learning_rate=1e-3, micro_batches=parts, optimizer="lamb", schedule="cosine")
            history = fit(model, batches, None, config, tmp_path / f"{name}-{parts}", **settings())
            results.append((model, history))
            assert int(model.optimizer.iterations) == 2 * len(batches)
        (whole_model, whole_history), (model, history) = results
        assert_same_update(values_of(model), whole_model)
        assert set(history) == set(whole_history)
        for figure, values in whole_history.items():
            np.testing.assert_allclose(history[figure], values, rtol=1e-5, atol=1e-7, err_msg=f"{name} {figure}")


def _plain():
    return tiny(num_layers=1, dropout=0.0, attention_dropout=0.0)


def _task():
    return TextClassifier(_plain(), 2, dropout=0.0)


def test_a_model_is_as_it_was_afterwards():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    own = model.train_step
    with pytest.raises(KeyError), micro_batches(model, 2):
        assert model.train_step != own
        raise KeyError
    assert model.train_step == own
    history = model.fit(np.ones((4, 2)), np.ones((4, 1)), sample_weight=np.arange(4.0), verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_weights_of_rows_and_penalties_count_once():
    results = []
    random = np.random.default_rng(0)
    x, y, weights = random.normal(size=(9, 3)), random.normal(size=(9, 1)), random.random(9)
    for parts in (1, 4):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        penalised = keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.1))(inputs)
        model = keras.Model(inputs, keras.layers.Dense(1)(penalised))
        model.compile(keras.optimizers.SGD(0.1), loss="mse", weighted_metrics=["mae"], jit_compile=False)
        with micro_batches(model, parts):
            history = model.fit(x, y, sample_weight=weights, batch_size=9, epochs=2, verbose=0)
        results.append((model, history.history))
    (whole_model, wanted), (model, figures) = results
    assert_same_update(values_of(model), whole_model)
    for figure, values in wanted.items():
        np.testing.assert_allclose(figures[figure], values, rtol=1e-5, err_msg=figure)


def test_replicas_that_hand_in_nothing_see_that_the_step_overflowed(monkeypatch):
    whole = tf.constant([1.0, np.inf, -np.inf, np.nan])
    handed_in = []
    for index in range(2):
        replica = SimpleNamespace(replica_id_in_sync_group=index)
        monkeypatch.setattr(sys.modules["tfmodels.training.micro_batches"], "_replicas", lambda it=replica: it)
        handed_in.append(sys.modules["tfmodels.training.micro_batches"]._once(whole).numpy())
    np.testing.assert_array_equal(handed_in[0], whole)
    np.testing.assert_array_equal(handed_in[1], [0.0, np.nan, np.nan, np.nan])


def test_what_cannot_be_cut_is_refused():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(UserError, match="micro_batches=0 must be at least 1"), micro_batches(model, 0):
        pass
    task = PermutationLM(tiny("xlnet_base", num_layers=1, memory_length=4))
    recurrent = PermutationPretrainer(task, batch_size=4)
    with pytest.raises(UserError, match="memory that is carried"):
        recurrent.loss_counts({"is_start": tf.ones(4, tf.bool)}, {"weights": tf.ones((4, 2))})


def test_the_parts_of_a_batch_are_as_many_as_asked_for():
    seen = []

    class Counting(keras.layers.Layer):
        def call(self, inputs):
            tf.py_function(lambda rows: seen.append(int(rows)), [tf.shape(inputs)[0]], [])
            return inputs

    model = keras.Sequential([keras.Input((2,)), Counting(), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    for parts, rows in ((4, [4, 4, 4, 1]), (8, [2, 2, 2, 2, 2, 2, 1]), (100, [1] * 13)):
        seen.clear()
        with micro_batches(model, parts):
            model.fit(np.ones((len(LENGTHS), 2)), np.ones((len(LENGTHS), 1)), batch_size=13, verbose=0)
        assert seen == rows
