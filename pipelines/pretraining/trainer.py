"""The Trainer's callback: learn an objective from rows, judge it on held-out rows, save the encoder.

What it leaves beside the export (see `components.model_artifact`): `Keras/`, the encoder as a `TextEmbedder` with its
preprocessor, and `Encoder/`, the encoder with its tokeniser as the text classification pipeline takes it: in Hugging
Face's layout where transformers has a counterpart of the family. With entities that is the encoder of texts without
any; knowledge.keras beside it is the `KnowledgeEncoder` on the same weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tfx.utils import io_utils

import tfmodels
from pipelines.components.configuration import from_dict
from pipelines.components.epoch_lines import EpochLines, progress
from pipelines.components.files import is_remote, local_copy, local_output
from pipelines.components.model_artifact import encoder_uri, keras_uri, save_keras
from pipelines.components.precision import settled
from pipelines.pretraining.configs import EncoderConfig, RowsConfig
from pipelines.pretraining.entities import KNOWLEDGE_FILE, read_vectors
from pipelines.pretraining.judgement import judge
from pipelines.pretraining.recipes import RECIPES, make_backbone, make_generator, max_predictions, recipe
from pipelines.pretraining.vocabularies import WORDPIECE
from pipelines.workers import shared
from serving import export_savedmodel
from tfmodels.errors import UserError
from tfmodels.layers import MeanPooling
from tfmodels.models import KnowledgeEncoder, TextEmbedder
from tfmodels.objectives import (
    CorruptedBatches,
    ForTask,
    MaskedText,
    MaskReplacement,
    MixedBatches,
    NoMasking,
    NoteDictionary,
    RareWords,
    TextStreams,
    WithEntities,
    WithNotes,
    by_document,
    continual_schedule,
)
from tfmodels.text import TextPreprocessor
from tfmodels.training import Batches, FitConfig, fit, policy_for
from tfmodels.training.strategies import is_chief, on_chief, strategy_for
from tfmodels.training.tensorboard import Hyperparameters

# More unknown tokens than known ones teach nothing.
_MOST_UNKNOWN = 0.5
_WARMUP_TEXTS = ("Language models learn from text.", "", "預訓練")


def run_fn(fn_args) -> None:
    """TFX Trainer's callback."""
    settings = fn_args.custom_config
    chosen = recipe(settings["objective"])
    rows, config = from_dict(RowsConfig, settings["rows"]), from_dict(FitConfig, settings["fit"])
    encoder = from_dict(EncoderConfig, settings["encoder"])
    if shared(run_fn, config.strategy, fn_args):
        return
    strategy = strategy_for(config.strategy)  # Workers meet before anything is computed.
    examples = fn_args.train_files[0].rpartition("/Split-train/")[0]
    with local_copy(f"{examples}/preprocessor") as folder:
        preprocessor = TextPreprocessor.load(folder)
    tokenizer = preprocessor.tokenizer

    sizes = tokenizer.vocabulary_size(), preprocessor.sequence_length

    def backbone(precision):
        return make_learner(chosen, encoder, *sizes, policy_for(precision))

    patterns = [f"{examples}/Split-{split}/*" for split in ("train", "validation")]
    train, validation, rare_words = read_rows(*patterns, chosen, tokenizer, rows, config, encoder)
    directory = _training_directory(settings, patterns)

    def first_model(precision):
        return next(make_models(chosen, encoder, backbone(precision), rows, config, rare_words))[1]

    config = settled(config, settings["objective"], first_model, mixed(train, config), directory)
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        learner = backbone(config.precision)
        models = make_models(chosen, encoder, learner, rows, config, rare_words)
    figures = ("loss", f"val_{chosen.figure}", "val_discriminator_accuracy")
    passes = _Passes()
    started = time.monotonic()
    with strategy.scope():  # The model of a stage is made when the one before has been trained.
        histories, model = _fit_stages(
            models,
            mixed(train, config),
            mixed(validation, config),
            config,
            directory,
            settings["objective"],
            figures,
            passes,
        )
    seconds = time.monotonic() - started
    history = histories[-1][1]
    learnt_from, held_out = train[0].rows.token_ids, validation[0].batches
    judgement = judge(chosen, model, history, config.monitor, learnt_from, held_out, tokenizer)
    knowledge = getattr(model, "knowledge", None)
    if config.precision != "float32" or config.strategy != "one":
        twin = backbone("float32")
        twin.set_weights(learner.get_weights())
        learner = twin
        if knowledge is not None:
            twin = KnowledgeEncoder(learner, **knowledge.sizes, name=knowledge.name)
            twin.set_weights(knowledge.get_weights())
            knowledge = twin
    tokens = sum(len(task.rows.token_ids.flat_values) for task in train)
    run = {
        "objective": settings["objective"],
        "preset": encoder.preset or chosen.preset,
        "fit_seconds": seconds,
        # What this process has read, which may have gone on from another's; streams are read from both ends.
        "fit_tokens": tokens * passes.count * (2 if chosen.backwards else 1),
        "tokens": tokens,
        "rows": {
            name: sum(int(task.rows.token_ids.nrows()) for task in tasks)
            for name, tasks in (("train", train), ("validation", validation))
        },
        "parameters": learner.count_params(),
        "recipe": dataclasses.asdict(config),
        "history": history,
        "earlier_stages": dict(histories[:-1]),
        "judgement": judgement,
    }
    on_chief(
        strategy, lambda: _save(fn_args, learner, knowledge, preprocessor, run, settings["objective"], chosen.paper)
    )


class _Passes(keras.callbacks.Callback):
    """Counts the epochs."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def on_epoch_end(self, epoch, logs=None):
        self.count += 1


def _fit_stages(models, train, validation, config, directory: Path, name: str, figures=(), *callbacks):
    """Trains the models of a recipe, each in a folder of its own.

    Returns:
        Pairs of the name and the history of every stage, and the last model.
    """
    histories = []
    for stage, model in models:
        folder = directory / stage
        title = f"{name}, {stage}" if stage else name
        told = []
        if is_chief(model.distribute_strategy):
            told = [EpochLines(title, config, figures), Hyperparameters(folder / "logs", config)]
        history = fit(model, train, validation, config, folder, callbacks=[*callbacks, *told], verbose=0)
        histories.append((stage, history))
    return histories, model


class TaskBatches(NamedTuple):
    """What a task trains on.

    Attributes:
        rows: The rows as they were written: `Batches` or `TextStreams`.
        batches: What `fit` takes.
    """

    rows: Any
    batches: Any


def read_rows(
    train: str, validation: str, chosen, tokenizer, rows: RowsConfig, config: FitConfig, encoder: EncoderConfig
):
    """The batches of a recipe, which it is judged by, and of the tasks that join it.

    Args:
        train: A pattern of files of training rows.
        validation: The same for held-out ones.
        chosen: The recipe.
        tokenizer: The rows'.
        rows: How to read them.
        config: Their number in a batch, and the seed.
        encoder: Its `reuse_length`, where it has one, is where the next stretch of a text begins.

    Returns:
        A list of `TaskBatches` for either, and the `RareWords` of the training rows or None.

    Raises:
        UserError: There are no rows, or the vocabulary knows less than half of their tokens.
    """
    masked = chosen.masked if rows.masked is None else rows.masked
    most = max_predictions(rows.sequence_length, masked)
    special_ids = tokenizer.special_token_ids()
    step = encoder.overrides.get("reuse_length") if chosen.streams else None
    originals = [
        _batches(train, chosen, rows, config, step, backwards=chosen.backwards),
        _batches(validation, chosen, rows, config, step),
    ]
    _check_known(originals[0][0].token_ids, tokenizer)
    rare_words = None
    if chosen.notes:
        least, often = rows.rare_words
        rare_words = RareWords.counted(originals[0][0].in_order(), special_ids, least, often)

    def corrupted(tasks):
        if chosen.corruption is None:
            return [TaskBatches(batches, batches) for batches in tasks]
        overlap = {} if step is None else {"reuse_length": step}
        corruptions = [chosen.corruption(tokenizer, masked, most, **overlap)]
        if chosen.entities:
            corruptions = [WithEntities(corruptions[0], len(read_vectors(rows.entities)))]
        if rare_words is not None:
            corruptions = [WithNotes(corruptions[0], rare_words)]
        if chosen.later:
            as_it_is = MaskedText(NoMasking(most), MaskReplacement(tokenizer.mask_token_id))
            corruptions = [
                ForTask(corruption, task)
                for task, corruption in enumerate(corruptions + [as_it_is] * len(chosen.later))
            ]
        settings = {"special_ids": special_ids, "copies": rows.copies, "seed": config.seed}
        return [
            TaskBatches(batches, CorruptedBatches(batches, corruption, **settings))
            for batches, corruption in zip(tasks, corruptions)
        ]

    return *map(corrupted, originals), rare_words


def make_learner(chosen, encoder: EncoderConfig, vocabulary_size: int, sequence_length: int, dtype=None):
    """The encoder of a recipe, with random weights."""
    # As the paper has it, a stretch of text remembers the one before it.
    memory = {"memory_length": sequence_length} if chosen.streams else {}
    overrides = {**memory, **chosen.overrides, **encoder.overrides}
    return make_backbone(encoder.preset or chosen.preset, vocabulary_size, sequence_length, overrides, dtype)


def make_models(
    chosen, encoder: EncoderConfig, learner, rows: RowsConfig, config: FitConfig, rare_words: RareWords | None
):
    """The models of a recipe's stages around an encoder, see `Recipe.models`."""
    given = {}
    if rows.within_documents:
        given["attention_mask"] = by_document
    if rare_words is not None:
        given["notes"] = NoteDictionary(len(rare_words), learner.config.hidden_dim, name="notes")
    if chosen.entities:
        given["graph"] = read_vectors(rows.entities)
    if chosen.streams:
        given["batch_size"] = config.batch_size
    preset = encoder.preset or chosen.preset

    def generator():
        return make_generator(preset, learner, learner.dtype_policy, encoder.generator)

    return chosen.models(learner, generator, **given)


def mixed(tasks: list[TaskBatches], config: FitConfig):
    """The batches of all tasks: those of later ones come in stages (arXiv:1907.12412, section 3.2)."""
    if len(tasks) == 1:
        return tasks[0].batches
    batches = {str(number): task.batches for number, task in enumerate(tasks)}
    schedule = continual_schedule([config.epochs * len(each) for each in batches.values()], config.seed)
    return MixedBatches(batches, schedule, config.epochs, config.seed)


def _batches(pattern: str, chosen, rows: RowsConfig, config: FitConfig, step=None, backwards=False) -> list:
    """The rows of every task."""
    within_documents = rows.within_documents
    told = ("special_mask", "word_starts", *chosen.columns, *(("document_ids",) if within_documents else ()))
    features = {name: tf.io.RaggedFeature(tf.int64) for name in ("token_ids", "segment_ids", *told)}
    features["label"] = tf.io.FixedLenFeature([], tf.int64)
    if chosen.later:
        features["task"] = tf.io.FixedLenFeature([], tf.int64)
    files = sorted(tf.io.gfile.glob(pattern))
    parsed = list(
        tf.data.TFRecordDataset(files, "GZIP", num_parallel_reads=tf.data.AUTOTUNE)
        .batch(1024, num_parallel_calls=tf.data.AUTOTUNE)
        .map(lambda records: tf.io.parse_example(records, features), num_parallel_calls=tf.data.AUTOTUNE)
    )
    if not parsed:
        raise UserError("the documents give no rows: give longer ones, or another objective.")
    columns = {name: tf.concat([tf.cast(batch[name], tf.int32) for batch in parsed], axis=0) for name in features}
    if chosen.streams:
        targets = {name: columns[name] for name in told}
        streams = TextStreams(
            columns["token_ids"],
            config.batch_size,
            rows.sequence_length,
            step=step,
            both_directions=backwards,
            segment_ids=columns["segment_ids"],
            targets=targets,
            seed=config.seed,
        )
        return [streams]
    numbers = np.arange(columns["label"].shape[0])
    if not chosen.later:
        return [_task_batches(columns, numbers, told, chosen.pair, config)]
    task_of_row, batches = columns["task"].numpy(), []
    annotations = [name for name in told if name not in {task.target for task in chosen.later}]
    for number, target in enumerate((chosen.pair, *(task.target for task in chosen.later))):
        own = numbers[task_of_row == number]
        if not len(own):
            raise UserError(f"the documents give no rows for {target or 'the masks'}: give more or longer ones.")
        part = {name: tf.gather(column, own) for name, column in columns.items()}
        batches.append(_task_batches(part, own, annotations, target, config))
    return batches


def _task_batches(columns: dict, numbers, told, target: str | None, config: FitConfig) -> Batches:
    """The rows of one task: `numbers` tells them apart, and `target` is a column or what the label becomes."""
    targets = {"row": numbers, **{name: columns[name] for name in told}}
    if target is not None:
        targets[target] = columns[target] if target in columns else columns["label"].numpy()
    return Batches(
        columns["token_ids"], targets, config.batch_size, segment_ids=columns["segment_ids"], seed=config.seed
    )


def _check_known(token_ids: tf.RaggedTensor, tokenizer) -> None:
    """Logs the share of the rows' ordinary tokens that are unknown, and refuses an absurd one."""
    found, unknown = token_ids.flat_values.numpy(), tokenizer.unk_token_id
    special = set(tokenizer.special_token_ids()) - {unknown}
    share = float(np.mean(found[~np.isin(found, list(special))] == unknown))
    progress.info("%.1f%% of the tokens are unknown to the vocabulary", 100 * share)
    if share > _MOST_UNKNOWN:
        others = ", ".join(name for name, other in RECIPES.items() if other.vocabulary is not WORDPIECE)
        raise UserError(
            f"{share:.0%} of the tokens are unknown to the vocabulary: take byte-level BPE or SentencePiece, as the "
            f"objectives {others} do, or a tokeniser of this language by --vocabulary."
        )


def _training_directory(settings: dict, rows) -> Path:
    """Where `fit` keeps its state: a folder named by all that the result depends on, the files `rows` among it."""
    if is_remote(settings["training"]):
        raise UserError(
            f"training cannot keep its state in {settings['training']}: give a folder that the Trainer's machine has."
        )
    named = {name: value for name, value in settings.items() if name not in ("training", "export_code")}
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode())
    for pattern in rows:
        digest.update(b"\0")
        for file in sorted(tf.io.gfile.glob(pattern)):
            # Whole records, in their order: every column of them.
            for record in tf.data.TFRecordDataset(file, "GZIP").as_numpy_iterator():
                digest.update(record)
    return Path(settings["training"]) / f"{settings['objective']}-{digest.hexdigest()[:12]}"


def _save(fn_args, backbone, knowledge, preprocessor, run: dict, objective: str, paper: str) -> None:
    embedder = TextEmbedder(backbone, pooling=MeanPooling())
    uri = fn_args.serving_model_dir
    losses = {"held-out loss": run["judgement"]["loss"], **run["judgement"]["baselines"]}
    card = {
        "name": objective,
        "description": f"A text encoder ({run['preset']}) pre-trained with the objective {objective} ({paper}).",
        "training_data": f"{run['tokens']:,} tokens in {run['rows']['train']:,} rows.",
        "metrics": {f"{name}, nats": round(value, 4) for name, value in losses.items()},
        "how_made": run["recipe"],
    }
    with TemporaryDirectory() if is_remote(uri) else nullcontext(str(Path(uri).parent)) as parent:
        export = export_savedmodel(
            embedder,
            Path(parent) / Path(uri).name,
            preprocessor=preprocessor,
            warmup_texts=list(_WARMUP_TEXTS),
            card=card,
        )
        if is_remote(uri):
            io_utils.copy_dir(str(export), uri)
    save_keras(embedder, preprocessor, keras_uri(uri))
    with local_output(encoder_uri(uri)) as folder:
        save_encoder(backbone, preprocessor, folder)
        if knowledge is not None:
            knowledge.save(Path(folder) / KNOWLEDGE_FILE)
    with local_output(fn_args.model_run_dir) as folder:
        (folder / "history.json").write_text(json.dumps(run, indent=2), encoding="utf-8")


def save_encoder(backbone, preprocessor: TextPreprocessor, folder) -> None:
    """Writes an encoder and its tokeniser as `--teacher` and `from_hf` read them."""
    preprocessor.save(folder)
    tfmodels.to_hf(backbone, folder)
