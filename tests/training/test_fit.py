"""The fit loop: histories, the best weights, early stopping, and what goes wrong told in one sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.keywords import classify, keyword_batches, tiny_classifier
from tfmodels.errors import UserError
from tfmodels.training import FitConfig, fit, policy_for

CONFIG = FitConfig(epochs=3, learning_rate=1e-2)


class Unscrupulous(keras.callbacks.Callback):
    """Spoils a weight at a chosen moment."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.moment = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.moment:
            kernel = self.model.head.logits.kernel
            kernel.assign(np.full(kernel.shape, np.nan))


def fit_with_figures(figures, directory, name="accuracy", **changes):
    """Trains while a script tells the validation figure of every epoch.

    Returns:
        The model, the history, and the weights after every epoch.
    """
    model, seen = tiny_classifier(), []

    def evaluate(*args, **kwargs):
        seen.append(model.get_weights())
        return {"loss": 1.0, name: figures[len(seen) - 1]}

    model.evaluate = evaluate
    config = FitConfig(**{"epochs": len(figures), "learning_rate": 1e-2, "monitor": f"val_{name}", **changes})
    history = fit(model, keyword_batches(32), keyword_batches(16), config, directory, **classify())
    return model, history, seen


def assert_same_weights(ours, theirs):
    for value, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(value, other)


def test_the_history_holds_every_figure_of_every_epoch(tmp_path):
    model = tiny_classifier()
    history = fit(model, keyword_batches(), keyword_batches(seed=1), CONFIG, tmp_path, **classify())
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 3 and np.isfinite(values).all() for values in history.values())
    assert history["loss"][-1] < history["loss"][0]


def test_the_model_ends_with_the_weights_of_its_best_epoch(tmp_path):
    model, history, seen = fit_with_figures([0.5, 0.9, 0.6, 0.7], tmp_path)
    assert history["val_accuracy"] == [0.5, 0.9, 0.6, 0.7]
    assert_same_weights(model.get_weights(), seen[1])


def test_a_loss_is_best_where_it_is_least(tmp_path):
    model, _, seen = fit_with_figures([0.5, 0.9, 0.4, 0.7], tmp_path, name="hard_loss")
    assert_same_weights(model.get_weights(), seen[2])


def test_without_validation_the_last_weights_are_kept(tmp_path):
    kept = []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept.append(self.model.get_weights())

    model = tiny_classifier()
    history = fit(model, keyword_batches(32), None, CONFIG, tmp_path, callbacks=[Keep()], **classify())
    assert set(history) == {"loss", "accuracy"}
    assert_same_weights(model.get_weights(), kept[-1])


@pytest.mark.parametrize(
    "figures, patience, epochs",
    [
        ([0.5, 0.6, 0.5, 0.5, 0.9], 2, 4),
        ([0.5, 0.6, 0.5, 0.7, 0.6, 0.6, 0.9], 2, 6),
        ([0.5, 0.4, 0.9], 1, 2),
        ([0.5, 0.6, 0.7], 1, 3),
        ([0.5, 0.6, 0.5, 0.5, 0.9], None, 5),
        # A figure that stays is not better.
        ([1.0, 1.0, 1.0, 1.0, 1.0], 2, 3),
    ],
)
def test_training_stops_when_patience_ends(figures, patience, epochs, tmp_path):
    model, history, seen = fit_with_figures(figures, tmp_path, patience=patience)
    assert len(history["val_accuracy"]) == len(seen) == epochs
    best = [weights for weights, figure in zip(seen, figures) if figure == max(figures[:epochs])]
    assert any(all(map(np.array_equal, model.get_weights(), weights)) for weights in best)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, history, _ = fit_with_figures([0.5, 0.9, 0.6], tmp_path)
    again = tiny_classifier()

    class Never(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            pytest.fail("it trains")

    config = FitConfig(epochs=3, learning_rate=1e-2)
    arguments = (keyword_batches(32), keyword_batches(16), config, tmp_path)
    assert fit(again, *arguments, callbacks=[Never()], **classify()) == history
    assert_same_weights(again.get_weights(), first.get_weights())


def test_a_run_that_stopped_early_is_not_trained_again(tmp_path):
    first, history, _ = fit_with_figures([0.9, 0.5, 0.5, 0.5], tmp_path, patience=2)
    again = tiny_classifier()
    config = FitConfig(epochs=4, learning_rate=1e-2, patience=2)
    assert fit(again, keyword_batches(32), keyword_batches(16), config, tmp_path, **classify()) == history
    assert_same_weights(again.get_weights(), first.get_weights())


def test_a_run_that_was_finished_by_another_recipe_is_refused(tmp_path):
    arguments = (keyword_batches(32), keyword_batches(16))
    config = FitConfig(epochs=2, learning_rate=1e-2, unfreezing="gradual", unfreeze_epochs=(0.5,))
    history = fit(tiny_classifier(), *arguments, config, tmp_path, **classify())
    for changes, told in (
        ({"learning_rate": 1e-3, "seed": 1}, r"with learning_rate 0\.01 and not 0\.001, seed 0 and not 1: give"),
        ({"epochs": 1, "unfreezing": None}, r"unfreezing 'gradual' and not None, 2 epochs and not 1: give another"),
    ):
        with pytest.raises(UserError, match=told):
            fit(tiny_classifier(), *arguments, config.replace(**changes), tmp_path, **classify())
    # What changes nothing of the result is free, and a longer run goes on.
    free = config.replace(patience=3, micro_batches=2, recompute=True)
    assert fit(tiny_classifier(), *arguments, free, tmp_path, **classify()) == history
    longer = fit(tiny_classifier(), *arguments, config.replace(epochs=3), tmp_path, **classify())
    assert longer["loss"][:2] == history["loss"] and len(longer["loss"]) == 3


def test_an_unknown_monitor_is_answered_with_the_figures_there_are(tmp_path):
    config = FitConfig(epochs=1, monitor="val_f1")
    with pytest.raises(UserError, match="'val_f1' is no figure of this run: choose one of val_accuracy, val_loss"):
        fit(tiny_classifier(), keyword_batches(16), keyword_batches(16), config, tmp_path, **classify())


@pytest.mark.parametrize("has_validation", [True, False])
@pytest.mark.parametrize("batch", [0, 5], ids=["at its first step", "at its last step"])
def test_a_spoilt_epoch_is_told_and_the_last_good_checkpoint_kept(has_validation, batch, tmp_path):
    train, validation = keyword_batches(), keyword_batches(seed=1) if has_validation else None
    with pytest.raises(UserError, match=r"in epoch 2.*: lower the learning rate \(0\.01\).*last good checkpoint is"):
        fit(tiny_classifier(), train, validation, CONFIG, tmp_path, callbacks=[Unscrupulous(1, batch)], **classify())
    kept = load_file(tmp_path / "checkpoints" / "state.safetensors")
    assert all(np.isfinite(value).all() for value in kept.values())
    # From it the run goes on with good figures.
    history = fit(tiny_classifier(), train, validation, CONFIG, tmp_path, **classify())
    assert len(history["loss"]) == 3 and np.isfinite(history["loss"]).all()


def test_a_loss_that_was_never_good_is_told_without_a_checkpoint(tmp_path):
    config = FitConfig(epochs=2, learning_rate=1e30, warmup=0.0, clip_norm=None)
    with pytest.raises(UserError, match=r"in epoch 1, batch \d: lower the learning rate \(1e\+30\)") as error:
        fit(tiny_classifier(), keyword_batches(), None, config, tmp_path, **classify())
    assert "checkpoint" not in str(error.value)
    assert not (tmp_path / "checkpoints" / "state.safetensors").exists()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_trains_float32_weights_and_goes_on(precision, tmp_path):
    config = FitConfig(epochs=2, learning_rate=1e-2, precision=precision)
    arguments = (keyword_batches(32), keyword_batches(16), config, tmp_path)
    model = tiny_classifier(dtype=policy_for(precision))
    before = model.get_weights()
    history = fit(model, *arguments, **classify())
    assert np.isfinite(history["loss"]).all()
    assert all(variable.dtype == "float32" for variable in model.trainable_variables)
    assert any((new != old).any() for new, old in zip(model.get_weights(), before))
    longer = FitConfig(epochs=3, learning_rate=1e-2, precision=precision)
    again = tiny_classifier(dtype=policy_for(precision))
    assert len(fit(again, *arguments[:2], longer, tmp_path, **classify())["loss"]) == 3


class Poisoned(keras.callbacks.Callback):
    """Scales the loss so high, before the third batch, that gradients overflow; notes what the step makes of it."""

    seen = None

    def on_train_batch_begin(self, batch, logs=None):
        if self.seen is None and batch == 2:
            self.before = self.model.get_weights()
            self.model.optimizer.dynamic_scale.assign(2.0**26)

    def on_train_batch_end(self, batch, logs=None):
        if self.seen is None and batch == 2:
            self.seen = float(self.model.optimizer.dynamic_scale), self.model.get_weights()


def test_a_float16_step_that_overflows_is_skipped_and_the_run_recovers(tmp_path):
    model, poisoned = tiny_classifier(dtype=policy_for("float16")), Poisoned()
    config = FitConfig(epochs=3, learning_rate=1e-2, precision="float16")
    history = fit(model, keyword_batches(), None, config, tmp_path, callbacks=[poisoned], **classify())
    scale, after = poisoned.seen
    assert scale == 2.0**25
    assert_same_weights(after[: len(model.get_weights())], poisoned.before)
    assert np.isfinite(history["loss"]).all() and history["loss"][-1] < history["loss"][0]
    assert any((new != old).any() for new, old in zip(model.get_weights(), poisoned.before))
    # TensorBoard shows where the scale has come to.
    events = EventAccumulator(str(tmp_path / "logs" / "train"), size_guidance={"tensors": 0}).Reload()
    scales = [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors("loss_scale")]
    assert len(scales) == 3 and scales[-1] == float(model.optimizer.dynamic_scale) < 2.0**25


def test_bfloat16_trains_as_float32_within_its_digits(tmp_path):
    """Over 20 steps that a quarter of the loss goes in: losses to 1 %, weights to 7.5 % of their norm, 0.65 of the way.

    Steps of Adam are as long for a gradient of rounding alone as for any other.
    """
    runs = {}
    for precision in ("float32", "bfloat16"):
        keras.utils.set_random_seed(0)
        sizes = {"hidden_dim": 64, "intermediate_dim": 64, "dropout": 0.0, "attention_dropout": 0.0}
        model = tiny_classifier(dtype=policy_for(precision), **sizes)
        start = np.concatenate([np.ravel(weight) for weight in model.get_weights()])
        config = FitConfig(epochs=5, learning_rate=3e-3, precision=precision)
        history = fit(model, keyword_batches(256, batch_size=64), None, config, tmp_path / precision, **classify())
        assert int(model.optimizer.iterations) == 20
        reached = np.concatenate([np.ravel(weight) for weight in model.get_weights()])
        runs[precision] = np.array(history["loss"]), start, reached
    (wanted, start, reached), (losses, other_start, found) = runs.values()
    np.testing.assert_array_equal(other_start, start)
    assert wanted[-1] < 0.77 * wanted[0] and (losses != wanted).all()  # It learns, and computes in other numbers.
    np.testing.assert_allclose(losses, wanted, rtol=1e-2)
    bound = 0.075 * np.linalg.norm(reached)
    assert np.linalg.norm(found - reached) < bound < 0.66 * np.linalg.norm(reached - start)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("optimizer", "lamp", "there is no optimizer 'lamp': did you mean 'lamb'"),
        ("schedule", "cosin", "there is no schedule 'cosin': did you mean 'cosine'"),
        ("clip_by", "nrom", "there is no clip_by 'nrom': did you mean 'norm'"),
        ("strategy", "mirorred", "there is no strategy 'mirorred': did you mean 'mirrored'"),
        ("unfreezing", "gradul", "there is no unfreezing 'gradul': did you mean 'gradual'"),
        ("precision", "fp8", "precision 'fp8' is unknown"),
        ("epochs", 0, "epochs=0 must be at least 1"),
        ("batch_size", 0, "batch_size=0 must be at least 1"),
        ("micro_batches", 0, "micro_batches=0 must be at least 1"),
        ("patience", 0, "patience=0 must be at least 1"),
        ("learning_rate", 0.0, "learning_rate=0.0 must be positive"),
        ("learning_rate", float("nan"), "learning_rate=nan is no number"),
        ("clip_norm", 0.0, "clip_norm=0.0 must be positive"),
        ("warmup", -0.1, "warmup=-0.1 must be from 0 to 1"),
        ("warmup", 1.5, "warmup=1.5 must be from 0 to 1"),
        ("average", 1.0, "average=1.0 must be a momentum"),
        ("layer_decay", 0.0, "layer_decay=0.0 must be above 0"),
    ],
)
def test_a_recipe_refuses_what_there_cannot_be_when_it_is_made(field, value, told):
    with pytest.raises(UserError, match=told):
        FitConfig(**{field: value})


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision 'fp8' is unknown: choose one of float32, bfloat16, float16"):
        policy_for("fp8")


def test_rows_that_the_model_cannot_read_are_told_before_anything_is_written(tmp_path):
    small = tiny_classifier(vocabulary_size=30)
    for batches in ((keyword_batches(32), None), (keyword_batches(1, seed=3), keyword_batches(32))):
        with pytest.raises(UserError, match="knows those from 0 to 29"):
            fit(small, *batches, CONFIG, tmp_path / "run", **classify())
    assert not (tmp_path / "run").exists()


def test_a_recipe_refuses_unknown_fields():
    with pytest.raises(UserError, match="no field 'lr'"):
        FitConfig.from_dict({"lr": 1.0})
    with pytest.raises(UserError, match="did you mean 'learning_rate'"):
        FitConfig.from_dict({"learningrate": 1.0})


def events_of(directory):
    """The steps of every tag of a run that TensorBoard shows, and whether it has a graph."""
    events = EventAccumulator(str(directory), size_guidance={"tensors": 0}).Reload()
    steps = {tag: [event.step for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}
    return steps, events.Tags()["graph"]


def test_no_thread_tunes_what_fit_reads(tmp_path):
    """Whatever makes the batches: the end of an iterator would wait for the thread's sleep."""

    class Tuned:
        def __init__(self, batches):
            self.batches = batches

        def __len__(self):
            return len(self.batches)

        def dataset(self, first_epoch=0, epochs=1):
            return self.tuned(self.batches.dataset(first_epoch, epochs))

        def in_order(self):
            return self.tuned(self.batches.in_order())

        @staticmethod
        def tuned(dataset):
            options = tf.data.Options()
            options.autotune.enabled = True
            return dataset.with_options(options)

    model, read = tiny_classifier(), []
    train = model.fit

    def watched(dataset, validation_data, **settings):
        read.extend([dataset, validation_data])
        return train(dataset, validation_data=validation_data, **settings)

    model.fit = watched
    fit(model, Tuned(keyword_batches(32)), Tuned(keyword_batches(16)), CONFIG, tmp_path, **classify())
    assert [dataset.options().autotune.enabled for dataset in read] == [False, False]


def test_tensorboard_gets_scalars_histograms_and_the_graph(tmp_path):
    model = tiny_classifier()
    fit(model, keyword_batches(32), keyword_batches(16), CONFIG, tmp_path, **classify())
    train, _ = events_of(tmp_path / "logs" / "train")
    validation, _ = events_of(tmp_path / "logs" / "validation")
    assert train["epoch_loss"] == [0, 1, 2] and validation["epoch_accuracy"] == [0, 1, 2]
    (tag,) = [tag for tag in train if "tokens" in tag and "histogram" in tag]
    events = EventAccumulator(str(tmp_path / "logs" / "train"), size_guidance={"tensors": 0}).Reload()
    buckets = tf.make_ndarray(events.Tensors(tag)[-1].tensor_proto)
    (table,) = [variable.numpy() for variable in model.weights if tag.startswith(variable.path)]
    assert buckets[:, 2].sum() == table.size
    assert np.abs(table).max() / 2 < np.abs(buckets[:, :2]).max() < 2 * np.abs(table).max()
    _, has_graph = events_of(tmp_path / "logs" / "graph")
    assert has_graph


class UnderAMask:
    """Batches whose inputs also say who sees whom."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def dataset(self, first_epoch=0, epochs=1):
        def add(inputs, targets):
            return {**inputs, "attention_mask": inputs["padding_mask"][:, None, None]}, targets

        return self.batches.dataset(first_epoch, epochs).map(add)


def test_the_graph_has_every_input_of_the_batches(tmp_path):
    model = tiny_classifier().with_attention_mask()
    fit(model, UnderAMask(keyword_batches(32)), None, CONFIG.replace(epochs=1), tmp_path, **classify())
    graph = EventAccumulator(str(tmp_path / "logs" / "graph")).Reload().Graph()
    ranks = [len(node.attr["shape"].shape.dim) for node in graph.node if node.op == "Placeholder"]
    # The others, of rank 0, are the weights.
    assert sorted(filter(None, ranks)) == [2, 2, 2, 4]
