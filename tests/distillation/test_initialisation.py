import numpy as np
import pytest

import tfmodels
from tests.models.tiny import tiny
from tests.support import to_numpy, token_batch
from tests.support.tensors import assert_close
from tfmodels.distillation import embed_like_teacher, from_layers, token_states
from tfmodels.errors import UserError
from tfmodels.layers import MeanPooling
from tfmodels.models import MaskedLM, TextClassifier


def classifier(**overrides):
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 16, "vocabulary_size": 40}
    return TextClassifier(tfmodels.create_model("bert_tiny", **{**sizes, **overrides}), num_classes=2)


def test_vectors_keep_the_distances_between_the_teachers_states():
    teacher, student = classifier(), classifier(hidden_dim=16, embedding_dim=15)
    embed_like_teacher(student, teacher, first=2, last=3)
    rows = np.array([[2, token, 3] for token in range(40)])
    inputs = {"token_ids": rows, "segment_ids": rows * 0, "padding_mask": rows >= 0}
    states = np.asarray(teacher.backbone(inputs)["sequence_output"])[:, 1]
    vectors = np.asarray(student.backbone.parts["embeddings"].tokens)

    def distances(points):
        apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
        return apart / apart.mean()

    # Layer normalisation leaves the states 15 dimensions of 16, so that nothing is lost.
    np.testing.assert_allclose(distances(vectors), distances(states), atol=1e-3)
    np.testing.assert_allclose(vectors.std(), 0.05, rtol=1e-5)


def test_states_that_were_asked_for_before_are_taken_as_they_are():
    teacher, asked, told = classifier(), classifier(embedding_dim=4), classifier(embedding_dim=4)
    embed_like_teacher(asked, teacher, first=2, last=3)
    embed_like_teacher(told, teacher, first=2, last=3, states=token_states(teacher, first=2, last=3))
    ours, theirs = (np.asarray(student.backbone.parts["embeddings"].tokens) for student in (told, asked))
    np.testing.assert_array_equal(ours, theirs)


def test_fewer_components_are_those_of_largest_variance():
    teacher, student = classifier(), classifier(embedding_dim=4)
    embed_like_teacher(student, teacher, first=2, last=3)
    variances = np.asarray(student.backbone.parts["embeddings"].tokens).var(axis=0)
    assert np.all(np.diff(variances) <= 1e-9)


def test_vocabularies_must_agree():
    with pytest.raises(ValueError, match="knows 30 tokens and the teacher 40"):
        embed_like_teacher(classifier(vocabulary_size=30), classifier(), first=2, last=3)


def test_vectors_cannot_be_wider_than_the_teachers_states():
    with pytest.raises(ValueError, match="cannot be made"):
        embed_like_teacher(classifier(hidden_dim=32), classifier(), first=2, last=3)


def test_a_student_of_chosen_layers_computes_what_they_compute():
    teacher = MaskedLM(classifier(num_layers=3).backbone, name="teacher")
    random = np.random.default_rng(0)
    teacher.set_weights([random.normal(0, 0.3, value.shape) for value in teacher.get_weights()])
    student = from_layers(teacher, [2, 0], name="student")
    assert isinstance(student, MaskedLM) and student.name == "student" and student.backbone.config.num_layers == 2
    batch = token_batch([5, 3], vocabulary_size=40)
    parts, real = teacher.backbone.parts, batch["padding_mask"][:, None, None]
    x = parts["embeddings"](batch["token_ids"], batch["segment_ids"])
    states = [x]
    for layer in (2, 0):
        x = parts["blocks"][layer](x, attention_mask=real)
        states.append(x)
    found = student.with_intermediates()(batch)
    for ours, theirs in zip(found["hidden_states"], states, strict=True):
        assert_close(to_numpy(ours), to_numpy(theirs), 1e-6)
    features = {"sequence_output": x, "pooled_output": parts["pooler"](x[:, 0])}
    assert_close(to_numpy(found["logits"]), to_numpy(teacher.head(features)["logits"]), 1e-6)
    assert not {id(v) for v in student.variables} & {id(v) for v in teacher.variables}, "weights are copies"


@pytest.mark.parametrize("name", ["albert_base", "electra_small", "nezha_base", "xlnet_base", "transformer_xl_enwik8"])
def test_all_layers_of_a_teacher_are_the_teacher(name):
    teacher = TextClassifier(tiny(name), 3)
    twin = from_layers(teacher, range(3))
    batch = token_batch([5, 3])
    assert twin.name == teacher.name and twin.backbone.name == teacher.backbone.name
    np.testing.assert_array_equal(to_numpy(twin(batch)["logits"]), to_numpy(teacher(batch)["logits"]))


def test_a_pooling_layer_comes_along():
    teacher = TextClassifier(tiny(), 2, pooling=MeanPooling())
    assert isinstance(from_layers(teacher, [1]).settings["pooling"], MeanPooling)


def test_a_backbone_gives_a_backbone_in_its_precision():
    student = from_layers(tiny(dtype="mixed_bfloat16"), [1, 2], name="short")
    assert student.name == "short" and student.config.num_layers == 2 and student.dtype_policy.name == "mixed_bfloat16"


@pytest.mark.parametrize(
    "name, layers, told",
    [
        ("bert_tiny", [0, 3], "the teacher has no layer 3: its layers go from 0 to 2"),
        ("bert_tiny", [-1], "the teacher has no layer -1"),
        ("bert_tiny", [], "a student needs layers"),
        ("bilstm", [0], "BilstmBackbone has no layers to choose from"),
    ],
)
def test_layers_that_there_are_not_are_refused(name, layers, told):
    with pytest.raises(UserError, match=told):
        from_layers(tiny(name), layers)
