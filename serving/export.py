"""Export of any text model as a SavedModel that TensorFlow Serving runs, tokeniser included.

What is saved is a `tf.Module` that holds the two traced functions and the variables that they read, and nothing of
Keras: `tf.saved_model.save(keras_3_model, ...)` writes a SavedModel whose variables the C++ loader does not find.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import tensorflow as tf

from serving.card import checked, write_card
from serving.gate import columns
from serving.warmup import MAX_WARMUP_REQUESTS, WARMUP_FILE, Recorded, serialized_examples, write_recorded
from tfmodels.errors import UserError
from tfmodels.files import atomic_directory
from tfmodels.models.backbone import Backbone

# One short and one usual text: a graph that pads to the longest row meets two lengths.
DEFAULT_WARMUP_TEXTS = ("Good.", "The plot is thin, but the actors carry it further than anyone could have hoped for.")

# Beside the weights an export holds the graph with the vocabulary in it, and the assets.
_GRAPH_BYTES = 32 * 2**20


def export_savedmodel(
    model,
    directory: str | os.PathLike,
    *,
    preprocessor,
    labels: Sequence[str] | None = None,
    warmup_texts: Iterable[str | Sequence[str]] = (),
    warmup_batch_sizes: Sequence[int] = (1, 2, 4, 8, 16, 32),
    card: Mapping[str, object] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a model and its preprocessor as one SavedModel.

    The signature `serving_default` takes raw strings `string[None]`, one input for every feature of the preprocessor;
    `serve_examples` takes `examples: string[None]`, serialised `tf.Example`s with the same features. Both give what
    `model.predictions` names, as float32 whatever the model computes in. Nothing asks for XLA, which TensorFlow
    Serving disables.

    Beside the graph stand `assets/` (the preprocessor's files and `labels.txt`), the warm-up requests in
    `assets.extra/`, `model_card.json` and `MODEL_CARD.md`.

    Args:
        model: A task: `model(preprocessor(...))` gives outputs that `model.predictions` turns into named tensors.
        directory: The folder to make; for TensorFlow Serving its name is the version, an integer.
        preprocessor: Text to the model's inputs, in TensorFlow operations, with `feature_names` and
            `save(directory)`. One that holds tables or variables must be a `tf.Module`.
        labels: The names of the classes in the order of the outputs.
        warmup_texts: Real texts to warm the served model up with; for pairs, pairs. Two made-up ones by default.
        warmup_batch_sizes: The batches to warm up for; with batching, give its `allowed_batch_sizes`.
        card: The caller's part of the model card, see `serving.card.checked`.
        overwrite: Replace `directory` if it exists.

    Returns:
        The path of `directory`, which appears whole or not at all.

    Raises:
        UserError: The directory exists, the preprocessor makes what the model cannot read, the labels do not fit the
            outputs, the disk has no room, or the card has an unknown field.
    """
    directory = Path(directory)
    card = checked(card)
    labels = _checked_labels(labels)
    if directory.exists() and not overwrite:
        raise UserError(f"{directory} already exists: remove it or choose another directory.")
    _check_preprocessor(model, preprocessor)
    requests = _warmup_requests(preprocessor, warmup_texts, warmup_batch_sizes)
    concrete = _functions(model, preprocessor)
    _check_label_count(labels, concrete["serving_default"])

    # The signatures are all that is saved of the functions: those that hang on the module would be traced again.
    module = tf.Module()
    module.weights = _weights(model, concrete.values())
    if isinstance(preprocessor, tf.Module):
        module.preprocessor = preprocessor
    _check_disk(directory, sum(_bytes(variable) for variable in module.weights) + _GRAPH_BYTES)

    with atomic_directory(directory, overwrite=overwrite) as partial:
        # Gradients of a served model are never asked for; without them the graph is smaller.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(partial), signatures=concrete, options=options)
        _write_assets(partial, preprocessor, labels)
        warmup = partial / WARMUP_FILE
        warmup.parent.mkdir()
        write_recorded(warmup, requests)
        write_card(
            partial,
            card,
            parameters=model.count_params(),
            labels=labels,
            signatures={name: _described(function) for name, function in concrete.items()},
            weights_sha256=_weights_sha256(module.weights),
        )
    return directory


def keras_reference(model, preprocessor) -> Callable[[Mapping[str, Sequence]], dict[str, np.ndarray]]:
    """The Keras model's own answers, for `check_savedmodel(..., expected=keras_reference(model, preprocessor))`.

    Args:
        model: The task that was exported.
        preprocessor: Its preprocessor.

    Returns:
        A callable that takes `{feature: [texts]}` and returns `{output: float32 array}`, computed eagerly.
    """

    def answer(inputs: Mapping[str, Sequence]) -> dict[str, np.ndarray]:
        texts = [tf.constant(inputs[name], tf.string) for name in preprocessor.feature_names]
        outputs = model.predictions(model(preprocessor(*texts), training=False))
        return {name: tf.cast(value, tf.float32).numpy() for name, value in outputs.items()}

    return answer


def _functions(model, preprocessor) -> dict[str, tf.types.experimental.ConcreteFunction]:
    """The signatures; the model's graph is made once, and `serve_examples` calls it."""
    names = tuple(preprocessor.feature_names)

    def answer(*texts):
        outputs = model.predictions(model(preprocessor(*texts), training=False))
        # The order of the names is the order of the graph's outputs, whatever the model's dict says.
        return {name: tf.cast(outputs[name], tf.float32) for name in sorted(outputs)}

    texts = [tf.TensorSpec([None], tf.string, name=name) for name in names]
    default = _traced(answer, texts)

    def answer_examples(examples):
        features = {name: tf.io.FixedLenFeature([], tf.string) for name in names}
        parsed = tf.io.parse_example(examples, features)
        return default(*[parsed[name] for name in names])

    examples = [tf.TensorSpec([None], tf.string, name="examples")]
    return {"serving_default": default, "serve_examples": _traced(answer_examples, examples)}


def _traced(function: Callable, signature: list[tf.TensorSpec]) -> tf.types.experimental.ConcreteFunction:
    return tf.function(function, input_signature=signature, autograph=False, jit_compile=False).get_concrete_function()


def _weights(model, functions) -> list[tf.Variable]:
    """The variables that the functions read: the model's in its own order, then the preprocessor's."""
    read = {id(variable): variable for function in functions for variable in function.variables}
    # A function lists its variables in the order of their addresses, which changes from run to run.
    ours = [variable.value for variable in model.variables if id(variable.value) in read]
    others = sorted((read[key] for key in read.keys() - set(map(id, ours))), key=lambda variable: variable.name)
    return ours + others


def _check_preprocessor(model, preprocessor):
    """Makes sure that what is told of the model's and the preprocessor's sizes fits."""
    backbone, tokenizer = getattr(model, "backbone", None), getattr(preprocessor, "tokenizer", None)
    if not isinstance(backbone, Backbone) or tokenizer is None:
        return
    known, pieces = backbone.config.vocabulary_size, tokenizer.vocabulary_size()
    if pieces > known:
        raise UserError(
            f"The tokeniser has {pieces} pieces but the model knows {known}: give the tokeniser that it was made for."
        )
    if backbone.max_length is not None and preprocessor.sequence_length > backbone.max_length:
        raise UserError(
            f"The preprocessor makes rows of up to {preprocessor.sequence_length} tokens but the model takes at most "
            f"{backbone.max_length}: give it a smaller sequence_length."
        )


def _checked_labels(labels: Sequence[str] | None) -> list[str]:
    labels = [str(label) for label in labels or ()]
    if any("\n" in label or "\r" in label for label in labels):
        raise UserError("A label holds a line break: labels.txt has one label a line.")
    if len(set(labels)) != len(labels):
        raise UserError("Two labels are the same: give every class a name of its own.")
    return labels


def _check_label_count(labels: list[str], function):
    for name in ("probabilities", "logits"):
        output = function.structured_outputs.get(name)
        classes = output.shape[-1] if output is not None and output.shape.rank else None
        if labels and classes is not None and classes != len(labels):
            raise UserError(f"There are {len(labels)} labels but the model has {classes} classes: give one for each.")


def _warmup_requests(preprocessor, texts: Iterable, batch_sizes: Sequence[int]) -> list[Recorded]:
    """Both signatures at every batch size, in turn with the texts."""
    names = tuple(preprocessor.feature_names)
    texts = list(islice(texts, MAX_WARMUP_REQUESTS)) or list(DEFAULT_WARMUP_TEXTS)
    if any(size < 1 for size in batch_sizes) or 2 * len(batch_sizes) > MAX_WARMUP_REQUESTS:
        raise UserError(f"Give at most {MAX_WARMUP_REQUESTS // 2} warm-up batch sizes, and none below 1.")
    requests = []
    for size in batch_sizes:
        inputs = columns([texts[row % len(texts)] for row in range(size)], names)
        requests.append(Recorded(inputs))
        requests.append(Recorded({"examples": serialized_examples(inputs)}, signature="serve_examples"))
    return requests


def _check_disk(directory: Path, needed: int):
    parent = directory.absolute().parent
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise UserError(
            f"The export needs about {needed / 1e6:,.0f} MB but {parent} has {free / 1e6:,.0f} MB free: make room."
        )


def _write_assets(export: Path, preprocessor, labels: list[str]):
    # A preprocessor may write its directory atomically, so it gets one of its own, which is then emptied into assets/.
    staging = export / "preprocessor"
    preprocessor.save(staging)
    assets = export / "assets"
    assets.mkdir(exist_ok=True)
    for path in sorted(staging.iterdir()):
        path.replace(assets / path.name)
    staging.rmdir()
    if labels:
        (assets / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")


def _described(function) -> dict[str, dict[str, str]]:
    inputs = function.structured_input_signature[0]
    return {
        "inputs": {spec.name: _type_name(spec) for spec in inputs},
        "outputs": {name: _type_name(spec) for name, spec in function.structured_outputs.items()},
    }


def _type_name(spec) -> str:
    sizes = "?" if spec.shape.rank is None else ", ".join(str(size) for size in spec.shape.as_list())
    return f"{spec.dtype.name}[{sizes}]"


def _bytes(variable: tf.Variable) -> int:
    return variable.shape.num_elements() * variable.dtype.size


def _weights_sha256(variables: Sequence[tf.Variable]) -> str:
    """A checksum of the weights' values, whatever file format they are saved in."""
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(f"{variable.dtype.name} {variable.shape}\n".encode())
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()
