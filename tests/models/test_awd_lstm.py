"""AWD-LSTM: stretches with memory, nothing of the future, dropout that steps share; parity holds the LSTMs."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.models.tiny import tiny
from tests.support import check_backbone, check_task, gradients_of, to_numpy, token_batch
from tests.support.tensors import assert_close
from tfmodels.models import TextClassifier, TiedLM
from tfmodels.objectives.memory import CarriedMemory

V = 51


def awd_lstm(dtype=None, **overrides):
    return tiny("ulmfit", dtype, **overrides)


def with_random_weights(model):
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) * 0.5 for weight in model.get_weights()])
    return model


def piece(batch, start, end):
    return {name: ops.convert_to_tensor(value[:, start:end]) for name, value in batch.items()}


def test_one_layer_keeps_to_the_contract(tmp_path):
    check_backbone(lambda dtype=None: awd_lstm(dtype, num_layers=1), tmp_path)


def test_the_language_model_keeps_to_the_contract(tmp_path):
    check_task(
        lambda dtype=None: TiedLM(awd_lstm(dtype)), tmp_path, lambda batch, length: {"logits": (batch, length, V)}
    )


def test_the_classifier_of_ulmfit_keeps_to_the_contract(tmp_path):
    check_task(
        lambda dtype=None: TextClassifier(awd_lstm(dtype, classifier_dim=9), 3),
        tmp_path,
        lambda batch, length: {"logits": (batch, 3)},
    )


def test_the_classifier_reads_last_largest_and_mean_through_two_normalised_layers():
    model = with_random_weights(TextClassifier(awd_lstm(classifier_dim=9), 3))
    batch = token_batch([6, 3])
    states = to_numpy(model.backbone(batch))["sequence_output"].astype("float64")
    pooled = []
    for row, length in zip(states, (6, 3)):
        pooled.append(np.concatenate([row[length - 1], row[:length].max(0), row[:length].mean(0)]))
    named = {v.path.split("/head/")[-1]: np.asarray(v, "float64") for v in model.head.variables}

    def value(name):
        return next(array for path, array in named.items() if path.endswith(name))

    def norm(x, name):
        mean, variance = value(f"{name}/moving_mean"), value(f"{name}/moving_variance")
        return (x - mean) / np.sqrt(variance + 1e-5) * value(f"{name}/gamma") + value(f"{name}/beta")

    for variable in model.head.variables:
        if variable.path.endswith("moving_variance"):
            variable.assign(ops.abs(variable) + 0.5)
    named = {v.path.split("/head/")[-1]: np.asarray(v, "float64") for v in model.head.variables}
    hidden = np.maximum(norm(np.array(pooled), "/pooled_norm") @ value("dense/kernel") + value("dense/bias"), 0)
    expected = norm(hidden, "/norm") @ value("logits/kernel") + value("logits/bias")
    assert_close(to_numpy(model(batch))["logits"], expected, 1e-5)


def test_stretches_with_memory_equal_the_whole_text():
    lm, batch = with_random_weights(TiedLM(awd_lstm())), token_batch([11, 11])
    whole = to_numpy(lm(batch))["logits"]
    model, memory = lm.with_memory(), lm.backbone.empty_memory(2)
    for start, end in ((0, 4), (4, 5), (5, 11)):
        outputs = model({**piece(batch, start, end), "memory": memory})
        assert_close(to_numpy(outputs["logits"]), whole[:, start:end], 1e-5)
        memory = outputs["memory"]
    assert [part.shape for part in to_numpy(memory)] == [(2, 1, 38), (2, 1, 38), (2, 1, 28)]
    alone = to_numpy(lm(piece(batch, 5, 11)))["logits"]
    assert np.abs(alone - whole[:, 5:]).max() > 1e-2


def test_masked_memory_is_no_memory_and_passes_no_gradient():
    backbone, batch = with_random_weights(awd_lstm()), token_batch([9, 9])
    masked, plain = backbone.with_memory(masked=True), backbone.with_memory()
    memory = plain({**piece(batch, 0, 5), "memory": backbone.empty_memory(2)})["memory"]
    expected = to_numpy(plain({**piece(batch, 5, 9), "memory": memory}))["sequence_output"]
    alone = to_numpy(backbone(piece(batch, 5, 9)))["sequence_output"]
    mask = ops.convert_to_tensor(np.array([[True], [False]]))
    actual = to_numpy(masked({**piece(batch, 5, 9), "memory": memory, "memory_mask": mask}))["sequence_output"]
    assert_close(actual[0], expected[0], 1e-6)
    assert_close(actual[1], alone[1], 1e-6)

    def loss():
        kept = plain({**piece(batch, 0, 5), "memory": backbone.empty_memory(2)})["memory"]
        return sum(ops.sum(part) for part in kept) + 0 * ops.sum(backbone(batch)["sequence_output"])

    assert not any(gradient.any() for gradient in gradients_of(loss, backbone.trainable_variables)[1])


def test_a_carried_state_outlives_padding():
    backbone = awd_lstm()
    carried = CarriedMemory(backbone, 3)
    carried.build()
    assert [tuple(state.shape) for state in carried.states] == [(3, 1, 38), (3, 1, 38), (3, 1, 28)]
    memory = tuple(ops.ones(state.shape) for state in carried.states)
    start = np.array([True, True, True])
    inputs = {"is_start": start, "padding_mask": np.array([[True, False], [False, False], [True, True]])}
    carried.keep(inputs, memory)
    assert to_numpy(carried.is_real.value)[:, 0].tolist() == [True, False, True]
    inputs = {"is_start": np.array([False, False, True]), "padding_mask": np.zeros((3, 2), bool)}
    carried.keep(inputs, memory)
    assert to_numpy(carried.is_real.value)[:, 0].tolist() == [True, False, False]


def test_a_token_changes_itself_and_what_follows():
    backbone, batch = with_random_weights(awd_lstm()), token_batch([7])
    before = to_numpy(backbone(batch))["sequence_output"][0]
    for changed in range(7):
        other = {**batch, "token_ids": batch["token_ids"].copy()}
        other["token_ids"][0, changed] = (other["token_ids"][0, changed] + 1) % 50
        difference = np.abs(to_numpy(backbone(other))["sequence_output"][0] - before).max(axis=-1)
        assert [value > 1e-6 for value in difference] == [position >= changed for position in range(7)]


@pytest.mark.parametrize("rate", ["input_dropout", "layer_dropout", "output_dropout"])
def test_dropout_has_one_mask_for_all_steps_of_a_row(rate):
    none = dict.fromkeys(("word_dropout", "input_dropout", "layer_dropout", "output_dropout", "weight_dropout"), 0.0)
    backbone = awd_lstm(**{**none, rate: 0.5})
    part = backbone.parts[rate.replace("dropout", "drop")]
    dropped = to_numpy(part(ops.ones((4, 6, 14)), training=True))
    assert (dropped == dropped[:, :1]).all() and len({row.tobytes() for row in dropped}) == 4
    batch = token_batch([6, 6])
    outputs = [to_numpy(backbone(batch, training=training))["sequence_output"] for training in (True, False)]
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-4
    keras.utils.set_random_seed(0)
    still = awd_lstm(**none)
    np.testing.assert_array_equal(
        to_numpy(still(batch, training=True))["sequence_output"], to_numpy(still(batch))["sequence_output"]
    )
