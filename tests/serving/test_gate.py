"""The gate passes what can be served and refuses, with a sentence, what cannot. Every check is seen to fail here."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from serving import check_savedmodel
from serving.card import CARD_JSON
from serving.loader import cpu_operations
from serving.operations import allowed_operations
from serving.warmup import WARMUP_FILE, Recorded, write_recorded
from tests.serving.support import make_exported, tiny_classifier, tiny_preprocessor
from tfmodels.errors import UserError

QUICK = {"latency_seconds": 0.05, "batch_sizes": (1, 7)}


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of the export that a test may spoil, without the checksums that would tell of it."""
    path = tmp_path / "copy"
    shutil.copytree(exported.path, path)
    (path / CARD_JSON).unlink()
    return path


def save(path, function, *specs, signatures=("serving_default", "serve_examples"), **tracked):
    """Saves a function under both signatures, as an export does."""
    module = tf.Module()
    for name, value in tracked.items():
        setattr(module, name, value)
    names = {"serving_default": "text", "serve_examples": "examples"}
    concrete = {
        name: tf.function(function, input_signature=[tf.TensorSpec([None], tf.string, name=names[name])], **dict(specs))
        for name in signatures
    }
    tf.saved_model.save(module, str(path), signatures={k: f.get_concrete_function() for k, f in concrete.items()})
    return path


def lengths(text):
    return {"logits": tf.cast(tf.strings.length(text), tf.float32)[:, None]}


def test_a_good_export_passes_every_check(exported):
    report = check_savedmodel(exported.path, expected=exported.reference, latency_seconds=0.05)
    assert report.problems == ()
    assert report.passed
    assert set(report.checks.values()) == {"passed"}
    assert report.rows_compared == 2 * (1 + 7 + 256)
    # The rounding of float32 sums: 1.2e-6 was seen.
    assert report.max_difference < 2e-6
    assert report.warmup_requests == 12
    assert report.latency["1"]["median_ms"] <= report.latency["1"]["p99_ms"]
    assert report.latency["256"]["rows_per_second"] > 0
    assert json.loads(report.to_json())["passed"] is True


def test_a_model_of_pairs_passes(exported_pairs):
    texts = [("good film", "bad plot"), ("", ""), ("the plot " * 30, "good")]
    report = check_savedmodel(exported_pairs.path, expected=exported_pairs.reference, texts=texts, **QUICK)
    assert report.problems == ()


def test_answers_can_be_given_beforehand(exported):
    inputs = {"text": ["good film", "bad"]}
    outputs = exported.reference(inputs)
    assert check_savedmodel(exported.path, expected=[(inputs, outputs)], **QUICK).passed


def test_the_pattern_of_the_official_tfx_examples_is_refused(tmp_path):
    """`tf.saved_model.save(keras_3_model, signatures=...)`: Python loads it, TensorFlow Serving's loader does not."""
    model, preprocessor = tiny_classifier(seed=3), tiny_preprocessor()

    def answer(text):
        return model.predictions(model(preprocessor(text), training=False))

    specs = {
        name: [tf.TensorSpec([None], tf.string, name=key)]
        for name, key in {"serving_default": "text", "serve_examples": "examples"}.items()
    }
    signatures = {
        name: tf.function(answer, input_signature=spec).get_concrete_function() for name, spec in specs.items()
    }
    tf.saved_model.save(model, str(tmp_path / "1"), signatures=signatures)

    in_python = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"](text=tf.constant(["good"]))
    assert in_python["logits"].shape == (1, 2)
    report = check_savedmodel(tmp_path / "1", **QUICK)
    assert not report.passed
    assert any("Could not find variable" in problem for problem in report.problems)


def test_wrong_outputs_are_refused(exported):
    def wrong(inputs):
        right = exported.reference(inputs)
        return {**right, "logits": right["logits"] + 0.001}

    report = check_savedmodel(exported.path, expected=wrong, **QUICK)
    assert not report.passed
    assert "serving_default at batch 1 differs in logits by 0.001, more than 0.0001." in report.problems
    assert report.checks["outputs"] == report.checks["serve_examples"] == "failed"


def test_another_models_weights_are_refused(exported, tmp_path):
    other = make_exported(tmp_path / "1", seed=9)
    assert not check_savedmodel(other.path, expected=exported.reference, **QUICK).passed


def test_missing_and_extra_outputs_are_refused(exported):
    report = check_savedmodel(
        exported.path, expected=lambda inputs: {"logits": exported.reference(inputs)["logits"]}, **QUICK
    )
    assert "serving_default at batch 1 gives logits, probabilities; the model gives logits." in report.problems


def test_python_in_the_graph_is_refused(tmp_path):
    def answer(text):
        return {
            "logits": tf.ensure_shape(tf.py_function(lambda t: lengths(t)["logits"], [text], tf.float32), [None, 1])
        }

    report = check_savedmodel(save(tmp_path / "1", answer), **QUICK)
    assert not report.passed
    assert "The operation EagerPyFunc is not allowed: it runs Python, which a server has not." in report.problems


def test_operations_that_write_are_refused(tmp_path):
    def answer(text):
        tf.print(text)
        return lengths(text)

    report = check_savedmodel(save(tmp_path / "1", answer), **QUICK)
    assert "The operation PrintV2 is not allowed: it writes requests into the log." in report.problems


def test_a_demand_for_xla_is_refused(tmp_path):
    @tf.function(jit_compile=True)
    def double(values):
        return values * 2.0

    report = check_savedmodel(save(tmp_path / "1", lambda text: {"logits": double(lengths(text)["logits"])}), **QUICK)
    assert not report.passed
    assert any("demands XLA" in problem for problem in report.problems)


def test_half_precision_outputs_are_refused(tmp_path):
    path = save(tmp_path / "1", lambda text: {"logits": tf.cast(lengths(text)["logits"], tf.bfloat16)})
    report = check_savedmodel(path, **QUICK)
    assert "serving_default gives logits as DT_BFLOAT16[None, 1]; clients expect float32." in report.problems
    assert report.checks["outputs"].startswith("skipped")


def test_a_missing_signature_is_refused(tmp_path):
    report = check_savedmodel(save(tmp_path / "1", lengths, signatures=["serving_default"]), **QUICK)
    assert report.problems == (
        "There is no signature serve_examples: export the model with serving.export_savedmodel.",
    )


def test_rows_that_change_one_another_are_refused(tmp_path):
    def answer(text):
        # The mean over the batch, padding and all, leaks from row to row.
        return {"logits": lengths(text)["logits"] - tf.reduce_mean(lengths(text)["logits"])}

    report = check_savedmodel(save(tmp_path / "1", answer), **QUICK)
    assert report.checks["rows are independent"] == "failed"


def test_answers_that_are_not_finite_are_refused(tmp_path):
    report = check_savedmodel(save(tmp_path / "1", lambda text: {"logits": 1.0 / lengths(text)["logits"]}), **QUICK)
    assert any("that is not finite" in problem for problem in report.problems)


def test_an_answer_of_another_batch_size_is_refused(tmp_path):
    report = check_savedmodel(save(tmp_path / "1", lambda text: {"logits": lengths(text)["logits"][:1]}), **QUICK)
    assert "serving_default answers 7 texts with logits of the shape [1, 1]." in report.problems


def test_a_failing_warmup_request_is_refused(copy):
    write_recorded(copy / WARMUP_FILE, [Recorded({"words": ["good"]})])
    report = check_savedmodel(copy, **QUICK)
    assert report.checks["warm-up"] == "failed"
    assert "keeps TensorFlow Serving from loading the version" in report.problems[0]


def test_damaged_and_too_many_warmup_requests_are_refused(copy):
    data = (copy / WARMUP_FILE).read_bytes()
    (copy / WARMUP_FILE).write_bytes(data[:-1])
    assert "DATA_LOSS" in check_savedmodel(copy, **QUICK).problems[0]
    write_recorded(copy / WARMUP_FILE, [Recorded({"text": ["good"]})] * 1001)
    assert "more than the 1000 requests" in check_savedmodel(copy, **QUICK).problems[0]


def test_files_changed_after_the_export_are_refused(exported, tmp_path):
    path = tmp_path / "changed"
    shutil.copytree(exported.path, path)
    (path / "assets" / "labels.txt").write_text("positive\nnegative\n")
    (path / "assets" / "vocab.txt").unlink()
    assert check_savedmodel(path, **QUICK).problems == (
        "The file assets/labels.txt was changed after the export: export the model again.",
        "The file assets/vocab.txt of the model card is missing: export the model again.",
    )


def test_damaged_variables_are_refused(copy):
    next((copy / "variables").glob("*.data-*")).write_bytes(b"")
    report = check_savedmodel(copy, **QUICK)
    assert report.checks["load"] == "failed"
    assert "TensorFlow Serving's loader refuses the model" in report.problems[0]


def test_a_damaged_graph_is_refused(copy):
    (copy / "saved_model.pb").write_bytes(b"\xff" * 100)
    report = check_savedmodel(copy, **QUICK)
    assert report.problems[0] == "saved_model.pb is damaged: export the model again."


def test_a_crash_of_the_loader_is_a_report(exported, monkeypatch):
    monkeypatch.setattr("serving.gate.sys.executable", shutil.which("sh"))
    # `sh -m serving.gate_process JOB` would end with an error of its own; this one ends as a crash does.
    monkeypatch.setattr("serving.gate._COMMAND", ("-c", "kill -SEGV $$"))
    report = check_savedmodel(exported.path, **QUICK)
    assert not report.passed
    assert report.problems[0].startswith("The C++ loader crashed with SIGSEGV")


def test_a_process_that_hangs_is_ended(exported):
    report = check_savedmodel(exported.path, timeout=0.01, **QUICK)
    assert report.problems == ("The C++ process did not finish within 0.01 seconds.",)


def test_a_folder_without_an_export_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="holds no saved_model"):
        check_savedmodel(tmp_path)


def test_every_allowed_operation_has_a_kernel_here():
    assert allowed_operations() <= cpu_operations()


def test_reports_are_frozen(exported):
    report = check_savedmodel(exported.path, timeout=0.01, **QUICK)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.passed = True
    assert np.isfinite(report.peak_memory_mib)
