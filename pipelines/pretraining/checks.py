"""What can be wrong with the settings of a pre-training run, told before anything is read or run.

The models of the objective are made once with as few layers and tokens as will do, so that what they refuse, and the
figures that they keep, are known before hours of work and not after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

import tfmodels
from pipelines.components.baseline_gate import BASELINES
from pipelines.components.files import local_copy
from pipelines.pretraining.components import check_preprocessor, names_of
from pipelines.pretraining.configs import PretrainingConfig, RowsConfig
from pipelines.pretraining.entities import check_entities
from pipelines.pretraining.recipes import RECIPES, Recipe, generator_of, max_predictions, recipe
from pipelines.pretraining.trainer import make_learner, make_models
from tfmodels.errors import UserError, nearest
from tfmodels.interop import hf
from tfmodels.models import ElectraBackbone, KnowledgeEncoder
from tfmodels.models.transformer_xl import RecurrentBackbone
from tfmodels.objectives import RareWords
from tfmodels.text import SequenceFormat, TextPreprocessor
from tfmodels.training.fit import layer_rates

_LEAST_TOKENS = 8
# Of the models that are tried: no more than there are special tokens and letters.
_TRIED_PIECES = 100

# Settings that only some objectives have a use for: what these do, and which they are.
_USES: dict[str, tuple[str, Callable[[Recipe], bool]]] = {
    "rows.within_documents": ("packs several documents into a row", lambda chosen: chosen.packs_documents),
    "rows.masked": ("hides tokens", lambda chosen: chosen.corruption is not None),
    "rows.copies": (
        "hides tokens of rows that stay the same",
        lambda chosen: chosen.corruption is not None and not chosen.streams,
    ),
    "rows.chinese_words": ("masks whole words", lambda chosen: chosen.words),
    "rows.rare_words": ("takes notes of rare words", lambda chosen: chosen.notes),
    "rows.names": ("masks names", lambda chosen: "entity_ids" in chosen.columns),
    "rows.entities": ("reads entities", lambda chosen: chosen.entities),
    "encoder.generator": ("takes a generator", lambda chosen: chosen.generates),
}


def check_configuration(config: PretrainingConfig) -> None:
    """Finds what is wrong with a configuration, but for its corpus.

    Raises:
        UserError: A name is unknown, a number out of its range, or a setting does not fit another.
    """
    chosen = recipe(config.objective, config.rows.format)
    if config.baseline not in BASELINES:
        raise UserError(f"there is no baseline {config.baseline!r}: {nearest(config.baseline, BASELINES)}")
    _check_uses(config, chosen)
    _check_rows(config.rows)
    configuration = _check_model(config, chosen)
    _check_batches(config, chosen)
    if config.rows.names is not None:
        names_of(config.rows.names)
    if config.rows.entities is not None:
        check_entities(config.rows.entities)
    elif chosen.entities:
        raise UserError(
            f"{config.objective} reads the entities of a knowledge graph: give their folder as rows.entities, in "
            '--config a file of {"rows": {"entities": "DIR"}}; `python -m pipelines.pretraining.entities '
            "--output DIR` makes one of WordNet."
        )
    size, form = _TRIED_PIECES, chosen.vocabulary.format
    if config.vocabulary.folder is not None:
        tokenizer, form = _check_vocabulary(config, chosen)
        size = tokenizer.vocabulary_size()
    elif "capitals" in chosen.columns and not config.vocabulary.lowercase:
        raise UserError(
            f"{config.objective} learns which words have capitals from small letters: leave vocabulary.lowercase out."
        )
    elif config.vocabulary.size < chosen.vocabulary.least:
        raise UserError(f"vocabulary.size={config.vocabulary.size}: give at least {chosen.vocabulary.least}.")
    _check_segments(config, chosen, form, getattr(configuration, "num_segments", 0))
    _check_models(config, chosen, configuration, size)


def _check_uses(config, chosen: Recipe) -> None:
    """Makes sure that no setting is given in vain."""
    default = PretrainingConfig(config.paths)
    for place, (does, is_for) in _USES.items():
        part, name = place.split(".")
        given, usual = (getattr(getattr(each, part), name) for each in (config, default))
        if given != usual and not is_for(chosen):
            able = [other for other, its in RECIPES.items() if is_for(its) and other != config.objective]
            # A choice of nearly all is none.
            choice = f", or choose {' or '.join(able)}" if len(able) < len(RECIPES) / 2 else ""
            raise UserError(f"{place} is for an objective that {does}: leave it out of {config.objective}{choice}.")


def _check_rows(rows: RowsConfig) -> None:
    if rows.masked is not None and not 0 < rows.masked < 1:
        raise UserError(f"rows.masked={rows.masked}: give the fraction of the tokens to predict, such as 0.15.")
    for name, least in (("sequence_length", _LEAST_TOKENS), ("copies", 1), ("shards", 1), ("held_out_shards", 1)):
        count = getattr(rows, name)
        if count is not None and count < least:
            raise UserError(f"rows.{name}={count}: give at least {least}.")
    least, most = rows.rare_words
    if not 1 <= least <= most:
        raise UserError(
            f"rows.rare_words={[least, most]}: give how often a rare word stands in the documents, from least to most."
        )


def _check_batches(config, chosen: Recipe) -> None:
    if chosen.backwards and config.fit.batch_size % 2:
        raise UserError(
            f"fit.batch_size={config.fit.batch_size} is odd: half of the rows of {config.objective} read backwards."
        )
    step = config.encoder.overrides.get("reuse_length")
    if chosen.streams and step is not None and not 1 <= step <= config.rows.sequence_length:
        raise UserError(
            f"reuse_length={step}: a row has {config.rows.sequence_length} tokens, give from 1 to as many among the "
            "encoder's overrides."
        )
    if chosen.streams or chosen.notes:
        for name, whole in (("micro_batches", 1), ("strategy", "one")):
            given = getattr(config.fit, name)
            if given != whole:
                raise UserError(
                    f"fit.{name}={given!r}: {config.objective} reads batches whole, on one device: leave it out."
                )


def _check_model(config, chosen: Recipe):
    """The encoder's configuration, which the objective trains and which can be saved."""
    preset, overrides = config.encoder.preset or chosen.preset, config.encoder.overrides
    for name, value in chosen.overrides.items():
        if name in overrides:
            raise UserError(f"{config.objective} sets {name}={value} itself: leave it out of the encoder's overrides.")
    if "vocabulary_size" in overrides:
        raise UserError("vocabulary_size follows from the vocabulary: leave it out of the encoder's overrides.")
    backbone, published = tfmodels.describe_model(preset)
    if not issubclass(backbone, chosen.family) if chosen.family else issubclass(backbone, RecurrentBackbone):
        raise UserError(
            f"{config.objective} cannot train {preset}: choose another objective, or a model such as {chosen.preset}."
        )
    if chosen.generates:
        generator_of(preset)
    configuration = published.config.replace(**chosen.overrides, **overrides)
    kind = getattr(configuration, "kind", None)
    if (chosen.masks or config.rows.within_documents) and kind is not None and not kind.takes_masks:
        raise UserError(
            f"{config.objective if chosen.masks else 'within_documents'} says who sees whom, which "
            f"{type(kind).__name__} cannot take: use FullAttention."
        )
    if chosen.entities:
        # Layers of another kind are told by the smallest encoder that has one.
        smallest = configuration.replace(vocabulary_size=2, num_layers=1)
        KnowledgeEncoder(backbone(smallest, name=preset), num_entities=2)
    # ELECTRA projects its embeddings behind the place where notes are read, ALBERT before it.
    width = configuration.hidden_dim
    if chosen.notes and backbone is ElectraBackbone and configuration.embedding_dim not in (None, width):
        raise UserError(
            f"{config.objective} reads notes as wide as the encoder's states: set embedding_dim to {width} among the "
            f"encoder's overrides, or choose a model such as {chosen.preset}."
        )
    hf.check_configuration(backbone, configuration)
    return configuration


def _check_vocabulary(config, chosen: Recipe):
    """The tokeniser and the format of a given folder, which have what the rows and the masks want."""
    check_preprocessor(config.vocabulary.folder)
    with local_copy(config.vocabulary.folder) as local:
        saved = TextPreprocessor.load(local)
    rows = config.rows
    if "capitals" in chosen.columns and not getattr(saved.tokenizer, "lowercase", False):
        raise UserError(
            f"{config.objective} learns which words have capitals, but the vocabulary in {config.vocabulary.folder} "
            "keeps them: take one of small letters, or learn one."
        )
    # Whether the format's special tokens are there.
    TextPreprocessor(saved.tokenizer, rows.sequence_length, pair=chosen.pairing is not None, format=saved.format)
    if chosen.corruption is not None:
        masked = chosen.masked if rows.masked is None else rows.masked
        chosen.corruption(saved.tokenizer, masked, max_predictions(rows.sequence_length, masked))
    return saved.tokenizer, saved.format


def _check_segments(config, chosen: Recipe, form: SequenceFormat, known: int) -> None:
    """Makes sure that the encoder knows the segments of the rows; one that knows 0 does not read them."""
    segments = {segment for _, segment in form.parts(chosen.pairing is not None)}
    if chosen.masks and segments != {0, 1}:
        raise UserError(
            f"{config.objective} says by the segments 0 and 1 who sees whom, and this vocabulary's rows have "
            f"{' and '.join(map(str, sorted(segments)))}: take one with BERT's format, or learn one."
        )
    if 0 < known <= max(segments):
        raise UserError(
            f"the rows have a segment {max(segments)} and the encoder knows {known}, from 0 on: set its num_segments "
            f"to {max(segments) + 1}, or take another model or vocabulary."
        )


def _check_models(config, chosen: Recipe, configuration, vocabulary_size: int) -> None:
    """Makes the models in little, and looks for the figure that is watched."""
    by_depth = config.fit.layer_decay is not None or config.fit.unfreezing is not None
    depth = configuration.num_layers if by_depth else _least_depth(configuration)
    encoder = dataclasses.replace(config.encoder, overrides={**config.encoder.overrides, "num_layers": depth})
    rare_words = RareWords([[0]]) if chosen.notes else None
    try:
        learner = make_learner(chosen, encoder, vocabulary_size, config.rows.sequence_length)
        if learner.max_length is not None and learner.max_length < config.rows.sequence_length:
            raise UserError(
                f"the encoder takes at most {learner.max_length} tokens and rows have {config.rows.sequence_length}: "
                "leave max_sequence_length out of its overrides, or lower rows.sequence_length."
            )
        for _, model in make_models(chosen, encoder, learner, config.rows, config.fit, rare_words):
            figures = [f"val_{metric.name}" for metric in model.metrics]
            if config.fit.monitor not in figures:
                raise UserError(
                    f"fit.monitor={config.fit.monitor!r} is no figure of {config.objective} on held-out rows: "
                    f"{nearest(config.fit.monitor, figures)}"
                )
            layer_rates(model, config.fit, 1)
    except tf.errors.ResourceExhaustedError as error:
        raise UserError("memory does not hold the encoder: give a smaller model, or shorter rows.") from error


def _least_depth(configuration) -> int:
    """The fewest layers that a family takes with its other settings, as ALBERT's groups want one each."""
    for depth in range(1, configuration.num_layers):
        try:
            configuration.replace(num_layers=depth)
        except UserError:
            continue
        return depth
    return configuration.num_layers
