"""Rates by depth and unfreezing against optimisers of their own for every group, and through `fit`."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmodels
from tests.models.tiny import tiny
from tests.support.tensors import assert_close
from tests.training.keywords import classify, keyword_batches, tiny_classifier
from tests.training.test_optimizers import numpy_adamw
from tfmodels.errors import UserError
from tfmodels.models import MaskedLM, TextClassifier, TiedLM
from tfmodels.objectives import MaskedLanguageModel, Pretrainer
from tfmodels.training import FitConfig, Lamb, LayerRates, WarmupLinearDecay, adamw, fit, micro_batches
from tfmodels.training.unfreezing import gradual_unfreezing, sequential_unfreezing

SHAPES = {"tokens": (9, 4), "kernel": (4, 5), "bias": (5,), "gamma": (4,), "head": (5, 2)}
RATES = LayerRates((0, 1, 1, 2, 2), (0.25, 0.5, 1.0))
FREEZING = dataclasses.replace(RATES, starts=(7, 4, 0))
PAPERS = 1 / 2.6


def problem(steps=12):
    random = np.random.default_rng(0)
    weights = {name: random.normal(size=shape) for name, shape in SHAPES.items()}
    return weights, [{name: random.normal(size=shape) for name, shape in SHAPES.items()} for _ in range(steps)]


def run(optimizer, weights, gradients, names=tuple(SHAPES)):
    """The weights after every step."""
    variables = [keras.Variable(weights[name], dtype="float32", name=name) for name in names]
    optimizer.build(variables)
    states = []
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient[name], tf.float32) for name in names], variables)
        states.append({name: variable.numpy() for name, variable in zip(names, variables)})
    return states


MAKERS = {
    "AdamW": lambda rate, **settings: adamw(rate, weight_decay=0.1, clip_norm=None, **settings),
    "AMSGrad": lambda rate, **settings: _amsgrad(rate, **settings),
    "LAMB": lambda rate, **settings: Lamb(rate, weight_decay=0.1, **settings),
}


def _amsgrad(rate, **settings):
    optimizer = adamw(rate, weight_decay=0.1, clip_norm=None, **settings)
    return type(optimizer).from_config({**optimizer.get_config(), "amsgrad": True})


@pytest.mark.parametrize("name", MAKERS)
def test_a_groups_rate_is_that_of_an_optimiser_of_its_own(name):
    weights, gradients = problem()
    found = run(MAKERS[name](WarmupLinearDecay(0.1, 12, 3), rates=RATES), weights, gradients)[-1]
    for group, factor in enumerate(RATES.factors):
        members = [weight for weight, of in zip(SHAPES, RATES.groups) if of == group]
        alone = run(MAKERS[name](WarmupLinearDecay(0.1 * factor, 12, 3)), weights, gradients, members)[-1]
        for member in members:
            assert_close(found[member], alone[member], 1e-6, member)
    one_rate = run(MAKERS[name](WarmupLinearDecay(0.1, 12, 3)), weights, gradients)[-1]
    assert np.abs(one_rate["tokens"] - found["tokens"]).max() > 1e-2


@pytest.mark.parametrize("name", MAKERS)
def test_a_frozen_weight_stays_and_then_learns_with_the_moments_that_it_had(name):
    weights, gradients = problem()
    states = run(MAKERS[name](0.1, rates=FREEZING), weights, gradients)

    def frozen_by_hand():
        """The rate of a group alone, set to zero as long as it is frozen: Keras's own way."""
        for group, start in enumerate(FREEZING.starts):
            members = [weight for weight, of in zip(SHAPES, FREEZING.groups) if of == group]
            optimizer = MAKERS[name](0.0)
            variables = [keras.Variable(weights[member], dtype="float32", name=member) for member in members]
            optimizer.build(variables)
            for step, gradient in enumerate(gradients):
                optimizer.learning_rate = 0.1 * FREEZING.factors[group] if step >= start else 0.0
                optimizer.apply([tf.constant(gradient[member], tf.float32) for member in members], variables)
                yield from ((step, start, v.name, v.numpy()) for v in variables)

    for step, start, member, wanted in frozen_by_hand():
        if step < start:
            np.testing.assert_array_equal(states[step][member], weights[member].astype("float32"))
        else:
            assert_close(states[step][member], wanted, 1e-6, member)
            assert np.abs(states[step][member] - weights[member]).max() > 1e-4


@pytest.mark.parametrize("make", [adamw, Lamb], ids=["AdamW", "LAMB"])
def test_frozen_gradients_do_not_count_in_the_norm_that_clips(make):
    def clipping(rates):
        return make(0.1, clip_norm=0.5, rates=rates) if make is adamw else make(0.1, global_clipnorm=0.5, rates=rates)

    weights, gradients = problem(steps=4)
    for gradient in gradients:
        gradient["tokens"] *= 1e4
        gradient["kernel"] *= 1e3
    rates = dataclasses.replace(RATES, starts=(2, 0, 0))
    found = run(clipping(rates), weights, gradients)
    upper = [name for name in SHAPES if name != "tokens"]
    without = run(clipping(LayerRates((1, 1, 2, 2), RATES.factors)), weights, gradients[:2], upper)
    for name in upper:
        assert_close(found[1][name], without[1][name], 1e-6, name)
    # From the third step on the table counts, and its gradient leaves little of the others: by hand, the bias.
    if make is adamw:
        clipped = []
        for step, gradient in enumerate(gradients):
            counted = upper if step < 2 else list(SHAPES)
            norm = np.sqrt(sum((gradient[name] ** 2).sum() for name in counted))
            clipped.append(gradient["bias"] * min(1.0, 0.5 / norm))
        assert_close(found[3]["bias"], numpy_adamw(weights["bias"], clipped, 0.05, 0.0, None, 1e-6), 1e-5)


def test_sparse_gradients_of_a_frozen_table_leave_it_alone():
    table = keras.Variable(np.ones((6, 4)), dtype="float32", name="tokens")
    optimizer = adamw(0.1, clip_norm=1.0, rates=LayerRates((0,), (1.0,), (1,)))
    for step in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(table.value, [1, 1, 3]))
        optimizer.apply([tape.gradient(loss, table.value)], [table])
        assert (table.numpy() == 1).all() == (step == 0)


def test_loss_scaling_and_a_step_that_overflows():
    weights, gradients = problem(steps=5)
    scaled = [{name: 8 * value for name, value in gradient.items()} for gradient in gradients]
    spoilt = {name: np.full_like(value, np.inf) for name, value in weights.items()}
    rates = dataclasses.replace(RATES, starts=(3, 2, 0))
    optimizer = keras.optimizers.LossScaleOptimizer(
        adamw(0.1, clip_norm=0.5, rates=rates), initial_scale=8.0, dynamic_growth_steps=100
    )
    # What overflows is no step, for who is frozen neither; the scale is halved after it.
    halved = [{name: value / 2 for name, value in gradient.items()} for gradient in scaled[2:]]
    found = run(optimizer, weights, [*scaled[:2], spoilt, *halved])
    for name, value in run(adamw(0.1, clip_norm=0.5, rates=rates), weights, gradients)[-1].items():
        assert_close(found[-1][name], value, 1e-6, name)


@pytest.mark.parametrize("make", [adamw, Lamb])
def test_rates_go_through_the_configuration(make):
    weights, gradients = problem()
    optimizer = make(0.1, rates=FREEZING)
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(twin) is type(optimizer) and twin.rates == FREEZING
    ours, theirs = (run(each, weights, gradients)[-1] for each in (optimizer, twin))
    for name, value in ours.items():
        np.testing.assert_array_equal(theirs[name], value)
    # Nothing is added to what the optimiser keeps, and the model's weights are not among it.
    plain = make(0.1)
    run(plain, weights, [])
    assert len(plain.variables) == len(optimizer.variables)


def groups_by_path(model, decay=0.5):
    rates = LayerRates.of(model, decay)
    return {variable.path: rates.factors[of] for variable, of in zip(model.trainable_variables, rates.groups)}


def test_the_groups_of_a_task_are_embeddings_blocks_and_the_head():
    factors = groups_by_path(TextClassifier(tiny("bert_tiny"), 2))
    assert len(set(factors.values())) == 5
    expected = {"embeddings": 0.5**4, "block_0": 0.5**3, "block_1": 0.5**2, "block_2": 0.5, "pooler": 1, "head": 1}
    for path, factor in factors.items():
        assert factor == expected[next(name for name in expected if name in path)], path


@pytest.mark.parametrize(
    "name", ["electra_small", "transformer_xl_large", "xlnet_base", "ernie2_base", "bilstm", "ulmfit"]
)
def test_every_family_tells_its_groups(name):
    model = TextClassifier(tiny(name), 2)
    groups = model.layer_groups()
    assert len(groups) == model.backbone.config.num_layers + 2
    members = [{id(v) for layer in group for v in layer.trainable_variables} for group in groups]
    assert all(members[:-2]) and sum(len(each) for each in members) == len(model.trainable_variables)
    assert set.union(*members) == {id(v) for v in model.trainable_variables}
    below = {v.path for layer in groups[0] for v in layer.trainable_variables}
    assert all("embedding" in path for path in below)


@pytest.mark.parametrize("sharing, layers", [("all", 1), ("attention", 3)])
def test_a_weight_of_several_layers_is_of_the_highest(sharing, layers):
    model = TextClassifier(tiny("albert_base", sharing=sharing), 2)
    factors = groups_by_path(model)
    shared = {factor for path, factor in factors.items() if "attention" in path and "output_norm" not in path}
    assert 0.5 in shared
    assert {factor for path, factor in factors.items() if "kernel" in path and "feed_forward" in path} == {
        0.5**power for power in range(1, layers + 1)
    }


def test_a_table_that_the_softmax_shares_is_of_the_head():
    for lm, name in ((TiedLM(tiny("ulmfit")), "embeddings/tokens"), (MaskedLM(tiny()), "embeddings/tokens")):
        factors = groups_by_path(lm)
        assert next(factor for path, factor in factors.items() if path.endswith(name)) == 1


def test_a_model_that_trains_a_task_has_its_groups():
    backbone = tiny()
    pretrainer = Pretrainer(backbone, [MaskedLanguageModel()])
    rates = LayerRates.of(pretrainer, 0.9)
    assert len(rates.groups) == len(pretrainer.trainable_variables) and len(set(rates.groups)) == 5


@pytest.mark.parametrize("settings", [{"optimizer": "adamw"}, {"optimizer": "lamb", "micro_batches": 3}])
def test_fit_unfreezes_from_the_top_down(settings, tmp_path):
    model = tiny_classifier(num_layers=2)
    groups = {
        index: [v for layer in group for v in layer.trainable_variables]
        for index, group in enumerate(model.layer_groups())
    }
    states = []

    def remember(epoch, logs=None):
        states.append({index: [v.numpy() for v in members] for index, members in groups.items()})

    config = FitConfig(
        epochs=4, learning_rate=1e-2, layer_decay=PAPERS, unfreezing="gradual", weight_decay=0.1, **settings
    )
    watch = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: remember(0), on_epoch_end=remember)
    fit(model, keyword_batches(32), None, config, tmp_path, callbacks=[watch], **classify())
    for index, members in groups.items():
        for epoch in range(4):
            moved = [not np.array_equal(a, b) for a, b in zip(states[epoch][index], states[epoch + 1][index])]
            is_free = epoch >= 3 - index
            assert any(moved) if is_free else not any(moved), (index, epoch)
            # A key's bias gets no gradient and is not decayed.
            assert sum(moved) >= len(members) - 2 or not is_free


class Stop(BaseException):
    """The end of a run that was killed."""


def test_a_resumed_run_has_the_same_frozen_set_and_the_same_end(tmp_path):
    config = FitConfig(
        epochs=3, learning_rate=1e-2, layer_decay=0.5, unfreezing="sequential", unfreeze_epochs=(0.5, 1.5)
    )

    def stop(epoch, logs=None):
        if epoch == 2:
            raise Stop

    def run_in(directory, seed, callbacks=()):
        keras.utils.set_random_seed(seed)
        model = tiny_classifier()
        history = fit(model, keyword_batches(64), None, config, directory, callbacks=callbacks, **classify())
        return model, history

    whole, history = run_in(tmp_path / "whole", 0)
    with pytest.raises(Stop):
        run_in(tmp_path / "killed", 0, [keras.callbacks.LambdaCallback(on_epoch_begin=stop)])
    again, resumed = run_in(tmp_path / "killed", 9)
    assert resumed == history
    for ours, theirs in zip(again.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    assert again.optimizer.rates.starts == (6, 2, 0)


def test_micro_batches_are_one_batch_to_the_rates():
    updated = []
    for parts in (1, 3):
        keras.utils.set_random_seed(0)
        model = TextClassifier(tiny(num_layers=1, dropout=0.0, attention_dropout=0.0), 2, dropout=0.0)
        rates = LayerRates.of(model, 0.5, starts=[2, 1, 0])
        arguments = {name: value for name, value in classify().items() if name != "verbose"}
        model.compile(adamw(1e-2, rates=rates), **arguments, jit_compile=False)
        with micro_batches(model, parts):
            model.fit(keyword_batches(48, batch_size=16).dataset(), verbose=0)
        updated.append(model)
    for one, other in zip(*(model.trainable_variables for model in updated), strict=True):
        assert_close(one.numpy(), other.numpy(), 1e-3 if one.path.endswith("key/bias") else 1e-5, one.path)


def test_epochs_of_unfreezing():
    assert gradual_unfreezing(5) == [4, 3, 2, 1, 0] and gradual_unfreezing(3, 0.5) == [1.0, 0.5, 0.0]
    assert sequential_unfreezing(4) == [2, 1, 1, 0] and sequential_unfreezing(4, 2, 5) == [5, 2, 2, 0]
    for wrong in (lambda: gradual_unfreezing(3, -1), lambda: sequential_unfreezing(4, 3, 1)):
        with pytest.raises(UserError, match="from the top down"):
            wrong()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"layer_decay": 1.5}, "layer_decay=1.5 must be above 0"),
        ({"unfreezing": "gradual", "epochs": 2}, "lets the lowest layer learn in epoch 3, but there are 2"),
    ],
)
def test_what_cannot_be_meant_is_told(settings, message, tmp_path):
    with pytest.raises(UserError, match=message):
        fit(tiny_classifier(), keyword_batches(16), None, FitConfig(**settings), tmp_path, **classify())


def test_models_without_depth_and_rates_of_others_are_told(tmp_path):
    plain = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(UserError, match="has no layers by depth"):
        LayerRates.of(plain)
    rates = LayerRates.of(tiny_classifier())
    with pytest.raises(UserError, match="but this one has 2: make them by LayerRates"):
        adamw(0.1, rates=rates).build(plain.trainable_variables)
    with pytest.raises(UserError, match="must be positive"):
        LayerRates((0,), (0.0,))


def test_a_recipe_with_its_epochs_goes_through_json():
    config = FitConfig(unfreezing="sequential", unfreeze_epochs=(1, 4))
    assert FitConfig.from_dict({**config.to_dict(), "unfreeze_epochs": [1, 4]}) == config
    assert tfmodels.training.gradual_unfreezing is gradual_unfreezing
