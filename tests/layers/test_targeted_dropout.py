"""Targeted dropout against its definition, and what it is for: pruning that costs little."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from tests.support import check_layer, to_numpy
from tfmodels.layers import FeedForward, Projection, TargetedUnitDropout, TargetedWeightDropout, prune


def kernel_of(rows=40, units=30, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, units)).astype("float32")


def smallest_weights(kernel, portion):
    """Of every column the `portion` of least absolute value."""
    found = np.zeros(kernel.shape, bool)
    for unit in range(kernel.shape[1]):
        found[np.argsort(np.abs(kernel[:, unit]))[: int(portion * len(kernel))], unit] = True
    return found


def smallest_units(kernel, portion):
    found = np.zeros(kernel.shape, bool)
    found[:, np.argsort(np.linalg.norm(kernel, axis=0))[: int(portion * kernel.shape[1])]] = True
    return found


KINDS = [(TargetedWeightDropout, smallest_weights), (TargetedUnitDropout, smallest_units)]


@pytest.mark.parametrize(("kind", "smallest"), KINDS)
@pytest.mark.parametrize("portion", [0.0, 0.33, 0.75, 1.0])
def test_only_what_is_smallest_is_dropped_and_pruned(kind, smallest, portion):
    kernel = kernel_of()
    expected = smallest(kernel, portion)
    dropout = kind(rate=1.0, portion=portion)
    for found in (dropout(kernel, training=True), dropout.pruned(ops.convert_to_tensor(kernel))):
        np.testing.assert_array_equal(to_numpy(found), np.where(expected, 0, kernel))
    np.testing.assert_array_equal(to_numpy(dropout(kernel, training=False)), kernel)


@pytest.mark.parametrize(("kind", "smallest"), KINDS)
def test_targets_are_dropped_at_the_rate_and_the_rest_is_not_scaled(kind, smallest):
    kernel = kernel_of()
    dropout = kind(rate=0.3, portion=0.5, seed=0)
    targets = smallest(kernel, 0.5)
    drops = np.stack([to_numpy(dropout(kernel, training=True)) == 0 for _ in range(200)])
    assert not drops[:, ~targets].any()
    if kind is TargetedUnitDropout:
        assert (drops.all(axis=1) == drops.any(axis=1)).all(), "whole columns are dropped"
        drops, targets = drops[:, :1], targets[:1]
    hits, trials = int(drops[:, targets].sum()), drops[:, targets].size
    assert stats.binomtest(hits, trials, 0.3).pvalue > 1e-3
    kept = to_numpy(dropout(kernel, training=True))
    np.testing.assert_array_equal(kept[kept != 0], kernel[kept != 0])


@pytest.mark.parametrize("kind", [TargetedWeightDropout, TargetedUnitDropout])
@pytest.mark.parametrize(("layer", "width"), [(Projection, 7), (FeedForward, 10)])
def test_layers_that_take_it_serialise_and_train(kind, layer, width):
    check_layer(
        lambda dtype=None: layer(7, kernel_dropout=kind(0.5, 0.5, seed=1), dtype=dtype),
        lambda batch, length: {"inputs": np.random.default_rng(1).normal(size=(batch, length, 10)).astype("float32")},
        lambda batch, length: (batch, length, width),
    )


def test_a_projection_drops_weights_in_training_alone():
    layer = Projection(30, use_bias=False, kernel_dropout=TargetedWeightDropout(1.0, 0.5))
    inputs = kernel_of(4, 40, seed=2)
    layer.build(inputs.shape)
    layer.kernel.assign(kernel_of())
    kernel = kernel_of()
    np.testing.assert_allclose(to_numpy(layer(inputs, training=False)), inputs @ kernel, rtol=1e-4, atol=1e-4)
    pruned = np.where(smallest_weights(kernel, 0.5), 0, kernel)
    np.testing.assert_allclose(to_numpy(layer(inputs, training=True)), inputs @ pruned, rtol=1e-4, atol=1e-4)


def test_a_network_that_was_trained_so_survives_pruning_better():
    random = np.random.default_rng(0)
    directions = random.normal(size=(4, 20))
    inputs = random.normal(size=(4096, 20)).astype("float32")
    labels = (np.abs(inputs @ directions.T)).argmax(axis=-1)
    train, held_out = np.s_[:3072], np.s_[3072:]

    def accuracies(rate):
        keras.utils.set_random_seed(0)
        dropout = TargetedWeightDropout(rate, 0.8)
        model = keras.Sequential(
            [keras.Input((20,)), Projection(64, "relu", kernel_dropout=dropout), Projection(4, kernel_dropout=dropout)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-2), loss=loss, jit_compile=False)
        model.fit(inputs[train], labels[train], batch_size=256, epochs=20, verbose=0)

        def accuracy():
            return float((model.predict(inputs[held_out], verbose=0).argmax(-1) == labels[held_out]).mean())

        whole, share = accuracy(), prune(model)
        assert abs(share - 0.8) < 0.01
        return whole, accuracy()

    (plain, plain_pruned), (targeted, targeted_pruned) = accuracies(0.0), accuracies(0.66)
    majority = np.bincount(labels[held_out]).max() / len(labels[held_out])
    assert plain > 0.8 and targeted > majority + 0.3
    assert targeted_pruned > plain_pruned + 0.1, (plain, plain_pruned, targeted, targeted_pruned)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match=r"rate=1.5 must be a fraction"):
        TargetedWeightDropout(rate=1.5)
    with pytest.raises(ValueError, match=r"portion=-0.1 must be a fraction"):
        TargetedUnitDropout(portion=-0.1)
    with pytest.raises(ValueError, match="no layer with a kernel_dropout"):
        prune(keras.Sequential([keras.Input((3,)), Projection(2)]))
