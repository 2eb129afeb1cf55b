"""`check_backbone`: the contract of docs/architecture.md, held by every model family."""

import functools

import keras
import numpy as np
import pytest

from tests.support.gradients import check_gradients_reach, random_sum
from tests.support.tensors import assert_close, to_numpy, token_batch
from tfmodels.errors import UserError
from tfmodels.layers import TextEmbedding
from tfmodels.models import MaskedLM, TextClassifier

# One float32 graph on inputs of other shapes: products are summed in another order.
_ROUNDING = 1e-5


def check_backbone(make, directory, *, bfloat16_tolerance=0.1):
    """All that every backbone keeps to.

    Args:
        make: `make(dtype=None)`, a new tiny backbone whose vocabulary has at least 50 pieces and which takes 16 tokens.
        directory: A temporary directory.
        bfloat16_tolerance: The largest difference between bfloat16 and float32, relative to the largest output.
    """
    backbone = make()
    check_contract(backbone)
    check_padding_invariance(backbone)
    check_all_padding(backbone)
    check_intermediates(backbone)
    check_gradients_reach(lambda: random_sum(backbone(token_batch([9, 4, 1]))), backbone.trainable_variables)
    check_round_trip(backbone, directory)
    check_bfloat16(backbone, make, bfloat16_tolerance)
    check_no_tokens(backbone)


def check_contract(backbone):
    """Dicts with fixed keys, at any batch size and length, on symbolic and on real inputs."""
    width = backbone.hidden_dims[-1]
    dtypes = {name: tensor.dtype for name, tensor in backbone.input.items()}
    assert dtypes == {"token_ids": "int32", "segment_ids": "int32", "padding_mask": "bool"}
    shapes = {name: tuple(tensor.shape) for name, tensor in backbone.output.items()}
    assert shapes == {"sequence_output": (None, None, width), "pooled_output": (None, width)}
    for lengths in ([1], [16, 3], [5, 7, 2, 1, 7]):
        outputs = to_numpy(backbone(token_batch(lengths)))
        assert set(outputs) == {"sequence_output", "pooled_output"}
        assert outputs["sequence_output"].shape == (len(lengths), max(lengths), width)
        assert outputs["pooled_output"].shape == (len(lengths), width)
        assert all(np.isfinite(value).all() for value in outputs.values())


def check_padding_invariance(model):
    """Neither more padding nor what stands in it changes the outputs at real tokens."""
    lengths = [6, 3, 9]
    plain = to_numpy(model(token_batch(lengths)))
    padded = to_numpy(model(_with_noise_in_padding(token_batch(lengths, length=14))))
    for name in plain:
        rows = zip(_real_rows(model, name, padded[name], lengths), _real_rows(model, name, plain[name], lengths))
        for row, (ours, theirs) in enumerate(rows):
            assert_close(ours, theirs, _ROUNDING, f"{name} of row {row} under more padding")
    # A hole in the middle of a row is padding like any other.
    holed = token_batch([9])
    holed["padding_mask"][0, 4] = False
    before, after = to_numpy(model(holed)), to_numpy(model(_with_noise_in_padding(holed)))
    for name, value in before.items():
        keep = [0, 1, 2, 3, 5, 6, 7, 8] if _has_length(model, name) else slice(None)
        assert_close(after[name][0][keep], value[0][keep], _ROUNDING, f"{name} around a hole")


def check_all_padding(model, unused=()):
    """A row of nothing but padding gives finite numbers and gradients, and leaves the other rows alone."""
    batch = token_batch([5, 0, 7])
    plain, outputs = to_numpy(model(token_batch([5, 3, 7]))), to_numpy(model(batch))
    for name, value in outputs.items():
        assert np.isfinite(value).all(), f"{name} is not finite"
        for row in (0, 2):
            ours, theirs = (_real_rows(model, name, values, [5, 0, 7])[row] for values in (value, plain[name]))
            assert_close(ours, theirs, _ROUNDING, f"{name} of row {row} beside a row of padding")
    check_gradients_reach(lambda: random_sum(model(batch)), model.trainable_variables, unused)


def check_no_tokens(backbone):
    """Rows of no tokens are refused in words, whatever the head; a check to end with, as weights may be lost.

    Or they have an answer, where the family says so.
    """
    if backbone.reads_no_tokens:
        outputs = to_numpy(TextClassifier(backbone, 2)(token_batch([0, 0])))
        assert outputs["logits"].shape == (2, 2) and np.isfinite(outputs["logits"]).all()
        return
    models = [backbone, TextClassifier(backbone, 2)]
    if isinstance(backbone.parts["embeddings"], TextEmbedding):
        models.append(MaskedLM(backbone))
    # One prediction, and the last: on JAX a model of Keras's has lost its weights when its `predict` ends in an error.
    for call in (*models, functools.partial(models[-1].predict, verbose=0)):
        with pytest.raises(UserError, match="there are no tokens in these rows: give every row at least one"):
            call(token_batch([0, 0]))


def check_intermediates(model):
    """`with_intermediates` has the same outputs, the same weights, and the shapes of the contract."""
    full, batch = model.with_intermediates(), token_batch([5, 7, 1])
    assert {id(variable) for variable in full.variables} == {id(variable) for variable in model.variables}
    outputs, named = to_numpy(model(batch)), to_numpy(full(batch))
    assert set(named) == {*outputs, "hidden_states", "attention_scores"}
    for name, value in outputs.items():
        np.testing.assert_array_equal(named[name], value)
    backbone = getattr(model, "backbone", model)
    assert len(backbone.hidden_dims) == backbone.config.num_layers + 1
    assert [state.shape for state in named["hidden_states"]] == [(3, 7, width) for width in backbone.hidden_dims]
    assert [score.shape for score in named["attention_scores"]] == [(3, n, 7, 7) for n in backbone.attention_heads]
    assert all(score.dtype == "float32" for score in named["attention_scores"])
    if "sequence_output" in outputs:
        np.testing.assert_array_equal(named["hidden_states"][-1], outputs["sequence_output"])


def check_round_trip(model, directory):
    """A .keras file gives back an equal model: same class, same weights, bit-equal outputs."""
    path, batch = directory / f"{model.name}.keras", token_batch([6, 2])
    model.save(path)
    twin = keras.saving.load_model(path)
    assert type(twin) is type(model) and twin.name == model.name
    # Keras numbers the paths of dropout's seeds anew.
    assert [(v.name, v.shape) for v in twin.variables] == [(v.name, v.shape) for v in model.variables]
    ours, theirs = to_numpy(model(batch)), to_numpy(twin(batch))
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        np.testing.assert_array_equal(theirs[name], value)


def check_bfloat16(model, make, tolerance, unused=()):
    """Mixed bfloat16 keeps float32 weights, stays finite and near float32, and trains every weight."""
    low, batch = make(dtype="mixed_bfloat16"), token_batch([8, 3])
    assert all(keras.backend.standardize_dtype(v.dtype) == "float32" for v in low.trainable_variables)
    low.set_weights(model.get_weights())
    states = low.with_intermediates()(batch)["hidden_states"]
    assert all(keras.backend.standardize_dtype(state.dtype) == "bfloat16" for state in states)
    expected, actual = to_numpy(model(batch)), to_numpy(low(batch))
    for name, value in expected.items():
        difference = np.abs(actual[name] - value).max()
        assert difference <= tolerance * np.abs(value).max(), f"{name} in bfloat16 differs by {difference}"
    check_gradients_reach(lambda: random_sum(low(batch)), low.trainable_variables, unused)


def _with_noise_in_padding(batch):
    real, noise = batch["padding_mask"], np.random.default_rng(1).integers(1, 50, batch["padding_mask"].shape)
    return {
        "token_ids": np.where(real, batch["token_ids"], noise).astype("int32"),
        "segment_ids": np.where(real, batch["segment_ids"], noise % 2).astype("int32"),
        "padding_mask": real,
    }


def _has_length(model, name):
    return len(model.output[name].shape) > 1 and model.output[name].shape[1] is None


def _real_rows(model, name, values, lengths):
    """Every row of an output, without what stands at padding where the output has a length axis."""
    return [row[:real] if _has_length(model, name) else row for row, real in zip(values, lengths)]
