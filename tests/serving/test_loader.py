"""The C++ loader: what it runs, what it refuses, and that it leaves nothing behind."""

import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest
import tensorflow as tf

from serving import SavedModel, StatusError
from serving.loader import tensorflow_version
from serving.status import Code
from tests.serving.support import TableClassifier, TablePreprocessor


@pytest.fixture(scope="module")
def model(exported):
    with SavedModel(exported.path) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def types(tmp_path_factory):
    """A SavedModel that gives back what it is given, in every type that a tensor of a request can have."""
    path = tmp_path_factory.mktemp("types") / "1"
    module = tf.Module()
    names = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    names += ["bool", "string", "float16"]
    specs = [tf.TensorSpec([None, None], name, name=name) for name in names]
    function = tf.function(lambda *xs: {n: tf.identity(x) for n, x in zip(names, xs)}, input_signature=specs)
    tf.saved_model.save(module, str(path), signatures=function.get_concrete_function())
    with SavedModel(path) as loaded:
        yield loaded


def code_of(function, *arguments, **named) -> Code:
    with pytest.raises(StatusError) as caught:
        function(*arguments, **named)
    return caught.value.code


def test_answers_equal_the_keras_model(model, exported):
    texts = ["good film", "", "bad", "\u4e0d\u9519 \U0001f44d"]
    outputs = model.run({"text": texts})
    for name, expected in exported.answers(texts).items():
        np.testing.assert_allclose(outputs[name], expected, atol=1e-6)


def test_signatures_are_read_without_tensorflow(model):
    signature = model.signature()
    assert list(signature.inputs) == ["text"]
    assert str(signature.inputs["text"]) == "string[None]"
    assert {name: str(info) for name, info in signature.outputs.items()} == {
        "logits": "float32[None, 2]",
        "probabilities": "float32[None, 2]",
    }
    assert list(model.signatures) == ["serve_examples", "serving_default"]


def test_a_fresh_process_needs_no_python_tensorflow(exported):
    script = (
        "import sys\n"
        "from serving.loader import SavedModel\n"
        f"print(SavedModel({str(exported.path)!r}).run({{'text': ['good']}})['logits'].shape)\n"
        "assert not any(name == 'tensorflow' or name.startswith('tensorflow.python') for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 2)"


def test_python_tensorflow_can_be_imported_after_the_loader(exported):
    script = (
        "import sys\n"
        "from serving.loader import SavedModel\n"
        "from serving.protos import tensor_pb2\n"
        f"model = SavedModel({str(exported.path)!r})\n"
        "before = model.run({'text': ['good']})['logits']\n"
        "assert 'tensorflow' not in sys.modules\n"
        "import tensorflow as tf, tensorflow_text\n"
        "assert tf.make_tensor_proto([1.0]).__class__ is tensor_pb2.TensorProto\n"
        "loaded = tf.saved_model.load(str(model.directory)).signatures['serving_default']\n"
        "assert abs(loaded(text=tf.constant(['good']))['logits'].numpy() - before).max() < 1e-6\n"
        "assert abs(model.run({'text': ['good']})['logits'] - before).max() < 1e-6\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("rows, columns", [(0, 3), (1, 1), (3, 2), (2, 0)])
def test_every_type_goes_in_and_comes_out_unchanged(types, rows, columns):
    inputs = {}
    for name, info in types.signature().inputs.items():
        assert str(info).startswith(name)
        values = np.arange(rows * columns).reshape(rows, columns)
        if name == "string":
            strings = [f"{value} ".encode() * (value * 20) + b"\0\xff" for value in values.reshape(-1)]
            inputs[name] = np.array(strings, object).reshape(rows, columns)
        else:
            inputs[name] = (values % 2).astype(bool) if name == "bool" else values.astype(name)
    for name, array in types.run(inputs).items():
        assert array.dtype == inputs[name].dtype
        np.testing.assert_array_equal(array, inputs[name])


def test_tables_are_filled(tmp_path):
    from serving import export_savedmodel

    classifier = TableClassifier()
    path = export_savedmodel(classifier, tmp_path / "1", preprocessor=TablePreprocessor())
    embeddings = classifier.embedding.embeddings.numpy()
    np.testing.assert_allclose(SavedModel(path).run({"text": ["bad good"]})["logits"][0], embeddings[1] + embeddings[2])


@pytest.mark.parametrize(
    "inputs",
    [
        {"words": ["good"]},
        {"text": ["good"], "more": ["good"]},
        {},
        {"text": [1.5]},
        {"text": np.array([1], np.int32)},
        {"text": "good"},
        {"text": [["good"]]},
        {"text": [["good"], ["good", "bad"]]},
        {"text": ["half a pair: \ud800"]},
    ],
    ids=["wrong name", "extra name", "missing name", "number", "array", "scalar", "rank 2", "ragged", "surrogate"],
)
def test_inputs_that_do_not_fit_are_invalid(model, inputs):
    assert code_of(model.run, inputs) == Code.INVALID_ARGUMENT


def test_numbers_are_not_cast_when_that_could_change_them(types):
    good = {name: np.zeros((1, 1), info) for name, info in _dtypes(types)}
    assert code_of(types.run, {**good, "int32": np.zeros((1, 1), np.int64)}) == Code.INVALID_ARGUMENT
    assert code_of(types.run, {**good, "int32": [[0.5]]}) == Code.INVALID_ARGUMENT
    assert types.run({**good, "int32": [[7]]})["int32"] == 7


def _dtypes(model):
    from serving.tensors import numpy_dtype

    for name, info in model.signature().inputs.items():
        yield name, "S1" if name == "string" else numpy_dtype(info.dtype)


def test_unknown_signatures_and_outputs_are_named(model):
    assert code_of(model.run, {"text": ["good"]}, "classify") == Code.FAILED_PRECONDITION
    assert code_of(model.run, {"text": ["good"]}, outputs=["score"]) == Code.INVALID_ARGUMENT
    assert list(model.run({"text": ["good"]}, outputs=["logits"])) == ["logits"]


def test_an_error_of_the_graph_keeps_its_code_and_message(model):
    with pytest.raises(StatusError, match="Could not parse example") as caught:
        model.run({"examples": [b"no example"]}, "serve_examples")
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_a_folder_without_a_model_is_refused(tmp_path):
    assert code_of(SavedModel, tmp_path) == Code.NOT_FOUND


def test_a_closed_model_says_so(exported):
    model = SavedModel(exported.path)
    model.close()
    model.close()
    assert code_of(model.run, {"text": ["good"]}) == Code.FAILED_PRECONDITION


def test_threads_share_a_model(model, exported):
    texts = [["good film"], ["bad " * 9], ["the plot", ""]] * 4
    expected = [exported.answers(batch)["logits"] for batch in texts]
    answers = [None] * len(texts)

    def ask(position):
        for _ in range(20):
            answers[position] = model.run({"text": texts[position]})["logits"]

    threads = [threading.Thread(target=ask, args=(position,)) for position in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer, want in zip(answers, expected):
        np.testing.assert_allclose(answer, want, atol=1e-6)


def test_xla_is_off_as_it_is_in_tensorflow_serving(tmp_path):
    @tf.function(jit_compile=True)
    def compiled(values):
        return tf.nn.softmax(values)

    spec = tf.TensorSpec([None, 2], tf.float32, name="values")
    function = tf.function(lambda values: {"out": compiled(values)}, input_signature=[spec])
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures=function.get_concrete_function())
    # In a process of its own: switching XLA off is for good, and this one may have switched it off already.
    script = (
        "import sys, numpy as np\n"
        "from serving.loader import SavedModel\n"
        f"SavedModel({str(tmp_path / '1')!r}).run({{'values': np.zeros((1, 2), np.float32)}})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "StatusError" in done.stderr
    assert "XLA" in done.stderr


def test_long_strings_are_freed(types):
    """400 MB of strings pass through without staying, also where the output shares the input's memory."""
    inputs = {name: np.zeros((1, 1), info) for name, info in _dtypes(types)}
    inputs["string"] = [[b"x" * 20_000_000]]
    assert types.run(inputs)["string"][0, 0] == inputs["string"][0][0]
    before = psutil.Process().memory_info().rss
    for _ in range(20):
        types.run(inputs)
    assert psutil.Process().memory_info().rss - before < 150 * 2**20


def test_the_version_is_the_installed_one():
    assert tensorflow_version() == tf.__version__
