"""TinyBERT's stages, layer-subset students with DistilBERT's triple loss, and students of other families."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.support import to_numpy, token_batch
from tests.training.keywords import keyword_batches, tiny_classifier
from tfmodels.distillation import (
    CosineHiddenStates,
    Distiller,
    HiddenStates,
    LogitRegression,
    SoftLabels,
    embed_like_teacher,
    from_layers,
    layer_losses,
    uniform_layer_map,
)
from tfmodels.errors import UserError
from tfmodels.models import MaskedLM, TextClassifier
from tfmodels.training import Batches

# M layers under N, unequally wide.
STUDENTS = {
    "albert": ("albert_base", {"num_layers": 2, "hidden_dim": 10, "embedding_dim": 6}),
    "electra": ("electra_small", {"num_layers": 2, "hidden_dim": 12, "embedding_dim": 7}),
}


def train(model, batches, epochs, rate=1e-2):
    """The figures of every epoch, without the checkpoints of `training.fit`."""
    model.compile(keras.optimizers.Adam(rate), jit_compile=False)
    steps = len(batches)
    return model.fit(batches.dataset(0, epochs), epochs=epochs, steps_per_epoch=steps, verbose=0).history


def with_weights_that_matter(model):
    """The model with larger weights than it starts with."""
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(1.0 if variable.name == "gamma" else 0.0, 0.3, variable.shape))
    return model


def masked_lm():
    return with_weights_that_matter(MaskedLM(tiny(num_layers=4, hidden_dim=18, num_heads=2), name="teacher"))


def teacher_of():
    return with_weights_that_matter(TextClassifier(tiny(num_layers=4, hidden_dim=18, num_heads=2), 2, name="teacher"))


def test_layers_are_mapped_evenly():
    assert uniform_layer_map(4, 12) == {1: 3, 2: 6, 3: 9, 4: 12}
    assert uniform_layer_map(6, 6) == {layer: layer for layer in range(1, 7)}
    embeddings, hidden, attention = layer_losses(3, 6)
    assert embeddings.layer_map == {0: 0}
    assert hidden.layer_map == {1: 2, 2: 4, 3: 6}
    assert attention.layer_map == {0: 1, 1: 3, 2: 5}


@pytest.mark.parametrize("layers", [(4, 6), (0, 6), (7, 6), (-1, 6), (12, 6)])
def test_layers_that_do_not_divide_are_refused_with_those_that_do(layers):
    with pytest.raises(UserError, match=f"^{layers[0]} layers cannot be laid evenly .* 6: choose one of 1, 2, 3, 6.$"):
        uniform_layer_map(*layers)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.learns
def test_a_student_of_another_family_learns_its_teachers_layers(name):
    preset, sizes = STUDENTS[name]
    student, teacher = TextClassifier(tiny(preset, **sizes), 2, name="student"), teacher_of()
    distiller = Distiller(student, teacher, [*layer_losses(2, 4), LogitRegression(name="logits")])
    widths = {tuple(v.shape) for loss in distiller.losses_of for v in loss.trainable_variables}
    assert widths == {(sizes["hidden_dim"], 18)}
    history = train(distiller, keyword_batches(64, target="labels"), epochs=6)
    for figure in ("embeddings", "hidden_states", "attention_scores", "logits"):
        assert history[figure][-1] < history[figure][0], figure


@pytest.mark.learns
def test_a_bilstm_learns_from_a_transformer():
    student, teacher = TextClassifier(tiny("bilstm"), 2), teacher_of()
    embed_like_teacher(student, teacher, first=1, last=2)
    losses = [LogitRegression(name="logits"), HiddenStates({0: 0, 2: 4}, name="hidden_states")]
    history = train(Distiller(student, teacher, losses), keyword_batches(64, target="labels"), epochs=4)
    assert history["logits"][-1] < history["logits"][0] and history["hidden_states"][-1] < history["hidden_states"][0]


def test_the_general_stage_needs_no_labels_and_leaves_the_heads_alone():
    student = TextClassifier(tiny(num_layers=2, hidden_dim=10, num_heads=2), 2)
    distiller = Distiller(student, teacher_of(), layer_losses(2, 4))
    batches = Batches(keyword_batches(16).token_ids, {"labels": np.full(16, -1)}, 16)
    inputs, targets = next(iter(batches.in_order()))
    with tf.GradientTape() as tape:
        loss = distiller.compute_loss(inputs, targets, distiller(inputs, training=False))
    gradients = tape.gradient(loss, [v.value for v in distiller.trainable_variables])
    assert float(distiller.loss_counts(inputs, targets)["hard_loss"]) == 0
    for variable, gradient in zip(distiller.trainable_variables, gradients):
        moves = gradient is not None and tf.convert_to_tensor(gradient).numpy().any()
        is_asked = not any(part in variable.path for part in ("head", "pooler"))
        assert moves == is_asked or variable.path.endswith("key/bias"), variable.path


@pytest.mark.learns
def test_both_stages_make_a_student_that_agrees_with_its_teacher():
    # A teacher that has learnt the task, and a student that sees no label.
    teacher = tiny_classifier(num_layers=2, dropout=0.0, attention_dropout=0.0)
    batches = keyword_batches(512, target="labels")
    train(Distiller(teacher, teacher, [], hard_label_weight=1.0), batches, epochs=5)
    held_out = keyword_batches(256, seed=3)
    wanted = held_out.outputs_of(teacher)["logits"].argmax(-1)
    assert np.mean(wanted == held_out.targets["logits"]) > 0.9
    batches = Batches(keyword_batches(512, seed=5).token_ids, {"labels": np.full(512, -1)}, 16)
    keras.utils.set_random_seed(0)
    student = TextClassifier(tiny(num_layers=1, hidden_dim=10, num_heads=2, dropout=0.0), 2)
    for losses in (layer_losses(1, 2), [SoftLabels(1.0, name="soft_labels")]):
        train(Distiller(student, teacher, losses), batches, epochs=4)
    assert np.mean(held_out.outputs_of(student)["logits"].argmax(-1) == wanted) > 0.9


def triple_loss(layers, teacher_layers):
    """DistilBERT's weights (its authors' code): 5 for the soft labels at temperature 2, 1 for the cosine."""
    return [
        SoftLabels(2.0, weight=5.0, name="soft_labels"),
        CosineHiddenStates({layers: teacher_layers}, name="cosine_hidden_states"),
    ]


def test_a_masked_language_model_is_distilled_by_the_triple_loss():
    teacher = masked_lm()
    student = from_layers(teacher, [0, 2], name="student")
    distiller = Distiller(student, teacher, triple_loss(2, 4), hard_label_weight=2.0)
    batch = token_batch([6, 3, 8])
    labels = np.full((3, 8), -1)
    labels[0, 2], labels[1, 1], labels[2, 7] = 7, 9, 30
    targets = {"labels": tf.constant(labels)}
    inputs = {name: tf.constant(value) for name, value in batch.items()}
    with tf.GradientTape() as tape:
        loss = distiller.compute_loss(inputs, targets, distiller(inputs, training=False))
    gradients = tape.gradient(loss, [v.value for v in distiller.trainable_variables])

    ours, theirs = (to_numpy(model.with_intermediates()(batch)) for model in (student, teacher))
    real = np.argwhere(batch["padding_mask"])

    def log_softmax(x):
        x = x.astype("float64")
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    hard = np.mean([-log_softmax(ours["logits"][b, t])[labels[b, t]] for b, t in np.argwhere(labels >= 0)])
    p, q = log_softmax(theirs["logits"] / 2), log_softmax(ours["logits"] / 2)
    soft = 4 * np.mean([(np.exp(p[b, t]) * (p[b, t] - q[b, t])).sum() for b, t in real])
    pairs = [(ours["hidden_states"][2][b, t], theirs["hidden_states"][4][b, t]) for b, t in real]
    cosine = np.mean([1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in pairs])
    assert float(loss) == pytest.approx(2 * hard + 5 * soft + cosine, rel=1e-4)
    told = {v.path for v, gradient in zip(distiller.trainable_variables, gradients) if gradient is not None}
    assert told == {v.path for v in distiller.trainable_variables if "pooler" not in v.path}
    assert float(distiller.loss_counts(inputs, targets)["hard_loss"]) == 3
    assert float(distiller.loss_counts(inputs, targets)["soft_labels"]) == 17


def test_labels_of_tokens_are_none_at_padding():
    teacher, token_ids = masked_lm(), keyword_batches(16).token_ids
    # Batches pad ragged labels with zeros.
    labels = tf.ragged.map_flat_values(lambda ids: tf.where(ids % 7 == 0, ids, -1), token_ids)
    distiller = Distiller(from_layers(teacher, [1, 3]), teacher, [], hard_label_weight=1.0)
    inputs, targets = next(iter(Batches(token_ids, {"labels": labels}, 16).in_order()))
    assert (targets["labels"].numpy() == 0).any()
    known = labels.values.numpy() >= 0
    assert float(distiller.loss_counts(inputs, targets)["hard_loss"]) == known.sum()
    logits = to_numpy(distiller.student(inputs)["logits"])[inputs["padding_mask"].numpy()][known].astype("float64")
    wanted = labels.values.numpy()[known]
    expected = -np.mean([row[label] - np.log(np.exp(row).sum()) for row, label in zip(logits, wanted)])
    loss = distiller.compute_loss(inputs, targets, distiller(inputs, training=False))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    accuracy = distiller.compute_metrics(inputs, targets, distiller(inputs))["accuracy"]
    assert float(accuracy) == pytest.approx(np.mean(logits.argmax(-1) == wanted))
