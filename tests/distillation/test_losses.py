"""Each loss against its equation in NumPy: the value, and the gradient into the student alone."""

import keras
import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import to_numpy, token_batch
from tests.support.gradients import finite_differences, gradients_of
from tests.support.oracles import softmax
from tests.support.tensors import assert_close
from tfmodels.distillation import (
    AttentionScores,
    CosineHiddenStates,
    Embeddings,
    HiddenStates,
    LogitRegression,
    SoftLabels,
)
from tfmodels.errors import UserError
from tfmodels.models import MaskedLM, TextClassifier

B, T, D, DT, N, C = 3, 4, 6, 5, 2, 3
REAL = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], bool)


def random(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def check_loss(loss, oracle, student, teacher):
    """The value and the gradient of a loss are the oracle's, with respect to every output of the student.

    Args:
        loss: A prepared loss.
        oracle: The same from `student` and `teacher`, float64 NumPy arrays by name.
        student: The student's outputs by name.
        teacher: The teacher's.
    """
    variables = {name: keras.Variable(value) for name, value in student.items()}
    teachers = {name: keras.Variable(value) for name, value in teacher.items()}

    def ours():
        return loss(
            {name: keras.ops.convert_to_tensor(variable) for name, variable in variables.items()},
            {name: keras.ops.convert_to_tensor(variable) for name, variable in teachers.items()},
            REAL,
        )

    value, gradients = gradients_of(ours, list(variables.values()))
    exact = {name: array.astype("float64") for name, array in student.items()}
    assert value == pytest.approx(oracle(exact, teacher), rel=1e-5)
    for name, gradient in zip(variables, gradients):
        expected = finite_differences(lambda array, name=name: oracle({**exact, name: array}, teacher), exact[name])
        assert_close(gradient, expected, 1e-5, name)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_soft_labels_are_the_divergence_of_softened_distributions(temperature):
    def oracle(student, teacher):
        total = 0.0
        for ours, theirs in zip(student["logits"], teacher["logits"].astype("float64")):
            p, q = softmax(theirs / temperature), softmax(ours / temperature)
            total += sum(p[c] * np.log(p[c] / q[c]) for c in range(C))
        # arXiv:1503.02531, section 2: gradients scale as 1 / T^2, so the loss is multiplied by T^2.
        return temperature**2 * total / B

    check_loss(
        SoftLabels(temperature), oracle, {"logits": 3 * random(B, C, seed=0)}, {"logits": 3 * random(B, C, seed=1)}
    )


def test_logit_regression_is_the_squared_difference_of_centred_logits():
    def oracle(student, teacher):
        total = 0.0
        for ours, theirs in zip(student["logits"], teacher["logits"].astype("float64")):
            total += sum(((ours[c] - sum(ours) / C) - (theirs[c] - sum(theirs) / C)) ** 2 for c in range(C))
        return total / (B * C)

    check_loss(LogitRegression(), oracle, {"logits": 3 * random(B, C, seed=0)}, {"logits": 3 * random(B, C, seed=1)})


def test_logit_regression_does_not_see_what_no_softmax_sees():
    student, teacher = {"logits": random(B, C, seed=0)}, {"logits": random(B, C, seed=0) + 7}
    assert float(LogitRegression()(student, teacher, REAL)) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("loss", [SoftLabels(2.0), LogitRegression()], ids=["soft labels", "regression"])
def test_logits_at_every_token_are_compared_at_real_ones(loss):
    loss.prepare(MaskedLM(tiny(vocabulary_size=C)), {"logits": C})
    assert float(loss.count(REAL)) == REAL.sum()

    def oracle(student, teacher):
        pairs = [
            (student["logits"][b, t], teacher["logits"][b, t].astype("float64"))
            for b in range(B)
            for t in range(T)
            if REAL[b, t]
        ]
        if isinstance(loss, LogitRegression):
            return np.mean([np.mean(((x - x.mean()) - (y - y.mean())) ** 2) for x, y in pairs])
        softened = [(softmax(y / 2), softmax(x / 2)) for x, y in pairs]
        return 4 * np.mean([np.sum(p * np.log(p / q)) for p, q in softened])

    student, teacher = {"logits": random(B, T, C, seed=0)}, {"logits": random(B, T, C, seed=1)}
    check_loss(loss, oracle, student, teacher)
    noisy = {"logits": np.where(REAL[:, :, None], student["logits"], 100)}
    assert float(loss(noisy, teacher, REAL)) == float(loss(student, teacher, REAL))


def test_soft_labels_of_equal_models_are_zero_and_stay_finite():
    logits = np.array([[1e4, -1e4, 0.0]] * B, "float32")
    loss = SoftLabels(2.0)
    assert float(loss({"logits": logits}, {"logits": logits}, REAL)) == 0.0
    assert np.isfinite(float(loss({"logits": -logits}, {"logits": logits}, REAL)))


def prepared(loss, **widths):
    """A loss with its weights made, for a student of width D and 3 layers."""
    student = TextClassifier(tiny(hidden_dim=D, num_heads=2), C)
    loss.prepare(student, {name: N if name.startswith("attention") else DT for name in loss.teacher_names})
    return loss


@pytest.mark.parametrize("layer_map", [{1: 2}, {0: 0, 2: 5, 3: 1}])
def test_hidden_states_are_the_squared_difference_at_real_tokens(layer_map):
    loss = prepared(HiddenStates(layer_map))
    maps = {ours: random(D, DT, seed=10 + ours) for ours in layer_map}
    assert [tuple(weight.shape) for weight in loss.weights] == [(D, DT)] * len(layer_map)
    loss.set_weights(list(maps.values()))

    def oracle(student, teacher):
        total = 0.0
        for ours, theirs in layer_map.items():
            squares = [
                (
                    (student[f"hidden_states/{ours}"][b, t] @ maps[ours] - teacher[f"hidden_states/{theirs}"][b, t])
                    ** 2
                ).mean()
                for b in range(B)
                for t in range(T)
                if REAL[b, t]
            ]
            total += np.mean(squares)
        return total

    check_loss(
        loss,
        oracle,
        {f"hidden_states/{ours}": random(B, T, D, seed=ours) for ours in layer_map},
        {f"hidden_states/{theirs}": random(B, T, DT, seed=20 + theirs) for theirs in layer_map.values()},
    )


def test_the_maps_of_hidden_states_learn_too():
    loss = prepared(HiddenStates({1: 1}))
    student, teacher = {"hidden_states/1": random(B, T, D, seed=0)}, {"hidden_states/1": random(B, T, DT, seed=1)}
    kernel = loss.get_weights()[0].astype("float64")
    _, (gradient,) = gradients_of(lambda: loss(student, teacher, REAL), loss.trainable_variables)

    def oracle(kernel):
        difference = student["hidden_states/1"].astype("float64") @ kernel - teacher["hidden_states/1"]
        return (difference[REAL] ** 2).mean()

    assert_close(gradient, finite_differences(oracle, kernel), 1e-5)


def cosine_oracle(layer_map, maps):
    """1 - cos, averaged over real tokens and summed over layers; `maps` are matrices by the student's layer, or {}."""

    def oracle(student, teacher):
        total = 0.0
        for ours, theirs in layer_map.items():
            apart = []
            for b, t in np.argwhere(REAL):
                x, y = (
                    student[f"hidden_states/{ours}"][b, t],
                    teacher[f"hidden_states/{theirs}"][b, t].astype("float64"),
                )
                x = x @ maps[ours] if maps else x
                apart.append(1 - x @ y / np.sqrt((x @ x) * (y @ y)))
            total += np.mean(apart)
        return total

    return oracle


@pytest.mark.parametrize("layer_map", [{3: 6}, {0: 0, 1: 2, 3: 1}])
@pytest.mark.parametrize("width", [D, DT], ids=["as wide", "narrower"])
def test_cosines_are_those_of_states_at_real_tokens(layer_map, width):
    loss = CosineHiddenStates(layer_map)
    loss.prepare(TextClassifier(tiny(hidden_dim=D, num_heads=2), C), dict.fromkeys(loss.teacher_names, width))
    maps = {} if width == D else {ours: random(D, width, seed=10 + ours) for ours in layer_map}
    assert len(loss.weights) == len(maps), "there are maps where the widths differ alone"
    loss.set_weights(list(maps.values()))
    check_loss(
        loss,
        cosine_oracle(layer_map, maps),
        {f"hidden_states/{ours}": random(B, T, D, seed=ours) for ours in layer_map},
        {f"hidden_states/{theirs}": random(B, T, width, seed=20 + theirs) for theirs in layer_map.values()},
    )


def test_cosines_see_directions_and_not_lengths_and_bear_zeros():
    loss = CosineHiddenStates({1: 1})
    loss.prepare(TextClassifier(tiny(hidden_dim=D, num_heads=2), C), {"hidden_states/1": D})
    states = random(B, T, D, seed=0)
    for factor, wanted in ((7.0, 0.0), (-0.1, 2.0)):
        value = float(loss({"hidden_states/1": states}, {"hidden_states/1": factor * states}, REAL))
        assert value == pytest.approx(wanted, abs=1e-6)
    zeros = keras.Variable(np.where(REAL[:, :, None], states, 0) * (np.arange(B) > 0)[:, None, None].astype("float32"))
    value, (gradient,) = gradients_of(
        lambda: loss({"hidden_states/1": keras.ops.convert_to_tensor(zeros)}, {"hidden_states/1": states}, REAL),
        [zeros],
    )
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_a_student_without_attention_is_told_so():
    student = TextClassifier(tiny("bilstm"), C)
    with pytest.raises(ValueError, match="bilstm does not attend: leave AttentionScores out"):
        AttentionScores({0: 0}).prepare(student, {})
    loss = HiddenStates({0: 0, 2: 4})
    loss.prepare(student, dict.fromkeys(loss.teacher_names, DT))
    assert [tuple(weight.shape) for weight in loss.weights] == [(9, DT), (14, DT)]
    with pytest.raises(ValueError, match="the student has no layer 3; its indices go from 0 to 2"):
        HiddenStates({3: 0}).prepare(student, {"hidden_states/0": DT})


def test_embeddings_are_hidden_states_of_the_first_alone():
    embeddings, states = prepared(Embeddings()), prepared(HiddenStates({0: 0}))
    assert embeddings.teacher_names == ("hidden_states/0",)
    states.set_weights(embeddings.get_weights())
    student, teacher = {"hidden_states/0": random(B, T, D, seed=0)}, {"hidden_states/0": random(B, T, DT, seed=1)}
    assert float(embeddings(student, teacher, REAL)) == float(states(student, teacher, REAL))


def test_attention_scores_are_the_squared_difference_at_real_pairs():
    layer_map = {0: 1, 2: 3}
    loss = prepared(AttentionScores(layer_map))
    assert loss.weights == []

    def oracle(student, teacher):
        total = 0.0
        for ours, theirs in layer_map.items():
            ours, theirs = student[f"attention_scores/{ours}"], teacher[f"attention_scores/{theirs}"]
            squares = [
                (ours[b, n, t, s] - theirs[b, n, t, s]) ** 2
                for b in range(B)
                for n in range(N)
                for t in range(T)
                for s in range(T)
                if REAL[b, t] and REAL[b, s]
            ]
            total += np.mean(squares)
        return total

    check_loss(
        loss,
        oracle,
        {f"attention_scores/{ours}": random(B, N, T, T, seed=ours) for ours in layer_map},
        {f"attention_scores/{theirs}": random(B, N, T, T, seed=20 + theirs) for theirs in layer_map.values()},
    )


def test_teachers_in_half_precision_are_compared_in_float32():
    loss = prepared(HiddenStates({1: 1}))
    student = {"hidden_states/1": random(B, T, D, seed=0)}
    half = random(B, T, DT, seed=1).astype("float16")
    full = float(loss(student, {"hidden_states/1": half.astype("float32")}, REAL))
    assert float(loss(student, {"hidden_states/1": half}, REAL)) == full


def test_what_stands_at_padding_does_not_matter():
    for loss, name, shape, axes in (
        (prepared(HiddenStates({1: 1})), "hidden_states/1", (B, T, D), (REAL[:, :, None],)),
        (prepared(CosineHiddenStates({1: 1})), "hidden_states/1", (B, T, D), (REAL[:, :, None],)),
        (AttentionScores({1: 1}), "attention_scores/1", (B, N, T, T), (REAL[:, None, :, None], REAL[:, None, None])),
    ):
        loss.prepare(TextClassifier(tiny(hidden_dim=D), C), {name: shape[1 if len(shape) == 4 else -1]})
        student, teacher = random(*shape, seed=0), random(*shape, seed=1)
        before = float(loss({name: student}, {name: teacher}, REAL))
        real = np.logical_and.reduce(np.broadcast_arrays(*axes)) & np.ones(shape, bool)
        changed = [np.where(real, array, array + 100) for array in (student, teacher)]
        assert float(loss({name: changed[0]}, {name: changed[1]}, REAL)) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_a_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature} must be positive"):
        SoftLabels(temperature)


@pytest.mark.parametrize(
    "loss, told",
    [
        (HiddenStates({4: 0}), "HiddenStates: the student has no layer 4; its indices go from 0 to 3"),
        (HiddenStates({-1: 0}), "HiddenStates: the student has no layer -1; its indices go from 0 to 3"),
        (AttentionScores({3: 0}), "AttentionScores: the student has no layer 3; its indices go from 0 to 2"),
    ],
)
def test_a_layer_that_the_student_does_not_have_is_named(loss, told):
    with pytest.raises(ValueError, match=told):
        prepared(loss)


def test_models_of_other_numbers_of_heads_share_no_attention():
    with pytest.raises(UserError, match="the student has 2 attention heads and the teacher 3"):
        AttentionScores({0: 0}).prepare(TextClassifier(tiny(num_heads=2), C), {"attention_scores/0": 3})


@pytest.mark.parametrize(
    "loss",
    [
        SoftLabels(2.0, weight=0.5),
        HiddenStates({1: 2}),
        CosineHiddenStates({1: 2}, 0.2),
        AttentionScores({0: 3}, weight=2.0),
        Embeddings(3.0),
    ],
)
def test_losses_go_through_their_configuration(loss):
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(twin) is type(loss) and twin.weight == loss.weight and twin.teacher_names == loss.teacher_names


def test_indices_into_hidden_states_count_the_embeddings():
    classifier = TextClassifier(tiny(), C)
    named = to_numpy(classifier.with_intermediates()(token_batch([5, 3])))
    embedded = to_numpy(classifier.backbone.parts["embeddings"](*list(token_batch([5, 3]).values())[:2]))
    np.testing.assert_array_equal(named["hidden_states"][0], embedded)
    assert len(named["hidden_states"]) == 4 and len(named["attention_scores"]) == 3
