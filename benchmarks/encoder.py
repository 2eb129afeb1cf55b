"""BERT-base beside KerasHub's, with the same weights: forward, training step, and the lengths of real reviews.

    python -m benchmarks.encoder --quick
    python -m benchmarks.encoder --precision bfloat16 --pairs 7

Rectangles are 8 rows of 128 tokens without padding. A training step is loss, gradient, clipping and AdamW: ours with
`training.adamw`, KerasHub's with `keras.optimizers.AdamW` and the same settings. Neither is compiled by XLA, which
makes both slower on a CPU. For the real mix both sides get the same reviews: ours in `Batches` by length, KerasHub's
as its preprocessor makes them, by default padded to 512 tokens. Outputs are checked to be equal before anything is
timed.
"""

from __future__ import annotations

import gc
import re

import click

from benchmarks.pairs import in_turn
from benchmarks.results import Result, command

_ROWS, _LENGTH = 8, 128
# How far logits may lie apart. bfloat16 keeps 8 bits of a number.
_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}

# Our variables' paths -> KerasHub's.
_RENAMED = (
    ("embeddings/tokens", "token_embedding/embeddings"),
    ("embeddings/segments", "segment_embedding/embeddings"),
    ("embeddings/positions/embeddings", "position_embedding/embeddings"),
    ("embeddings/norm", "embeddings_layer_norm"),
    ("pooler", "pooled_dense"),
    ("head/logits", "logits"),
    ("block_", "transformer_layer_"),
    ("attention_norm", "self_attention_layer_norm"),
    ("feed_forward_norm", "feedforward_layer_norm"),
    ("/attention/output_projection", "/self_attention_layer/attention_output"),
    ("/attention/", "/self_attention_layer/"),
    ("/feed_forward/intermediate", "/feedforward_intermediate_dense"),
    ("/feed_forward/output_projection", "/feedforward_output_dense"),
)


def measure(
    quick: bool = False,
    model: str = "bert_base",
    layers: int | None = None,
    precision: tuple[str, ...] = ("float32", "bfloat16"),
    pairs: int = 5,
    reviews: int = 32,
) -> list[Result]:
    """BERT-base against KerasHub's with the same weights: how many times as long KerasHub takes.

    Measures the forward pass and the training step on 8 x 128 tokens, and the forward pass over real reviews, where
    KerasHub pads to 512 tokens by default; the same with 128, which a careful user sets.
    """
    if quick:
        layers, pairs, reviews = layers or 3, min(pairs, 3), min(reviews, 16)
    rows = _reviews(reviews) if reviews else []
    results = []
    for name in precision:
        results += _compared(model, layers, name, pairs, rows)
        gc.collect()
    return results


def _compared(name, layers, precision, pairs, rows) -> list[Result]:
    import numpy as np
    import tensorflow as tf

    ours, theirs = _models(name, layers, precision)
    forward, their_forward = _forward(ours), _forward(theirs)
    random = np.random.default_rng(0)
    vocabulary = ours.backbone.config.vocabulary_size
    inputs, their_inputs = inputs_of(random.integers(vocabulary // 2, vocabulary, (_ROWS, _LENGTH)))
    _check_equal(forward(inputs), their_forward(their_inputs), precision)

    rectangle = f"{_ROWS} x {_LENGTH} tokens, {precision}"
    sides = ("tfmodels", "KerasHub")
    times = in_turn(lambda: forward(inputs), lambda: their_forward(their_inputs), pairs)
    results = [Result.of_pairs(f"forward, {rectangle}", times, *sides, at_least=1.0)]

    if rows:
        batches, order = _bucketed(rows)
        expected = np.concatenate([forward(batch) for batch in batches])
        for length, target in ((None, 2.5), (128, None)):
            padded, length = _padded(rows, length)
            answers = np.concatenate([their_forward(batch) for batch in padded])
            _check_equal(expected, answers[order], precision)
            times = in_turn(
                lambda: [forward(batch) for batch in batches],
                lambda batches=padded: [their_forward(batch) for batch in batches],
                max(2, pairs // 2),
                warmups=0,
            )
            what = f"forward, {len(rows)} reviews, KerasHub at {length}, {precision}"
            results.append(Result.of_pairs(what, times, *sides, at_least=target))

    labels = tf.constant(random.integers(0, 2, _ROWS))
    step, their_step = step_of(ours, inputs, {"logits": labels}), step_of(theirs, their_inputs, labels)
    times = in_turn(step, their_step, pairs)
    results.append(Result.of_pairs(f"training step, {rectangle}", times, *sides, at_least=1.0))
    return results


def _models(name, layers, precision):
    """A classifier of ours and one of KerasHub's, with the same weights."""
    import keras
    import keras_nlp

    import tfmodels
    from tfmodels.models import TextClassifier
    from tfmodels.training import policy_for

    policy = policy_for(precision)
    overrides = {} if layers is None else {"num_layers": layers}
    ours = TextClassifier(tfmodels.create_model(name, dtype=policy, **overrides), 2)
    config = ours.backbone.config
    backbone = keras_nlp.models.BertBackbone(
        config.vocabulary_size,
        config.num_layers,
        config.num_heads,
        config.hidden_dim,
        config.intermediate_dim,
        dropout=config.dropout,
        dtype=policy,
    )
    for layer in backbone.transformer_layers:
        # KerasHub approximates the activation, which costs it more than the exact one; BERT does not.
        layer._feedforward_intermediate_dense.activation = keras.activations.gelu
    theirs = keras_nlp.models.BertTextClassifier(backbone, 2)
    values = {variable.path: variable for variable in theirs.weights}
    for variable in ours.weights:
        path = variable.path
        for our_part, their_part in _RENAMED:
            path = re.sub(our_part, their_part, path)
        variable.assign(values[path].numpy().reshape(variable.shape))
    return ours, theirs


def inputs_of(token_ids):
    """Inputs without padding, for our model and for KerasHub's."""
    import tensorflow as tf

    token_ids = tf.constant(token_ids, tf.int32)
    inputs = {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids),
        "padding_mask": tf.ones_like(token_ids, tf.bool),
    }
    return inputs, {**inputs, "padding_mask": tf.ones_like(token_ids)}


def _forward(model):
    import tensorflow as tf

    apply = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)

    def run(inputs):
        outputs = apply(inputs)
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        return tf.cast(logits, tf.float32).numpy()

    return run


def step_of(model, inputs, targets):
    """A training step, a function of nothing: ours where the targets are a dict, else KerasHub's with Keras's AdamW."""
    import keras
    import tensorflow as tf

    from tfmodels.training import adamw

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if isinstance(targets, dict):
        loss = dict.fromkeys(targets, loss)
        optimizer = adamw(5e-5, weight_decay=0.01, clip_norm=1.0)
    else:
        optimizer = keras.optimizers.AdamW(5e-5, weight_decay=0.01, global_clipnorm=1.0, epsilon=1e-6)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, loss=loss, jit_compile=False)
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((inputs, targets)).repeat())
    return lambda: model.train_function(batches)


def _reviews(count):
    """Evenly spaced test reviews, whose lengths are those of all."""
    from tfmodels import datasets

    texts = [review.text for review in datasets.movie_reviews() if review.split == "test"]
    return texts[:: len(texts) // count][:count]


def _bucketed(texts):
    """The batches of our `Batches`, and the texts' numbers in their order."""
    import numpy as np

    from tfmodels import datasets
    from tfmodels.text import TextPreprocessor, WordPieceTokenizer
    from tfmodels.training import Batches

    preprocessor = TextPreprocessor(WordPieceTokenizer(datasets.minilm() / "vocab.txt"))
    batches = Batches(preprocessor.tokenize(texts), {"row": np.arange(len(texts))}, _ROWS)
    made = list(batches.dataset())
    return [inputs for inputs, _ in made], np.concatenate([targets["row"] for _, targets in made])


def _padded(texts, length):
    """The batches of KerasHub's preprocessor, and the length that it pads to."""
    import keras_nlp

    from tfmodels import datasets

    tokenizer = keras_nlp.models.BertTokenizer(str(datasets.minilm() / "vocab.txt"), lowercase=True)
    options = {} if length is None else {"sequence_length": length}
    preprocessor = keras_nlp.models.BertTextClassifierPreprocessor(tokenizer, **options)
    chunks = [texts[start : start + _ROWS] for start in range(0, len(texts), _ROWS)]
    return [preprocessor(chunk) for chunk in chunks], preprocessor.sequence_length


def _check_equal(ours, theirs, precision):
    import numpy as np

    np.testing.assert_allclose(ours, theirs, atol=_TOLERANCE[precision], rtol=0)


main = command(
    measure,
    click.option("--model", default="bert_base", show_default=True, help="A BERT of `tfmodels list`."),
    click.option("--layers", type=click.IntRange(1), help="Fewer layers: the ratios change little."),
    click.option(
        "--precision",
        multiple=True,
        type=click.Choice(list(_TOLERANCE)),
        default=list(_TOLERANCE),
        help="May be given twice.  [default: both]",
    ),
    click.option("--pairs", default=5, show_default=True, type=click.IntRange(1), help="How often each is timed."),
    click.option("--reviews", default=32, show_default=True, help="How many reviews the real mix has; 0 for none."),
)

if __name__ == "__main__":
    main()
