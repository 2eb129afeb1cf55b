"""The Trainer's callback: learn an objective from rows, judge it on held-out rows, save the encoder.

What it leaves beside the export (see `components.model_artifact`): `Keras/`, the encoder as a `TextEmbedder` with its
preprocessor, and `Encoder/`, the encoder with its tokeniser as the text classification pipeline takes it: in Hugging
Face's layout where transformers has a counterpart of the family.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import tensorflow as tf
from tfx.utils import io_utils

import tfmodels
from pipelines.components.configuration import from_dict
from pipelines.components.epoch_lines import EpochLines
from pipelines.components.files import is_remote, local_copy, local_output
from pipelines.components.model_artifact import encoder_uri, keras_uri, save_keras
from pipelines.pretraining.configs import EncoderConfig, RowsConfig
from pipelines.pretraining.recipes import make_backbone, max_predictions, recipe
from serving import export_savedmodel
from tfmodels.errors import UserError
from tfmodels.layers import MeanPooling
from tfmodels.models import TextEmbedder
from tfmodels.objectives import CorruptedBatches, NgramBaselines, predictions_of
from tfmodels.text import TextPreprocessor
from tfmodels.training import Batches, FitConfig, fit, policy_for
from tfmodels.training.tensorboard import Hyperparameters

_FEATURES = ("token_ids", "segment_ids", "special_mask", "word_starts")
_WARMUP_TEXTS = ("Language models learn from text.", "", "預訓練")


def run_fn(fn_args) -> None:
    """TFX Trainer's callback."""
    settings = fn_args.custom_config
    chosen = recipe(settings["objective"])
    rows, config = from_dict(RowsConfig, settings["rows"]), from_dict(FitConfig, settings["fit"])
    encoder = from_dict(EncoderConfig, settings["encoder"])
    examples = fn_args.train_files[0].rpartition("/Split-train/")[0]
    with local_copy(f"{examples}/preprocessor") as folder:
        preprocessor = TextPreprocessor.load(folder)
    tokenizer = preprocessor.tokenizer

    keras.utils.set_random_seed(config.seed)
    preset, policy = encoder.preset or chosen.preset, policy_for(config.precision)

    def backbone(policy):
        return make_backbone(preset, tokenizer, preprocessor.sequence_length, encoder.overrides, policy)

    learner = backbone(policy)
    model = chosen.model(learner, lambda: _generator(preset, learner, policy))
    masked = rows.masked or chosen.masked
    corruption = chosen.corruption(tokenizer, masked, max_predictions(preprocessor.sequence_length, masked))
    train, validation = (
        CorruptedBatches(
            _batches(f"{examples}/Split-{split}/*", chosen.pair, config),
            corruption,
            special_ids=tokenizer.special_token_ids(),
            copies=rows.copies,
            seed=config.seed,
        )
        for split in ("train", "validation")
    )
    directory = _training_directory(settings, train.batches)
    figures = ("loss", f"val_{chosen.figure}", "val_discriminator_accuracy")
    started = time.monotonic()
    history = fit(
        model,
        train,
        validation,
        config,
        directory,
        callbacks=[EpochLines(settings["objective"], config, figures), Hyperparameters(directory / "logs", config)],
        verbose=0,
    )
    seconds = time.monotonic() - started
    judgement = _judgement(chosen, history, train.batches, validation, tokenizer)
    if config.precision != "float32":
        twin = backbone("float32")
        twin.set_weights(learner.get_weights())
        learner = twin
    run = {
        "objective": settings["objective"],
        "preset": preset,
        "fit_seconds": seconds,
        "tokens": len(train.batches.token_ids.flat_values),
        "rows": {"train": len(train.batches.lengths), "validation": len(validation.batches.lengths)},
        "parameters": learner.count_params(),
        "recipe": dataclasses.asdict(config),
        "history": history,
        "judgement": judgement,
    }
    _save(fn_args, learner, preprocessor, run, settings["objective"], chosen.paper)


def _generator(preset, discriminator, policy):
    """ELECTRA's generator, in the size of the paper's, on the discriminator's embeddings."""
    name = f"{preset}_generator"
    if name not in tfmodels.list_models():
        raise UserError(f"the objective needs a model with a generator, such as electra_small, not {preset}.")
    backbone, chosen = tfmodels.describe_model(name)
    ours, published = discriminator.config, tfmodels.describe_model(preset)[1].config
    # Sizes that the user has changed change the generator's in proportion.
    sizes = {
        field: max(1, round(getattr(chosen.config, field) * getattr(ours, field) / getattr(published, field)))
        for field in ("num_heads", "intermediate_dim")
    }
    sizes["hidden_dim"] = sizes["num_heads"] * (ours.hidden_dim // ours.num_heads)
    config = ours.replace(**sizes, embedding_dim=ours.embedding_dim or ours.hidden_dim)
    return backbone(config, dtype=policy, name=name, shared=discriminator.shared_embeddings())


def _batches(pattern: str, pair: str | None, config: FitConfig) -> Batches:
    features = {name: tf.io.RaggedFeature(tf.int64) for name in _FEATURES}
    features["label"] = tf.io.FixedLenFeature([], tf.int64)
    files = sorted(tf.io.gfile.glob(pattern))
    parsed = list(
        tf.data.TFRecordDataset(files, "GZIP", num_parallel_reads=tf.data.AUTOTUNE)
        .batch(1024, num_parallel_calls=tf.data.AUTOTUNE)
        .map(lambda records: tf.io.parse_example(records, features), num_parallel_calls=tf.data.AUTOTUNE)
    )
    if not parsed:
        raise UserError("the documents give no rows: give longer ones, or another objective.")
    columns = {name: tf.concat([tf.cast(batch[name], tf.int32) for batch in parsed], axis=0) for name in features}
    targets = {"row": np.arange(columns["label"].shape[0])}
    targets |= {name: columns[name] for name in ("special_mask", "word_starts")}
    if pair is not None:
        targets[pair] = columns["label"].numpy()
    return Batches(
        columns["token_ids"], targets, config.batch_size, segment_ids=columns["segment_ids"], seed=config.seed
    )


def _training_directory(settings: dict, train: Batches) -> Path:
    """Where `fit` keeps its state: a folder named by all that the result depends on."""
    if is_remote(settings["training"]):
        raise UserError(
            f"training cannot keep its state in {settings['training']}: give a folder that the Trainer's machine has."
        )
    named = {name: value for name, value in settings.items() if name not in ("training", "export_code")}
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode())
    for array in (train.token_ids.flat_values, train.token_ids.row_splits):
        digest.update(np.ascontiguousarray(array).tobytes())
    return Path(settings["training"]) / f"{settings['objective']}-{digest.hexdigest()[:12]}"


def _judgement(chosen, history, train: Batches, validation: CorruptedBatches, tokenizer) -> dict:
    """The encoder's loss on held-out predictions beside what simple models reach there, in nats a prediction."""
    ordinary = set(tokenizer.special_token_ids()) - {tokenizer.unk_token_id}
    baselines = NgramBaselines(
        train.token_ids.flat_values, train.token_ids.row_splits, tokenizer.vocabulary_size(), ordinary
    )
    best = int(np.argmin(history["val_loss"]))
    figures = {name.removeprefix("val_"): values[best] for name, values in history.items() if name.startswith("val_")}
    losses = baselines.losses(*predictions_of(validation.in_order()))
    return {"loss": figures[chosen.figure], "baselines": losses, "figures": figures}


def _save(fn_args, backbone, preprocessor, run: dict, objective: str, paper: str) -> None:
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
    with local_output(fn_args.model_run_dir) as folder:
        (folder / "history.json").write_text(json.dumps(run, indent=2), encoding="utf-8")


def save_encoder(backbone, preprocessor: TextPreprocessor, folder) -> None:
    """Writes an encoder and its tokeniser as `--teacher` and `from_hf` read them."""
    preprocessor.save(folder)
    tfmodels.to_hf(backbone, folder)
