"""BERT's pre-training beside KerasHub's `BertMaskedLM`: the same paragraphs of real essays, once through.

    python -m benchmarks.pretraining --quick
    python -m benchmarks.pretraining --precision bfloat16

Both sides are `bert_small` with one vocabulary, on the same text, and take whole training steps: loss, gradient,
clipping and AdamW. Ours draws new masks in every epoch, in the time that is measured; KerasHub's rows were masked once,
before. Ours packs sentences into full rows, in which attention stays within each paragraph; KerasHub's preprocessor
makes a row of each paragraph, by default padded to 512 tokens, and cuts longer ones, so that it trains on a little
less. Both compute the prediction head at masked positions only. Neither is compiled by XLA.
"""

from __future__ import annotations

import gc

import click

from benchmarks.pairs import in_turn
from benchmarks.results import Result, command

_BATCH, _LENGTH, _VOCABULARY = 16, 128, 8192
_MANY = 1_000_000  # epochs: the benchmark never comes to the end


def measure(
    quick: bool = False, model: str = "bert_small", precision: tuple[str, ...] = ("float32",), pairs: int = 3
) -> list[Result]:
    """Pre-training BERT beside KerasHub's: how many times as long KerasHub takes for the same paragraphs.

    Measures training over the paragraphs with KerasHub at its default of 512 tokens and at 128, how much longer our
    steps take than on batches that are ready in memory, and what ALBERT's sharing saves.
    """
    paragraphs = _paragraphs(8 if quick else 64)
    vocabulary = _vocabulary()
    results = []
    for name in precision:
        results += _compared(model, name, paragraphs, vocabulary, 2 if quick else pairs)
        gc.collect()
    return [*results, _shared_state(2 if quick else 12)]


def _shared_state(layers: int) -> Result:
    """Weights and AdamW's state of an ALBERT encoder whose layers share all, beside one whose layers share nothing."""
    import tfmodels
    from tfmodels.training import adamw

    sizes = {}
    for sharing in ("none", "all"):
        blocks = {
            block.name: block
            for block in tfmodels.create_model("albert_base", num_layers=layers, sharing=sharing).parts["blocks"]
        }
        optimizer = adamw(1e-4)
        optimizer.build([weight for block in blocks.values() for weight in block.trainable_variables])
        state = [weight for block in blocks.values() for weight in block.weights] + optimizer.variables
        sizes[sharing] = sum(weight.value.numpy().nbytes for weight in state)
    return Result(
        f"layers' weights and optimizer state, {layers} layers, nothing shared / ALBERT",
        sizes["none"] / sizes["all"],
        at_least=0.99 * layers,
        first=f"nothing shared {sizes['none'] / 2**20:,.0f} MiB",
        second=f"all shared {sizes['all'] / 2**20:,.0f} MiB",
    )


def _compared(model, precision, paragraphs, vocabulary, pairs) -> list[Result]:
    batches, tokens = _our_batches(paragraphs, vocabulary)
    ours, from_memory = _our_epochs(model, precision, vocabulary, batches)
    results = []
    for length, target in ((None, 1.5), (_LENGTH, None)):
        theirs, seen = _their_epoch(model, precision, vocabulary, paragraphs, length)
        times = in_turn(ours, theirs, pairs, warmups=1)
        what = f"pre-training, {len(paragraphs)} paragraphs, KerasHub at {length or 512}, {precision}"
        rates = [f"{count / min(wall):,.0f} tokens/s" for count, wall in ((tokens, times.first), (seen, times.second))]
        result = Result.of_pairs(
            what, times, "tfmodels", "KerasHub", at_least=target, note=f"{what}: {rates[0]} beside {rates[1]}"
        )
        results.append(result)
    times = in_turn(from_memory, ours, pairs, warmups=1)
    idle = 1 - min(times.first) / min(times.second)
    result = Result.of_pairs(
        f"training fed by the input pipeline / by batches in memory, {precision}",
        times,
        "from memory",
        "from the pipeline",
        at_most=1.05,
        note=f"the model waits for its input in {max(0.0, idle):.1%} of the time",
    )
    return [*results, result]


def _paragraphs(count: int) -> list[str]:
    """Evenly spaced paragraphs of English essays."""
    from tfmodels import datasets

    paragraphs = [
        " ".join(paragraph.split())
        for essay in datasets.english_prose()
        for paragraph in essay.split("\n\n")
        if len(paragraph) > 80
    ]
    return paragraphs[:: len(paragraphs) // count][:count]


def _vocabulary() -> list[str]:
    from tfmodels import datasets
    from tfmodels.text import train_wordpiece

    return train_wordpiece(datasets.english_prose()[:40], _VOCABULARY)


def _our_batches(paragraphs, vocabulary):
    """The corrupted batches of one epoch, and the number of tokens in them."""
    import numpy as np
    import tensorflow as tf

    from tfmodels.objectives import BertReplacement, CorruptedBatches, Frame, FullSentences, MaskedText, TokenMasking
    from tfmodels.text import WordPieceTokenizer, split_sentences
    from tfmodels.training import Batches

    tokenizer = WordPieceTokenizer(vocabulary)
    documents = [tokenizer(tf.constant(split_sentences(text))).to_list() for text in paragraphs]
    frame = Frame(_LENGTH, tokenizer.cls_token_id, tokenizer.sep_token_id)
    rows = list(FullSentences(frame).examples(documents))
    token_ids, document_ids = (
        tf.ragged.constant([getattr(row, name) for row in rows], tf.int32) for name in ("token_ids", "document_ids")
    )
    batches = Batches(token_ids, {"row": np.arange(len(rows)), "document_ids": document_ids}, _BATCH)
    special = tokenizer.special_token_ids()
    replace = BertReplacement(tokenizer.mask_token_id, tokenizer.vocabulary_size(), special)
    corruption = MaskedText(TokenMasking(0.15, 20), replace)
    return CorruptedBatches(batches, corruption, special_ids=special), int(batches.lengths.sum())


def _our_epochs(model, precision, vocabulary, batches):
    """An epoch of new batches, and one of batches that are kept in memory."""
    import tfmodels
    from tfmodels.objectives import MaskedLanguageModel, Pretrainer, by_document
    from tfmodels.training import adamw, policy_for

    sizes = {"vocabulary_size": len(vocabulary), "max_sequence_length": _LENGTH}
    backbone = tfmodels.create_model(model, dtype=policy_for(precision), **sizes)
    pretrainer = Pretrainer(backbone, [MaskedLanguageModel()], by_document)
    pretrainer.compile(adamw(1e-4, weight_decay=0.01, clip_norm=1.0), jit_compile=False)
    datasets = batches.dataset(0, _MANY), batches.dataset(0, 1).cache().repeat()
    return [_epoch(pretrainer, dataset, len(batches)) for dataset in datasets]


def _their_epoch(model, precision, vocabulary, paragraphs, length):
    import keras
    import keras_nlp
    import numpy as np
    import tensorflow as tf

    from tfmodels import describe_model
    from tfmodels.training import policy_for

    config = describe_model(model)[1].config
    tokenizer = keras_nlp.models.BertTokenizer(vocabulary, lowercase=True)
    options = {} if length is None else {"sequence_length": length}
    preprocessor = keras_nlp.models.BertMaskedLMPreprocessor(
        tokenizer, mask_selection_rate=0.15, mask_selection_length=96 if length is None else 20, **options
    )
    backbone = keras_nlp.models.BertBackbone(
        len(vocabulary),
        config.num_layers,
        config.num_heads,
        config.hidden_dim,
        config.intermediate_dim,
        dropout=config.dropout,
        max_sequence_length=preprocessor.sequence_length,
        dtype=policy_for(precision),
    )
    masked = keras_nlp.models.BertMaskedLM(backbone, preprocessor=None)
    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.01, global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    masked.compile(optimizer, loss=loss, weighted_metrics=[], jit_compile=False)
    # Tokenising is left out on either side.
    packed = [preprocessor(paragraphs[start : start + _BATCH]) for start in range(0, len(paragraphs), _BATCH)]
    seen = int(sum(np.sum(inputs["padding_mask"]) for inputs, *_ in packed))
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(packed), output_signature=tf.nest.map_structure(_signature, packed[0])
    )
    return _epoch(masked, dataset.cache().repeat().prefetch(4), len(packed)), seen


def _epoch(model, dataset, steps):
    """Takes so many training steps on the next batches."""
    model.make_train_function()
    batches = iter(dataset)

    def run():
        for _ in range(steps):
            model.train_function(batches)

    return run


def _signature(tensor):
    import tensorflow as tf

    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)


main = command(
    measure,
    click.option("--model", default="bert_small", show_default=True, help="A BERT of `tfmodels list`."),
    click.option(
        "--precision",
        multiple=True,
        type=click.Choice(["float32", "bfloat16"]),
        default=["float32"],
        help="May be given twice.  [default: float32]",
    ),
    click.option("--pairs", default=3, show_default=True, type=click.IntRange(1), help="How often each is timed."),
)

if __name__ == "__main__":
    main()
