"""BERT-base beside KerasHub's, with the same weights: forward, training step, and the lengths of real reviews.

    python -m benchmarks.encoder [--model bert_base] [--repeats 5] [--precision float32 bfloat16] [--reviews 64]

Rectangles are 8 rows of 128 tokens. For the real mix both sides get the same reviews: ours in batches of one length,
KerasHub's as its preprocessor makes them by default, padded to 512 tokens. Outputs are checked to be equal first.
"""

from __future__ import annotations

import argparse
import itertools
import re

from benchmarks.pairs import compare, show

_ROWS, _LENGTH, _PADDED = 8, 128, 512

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


def main(argv: list[str] | None = None) -> None:
    """Runs the benchmark and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bert_base", help="a registered BERT")
    parser.add_argument("--repeats", type=int, default=5, help="measured pairs")
    parser.add_argument("--precision", nargs="*", default=["float32", "bfloat16"], help="float32, bfloat16")
    parser.add_argument("--reviews", type=int, default=64, help="how many reviews the real mix has")
    arguments = parser.parse_args(argv)
    for precision in arguments.precision:
        ratios = list(_compared(arguments.model, precision, arguments.repeats, arguments.reviews))
        show(f"{arguments.model} against KerasHub, {precision}", ratios)


def _compared(name, precision, repeats, reviews):
    import numpy as np
    import tensorflow as tf

    ours, theirs = _models(name, precision)
    random = np.random.default_rng(0)
    token_ids = random.integers(1000, ours.backbone.config.vocabulary_size, (_ROWS, _LENGTH)).astype("int32")
    forward, their_forward = (_forward(model) for model in (ours, theirs))
    inputs, their_inputs = _inputs(token_ids)
    tolerance = 1e-4 if precision == "float32" else 0.1
    np.testing.assert_allclose(forward(inputs), their_forward(their_inputs), atol=tolerance)

    rectangle = f"{_ROWS} x {_LENGTH} tokens"
    yield compare(
        f"forward, {rectangle}", lambda: forward(inputs), lambda: their_forward(their_inputs), repeats, target=1.0
    )

    rows = _reviews(reviews)
    batches, padded = _bucketed(rows), _padded(rows)
    ours_out = np.concatenate([forward(batch) for batch in batches])[np.argsort(_by_length(rows))]
    theirs_out = np.concatenate([their_forward(batch) for batch in padded])
    np.testing.assert_allclose(ours_out, theirs_out, atol=tolerance)
    yield compare(
        f"forward, {len(rows)} real reviews",
        lambda: [forward(batch) for batch in batches],
        lambda: [their_forward(batch) for batch in padded],
        max(2, repeats // 2),
        target=2.5,
    )

    labels = tf.constant(random.integers(0, 2, _ROWS))
    step = _step(ours, inputs, {"logits": labels}, ours=True)
    their_step = _step(theirs, their_inputs, labels, ours=False)
    yield compare(f"training step, {rectangle}", step, their_step, repeats, target=1.0)


def _models(name, precision):
    import keras
    import keras_nlp

    import tfmodels
    from tfmodels.models import TextClassifier
    from tfmodels.training import policy_for

    policy = policy_for(precision)
    ours = TextClassifier(tfmodels.create_model(name, dtype=policy), 2)
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
        # KerasHub approximates the activation; BERT does not.
        layer._feedforward_intermediate_dense.activation = keras.activations.gelu
    theirs = keras_nlp.models.BertTextClassifier(backbone, 2)
    values = {variable.path: variable for variable in theirs.weights}
    for variable in ours.weights:
        path = variable.path
        for our_part, their_part in _RENAMED:
            path = re.sub(our_part, their_part, path)
        variable.assign(values[path].numpy().reshape(variable.shape))
    return ours, theirs


def _inputs(token_ids):
    import tensorflow as tf

    token_ids = tf.constant(token_ids)
    inputs = {"token_ids": token_ids, "segment_ids": tf.zeros_like(token_ids), "padding_mask": token_ids > 0}
    return inputs, {**inputs, "padding_mask": tf.cast(inputs["padding_mask"], tf.int32)}


def _forward(model):
    import tensorflow as tf

    apply = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)

    def run(inputs):
        outputs = apply(inputs)
        return (outputs["logits"] if isinstance(outputs, dict) else outputs).numpy()

    return run


def _step(model, inputs, targets, ours):
    import keras
    import tensorflow as tf

    from tfmodels.training import adamw

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # The same arithmetic: decoupled decay, and the gradient clipped to a global norm.
    optimizer = adamw(5e-5) if ours else keras.optimizers.AdamW(5e-5, weight_decay=0.01, global_clipnorm=1.0)
    model.compile(optimizer, loss={"logits": loss} if ours else loss, jit_compile=False)
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((inputs, targets)).repeat())
    return lambda: model.train_function(batches)


def _reviews(count):
    from tfmodels import datasets
    from tfmodels.text import TextPreprocessor, WordPieceTokenizer

    texts = [review.text for review in itertools.islice(datasets.movie_reviews(), count)]
    preprocessor = TextPreprocessor(WordPieceTokenizer(datasets.minilm() / "vocab.txt"))
    return [row.tolist() for row in preprocessor.tokenize(texts).numpy()]


def _by_length(rows):
    return sorted(range(len(rows)), key=lambda row: len(rows[row]))


def _chunks(rows, length=None):
    import numpy as np

    for start in range(0, len(rows), _ROWS):
        chunk = rows[start : start + _ROWS]
        longest = length or -(-max(map(len, chunk)) // 8) * 8
        yield np.array([row + [0] * (longest - len(row)) for row in chunk], "int32")


def _bucketed(rows):
    return [_inputs(chunk)[0] for chunk in _chunks([rows[row] for row in _by_length(rows)])]


def _padded(rows):
    return [_inputs(chunk)[1] for chunk in _chunks(rows, _PADDED)]


if __name__ == "__main__":
    main()
