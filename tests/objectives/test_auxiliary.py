"""A classifier that stays a language model: its loss against NumPy, and the weight that falls."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.objectives.test_pretrainer import spread_out, tensors
from tests.support import gradients_of, to_numpy, token_batch
from tests.support.oracles import softmax
from tests.support.tensors import assert_close
from tests.training.keywords import keyword_batches
from tfmodels.errors import UserError
from tfmodels.layers import AttentionPooling, MeanPooling, RecurrentPooling, WeightDropLSTM
from tfmodels.models import AdaptiveLM, TextClassifier, TiedLM
from tfmodels.objectives import AuxiliaryLanguageModel
from tfmodels.training import FitConfig, LayerRates, adamw, fit, micro_batches

ExponentialDecay = keras.optimizers.schedules.ExponentialDecay
STILL = dict.fromkeys(("word_dropout", "input_dropout", "layer_dropout", "output_dropout", "weight_dropout"), 0.0)


def model_of(weight=0.3, classes=3, dropout=0.0, pooling=None, **overrides):
    backbone = tiny("ulmfit", **{"num_layers": 2, **STILL, **overrides})
    pooling = RecurrentPooling(WeightDropLSTM(8), AttentionPooling(), name="pooling") if pooling is None else pooling
    classifier = TextClassifier(backbone, classes, dropout=dropout, pooling=pooling)
    return AuxiliaryLanguageModel(classifier, TiedLM(backbone), weight)


def batch():
    inputs = token_batch([7, 3, 1, 0, 5])
    return inputs, {"labels": np.array([0, 2, 1, 1, 0])}


def oracle(model, inputs, labels):
    """Both means of equation 1, one row and one token at a time."""
    task = -np.log(softmax(to_numpy(model.classifier(inputs))["logits"].astype("float64")))
    language = -np.log(softmax(to_numpy(model.language_model(inputs))["logits"].astype("float64")))
    nats = [
        language[row, place, inputs["token_ids"][row, place + 1]]
        for row, length in enumerate(inputs["padding_mask"].sum(axis=1))
        for place in range(length - 1)
    ]
    return np.mean([task[row, label] for row, label in enumerate(labels)]), np.mean(nats), len(nats)


def test_the_loss_is_the_papers():
    model, (inputs, targets) = model_of(0.3), batch()
    spread_out(model, 0.5)
    task, language, count = oracle(model, inputs, targets["labels"])
    x, y = tensors(inputs), tensors(targets)
    loss = model.compute_loss(x, y, model(x, training=True))
    assert float(loss) == pytest.approx(task + 0.3 * language, rel=1e-5)
    figures = {metric.name: float(metric.result()) for metric in model.metrics}
    assert figures["task_loss"] == pytest.approx(task, rel=1e-5)
    assert figures["language_loss"] == pytest.approx(language, rel=1e-5)
    assert figures["language_weight"] == pytest.approx(0.3)
    assert count == 6 + 2 + 4 == float(model.loss_counts(x, y)["language"])
    assert float(model.loss_counts(x, y)["task"]) == 5


def test_the_gradients_are_those_of_the_two_tasks():
    model, (inputs, targets) = model_of(0.3), batch()
    spread_out(model, 0.5)
    x, y = tensors(inputs), tensors(targets)

    def by_hand():
        ce = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        task = ce(y["labels"], model.classifier(x)["logits"])
        known = (inputs["padding_mask"][:, 1:] & inputs["padding_mask"][:, :-1]).astype("float32")
        losses = keras.losses.sparse_categorical_crossentropy(
            x["token_ids"][:, 1:], model.language_model(x)["logits"][:, :-1], from_logits=True
        )
        return task + 0.3 * tf.reduce_sum(losses * known) / known.sum()

    _, found = gradients_of(lambda: model.compute_loss(x, y, model(x, training=True)), model.trainable_variables)
    _, wanted = gradients_of(by_hand, model.trainable_variables)
    for variable, ours, theirs in zip(model.trainable_variables, found, wanted, strict=True):
        assert ours.any()
        assert_close(ours, theirs, 1e-5, variable.path)


@pytest.mark.learns
def test_gamma_falls_exponentially_with_the_steps_and_goes_on_after_a_kill(tmp_path):
    seen = ExponentialDecay(0.2, decay_steps=12, decay_rate=0.5)
    assert float(seen(0)) == pytest.approx(0.2) and float(seen(12)) == pytest.approx(0.1)

    class Stop(BaseException):
        """The end of a run that was killed."""

    def stop(epoch, logs):
        if epoch == 1:
            raise Stop

    def run(directory, seed, callbacks=()):
        keras.utils.set_random_seed(seed)
        # Loops take long to trace: of LSTMs there is one.
        model = model_of(seen, 2, 0.1, MeanPooling(name="pooling"), num_layers=1, weight_dropout=0.5)
        train, held_out = (keyword_batches(rows, target="labels") for rows in (48, 16))
        config = FitConfig(epochs=2, learning_rate=1e-2, unfreezing="sequential", unfreeze_epochs=(0.5, 1.5))
        return model, fit(model, train, held_out, config, directory, callbacks=callbacks, verbose=0)

    model, history = run(tmp_path / "whole", 0)
    # Three steps an epoch; a validation has the weight of the step that it stands at.
    gammas = [0.2 * 0.5 ** (step / 12) for step in range(7)]
    assert history["language_weight"] == pytest.approx([np.mean(gammas[:3]), np.mean(gammas[3:6])], rel=1e-5)
    assert history["val_language_weight"] == pytest.approx([gammas[3], gammas[6]], rel=1e-5)
    with pytest.raises(Stop):
        run(tmp_path / "killed", 0, [keras.callbacks.LambdaCallback(on_epoch_begin=stop)])
    again, resumed = run(tmp_path / "killed", 9)
    assert resumed == history
    for ours, theirs in zip(again.variables, model.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)


def test_parts_of_a_batch_are_the_batch():
    updated = []
    for parts in (1, 3):
        keras.utils.set_random_seed(0)
        model, (inputs, targets) = model_of(pooling=MeanPooling(name="pooling"), num_layers=1), batch()
        spread_out(model, 0.3)
        model.compile(adamw(1e-2), jit_compile=False)
        with micro_batches(model, parts):
            figures = model.fit(inputs, targets, batch_size=5, verbose=0, shuffle=False).history
        updated.append((model, figures))
    (one, figures), (other, parted) = updated
    for ours, theirs in zip(one.trainable_variables, other.trainable_variables, strict=True):
        assert_close(ours.numpy(), theirs.numpy(), 1e-4, ours.path)
    for name, values in figures.items():
        assert parted[name] == pytest.approx(values, rel=1e-5), name


def test_its_groups_are_the_classifiers_and_the_new_layers_are_on_top():
    model = model_of()
    rates = LayerRates.of(model, 0.5)
    factors = {v.path: rates.factors[of] for v, of in zip(model.trainable_variables, rates.groups)}
    assert {factor for path, factor in factors.items() if "tokens" in path} == {0.125}
    assert {factor for path, factor in factors.items() if "pooling" in path or "logits" in path} == {1.0}
    assert {factor for path, factor in factors.items() if path.startswith("layer_")} == {0.25, 0.5}


def test_any_language_model_on_the_backbone_will_do_and_no_other():
    backbone = tiny("transformer_xl_large")
    model = AuxiliaryLanguageModel(TextClassifier(backbone, 3), AdaptiveLM(backbone), 0.1)
    inputs, targets = (tensors(part) for part in batch())
    assert np.isfinite(float(model.compute_loss(inputs, targets, model(inputs))))
    with pytest.raises(UserError, match="need one backbone"):
        AuxiliaryLanguageModel(TextClassifier(backbone, 3), TiedLM(tiny("ulmfit")))
