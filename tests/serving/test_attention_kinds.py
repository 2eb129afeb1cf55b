"""Kinds of attention through the C++ loader: those that no family's export shows, in one export for all."""

import keras

import tfmodels
from serving import check_savedmodel, export_savedmodel, keras_reference
from tests.models.test_attention_kinds import FIRST, backbone_of
from tests.serving.support import VOCABULARY, randomised, tiny_preprocessor
from tests.serving.test_families import FAMILIES, TEXTS
from tfmodels.models import AttentionKind, TextClassifier
from tfmodels.models.backbone import token_inputs


def of_families():
    """The names of the kinds that the families' exports have."""
    names = set()
    for preset, *_ in FAMILIES.values():
        config = tfmodels.describe_model(preset)[1].config
        kinds = getattr(config, "kind", getattr(config, "attention", None))
        names |= {type(kind).__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,))}
    return names


@keras.saving.register_keras_serializable("tests")
class Panel(keras.Model):
    """Classifiers of the same texts, side by side."""

    def __init__(self, classifiers):
        inputs = token_inputs()
        super().__init__(inputs, {name: model(inputs)["logits"] for name, model in classifiers.items()})

    def predictions(self, outputs):
        return outputs


def test_every_kind_is_served_by_the_cpp_loader(tmp_path):
    assert {case.values[0] for case in FIRST} == set(AttentionKind.kinds())
    sizes = {"vocabulary_size": len(VOCABULARY), "max_sequence_length": 32}
    classifiers = {}
    for case in FIRST:
        name, settings = case.values
        if name in of_families():
            continue
        classifiers[case.id] = TextClassifier(backbone_of(name, settings, **sizes), 2, name=case.id)
    model, preprocessor = randomised(Panel(classifiers), seed=0), tiny_preprocessor()
    path = export_savedmodel(model, tmp_path / "1", preprocessor=preprocessor, warmup_batch_sizes=(2,))
    report = check_savedmodel(
        path, expected=keras_reference(model, preprocessor), texts=TEXTS, batch_sizes=(7,), latency_seconds=0.01
    )
    assert report.problems == ()
    assert report.passed and report.rows_compared == 2 * 7
