import numpy as np
import pytest

import tfmodels
from tfmodels.distillation import embed_like_teacher
from tfmodels.models import TextClassifier


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
