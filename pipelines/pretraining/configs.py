"""Every value of the pre-training pipeline; it goes to JSON and back like the text classification pipeline's."""

from __future__ import annotations

import dataclasses
from dataclasses import field

from tfmodels.training import FitConfig

_FIT = FitConfig(epochs=4, batch_size=32, learning_rate=5e-4, monitor="val_loss")


@dataclasses.dataclass(frozen=True)
class VocabularyConfig:
    """How texts become tokens.

    Attributes:
        size: V, the pieces to learn from the training documents: at least 64, or 261 where they are bytes.
        lowercase: Whether the texts are lowered, where the objective's tokeniser can.
        folder: A folder with a tokeniser to take instead, such as another run's `encoder/`.
    """

    size: int = 8192
    lowercase: bool = True
    folder: str | None = None


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The encoder that learns.

    Attributes:
        preset: A registered name; None takes the objective's own.
        overrides: Fields of its configuration to change. Vocabulary size and positions follow from the rest.
        generator: Fields of the configuration of ELECTRA's generator to change, which by default has the proportions
            of the paper's: a narrow encoder wants a generator that is less so.
    """

    preset: str | None = None
    overrides: dict = field(default_factory=dict)
    generator: dict = field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class RowsConfig:
    """The rows that documents are cut into.

    Attributes:
        sequence_length: tokens, special ones included.
        format: "segment_pair" or "sentence_pair" where the objective judges pairs, "full_sentences" or "doc_sentences"
            where it does not; None takes the objective's own.
        masked: fraction of the tokens to predict; None takes the objective's own.
        copies: How many corruptions of a row there are: 1 is a static mask; None draws a new one every epoch.
        shards: The most files of training rows. Documents of one shard may be paired with each other, and are held in
            memory together; a small corpus gets fewer.
        held_out_shards: The same of held-out rows.
        chinese_words: Whether ideographs that form a word stay together in whole-word masks and spans.
        within_documents: Whether attention stays within each of the documents that share a row.
        rare_words: A word that stands in the training documents at least and at most so often has a note, in `tnf`.
        names: A UTF-8 file of names, one a line, that ERNIE masks whole; the default finds some in the documents.
        entities: A folder with a knowledge graph's entities, see `entities`, that `ernie_thu` reads.
    """

    sequence_length: int = 128
    format: str | None = None
    masked: float | None = None
    copies: int | None = None
    shards: int = 4
    held_out_shards: int = 4
    chinese_words: bool = False
    within_documents: bool = False
    rare_words: tuple[int, int] = (100, 500)
    names: str | None = None
    entities: str | None = None


@dataclasses.dataclass(frozen=True)
class PathsConfig:
    """Where everything is.

    Attributes:
        corpus: The folder that `corpus.prepare` made.
        pipeline_root: TFX's artifacts.
        serving: The folder of versions that a model server watches.
        training: Where training keeps its checkpoints and TensorBoard logs.
        metadata: The SQLite file of the local runner's metadata.
    """

    corpus: str
    pipeline_root: str
    serving: str
    training: str
    metadata: str = ""


@dataclasses.dataclass(frozen=True)
class PretrainingConfig:
    """One pipeline.

    Attributes:
        paths: Where everything is.
        objective: What to learn: a name of `recipes.RECIPES`.
        name: The pipeline's name.
        vocabulary, encoder, rows, fit: See their classes.
        baseline: What the encoder must beat on held-out text to be pushed: "unigram", "visible bigram" or "bigram".
        beam_args: Apache Beam's arguments.
        enable_cache: Whether finished components are taken from the cache.
    """

    paths: PathsConfig
    objective: str = "bert"
    name: str = "pretraining"
    vocabulary: VocabularyConfig = VocabularyConfig()
    encoder: EncoderConfig = EncoderConfig()
    rows: RowsConfig = RowsConfig()
    fit: FitConfig = _FIT
    baseline: str = "unigram"
    beam_args: tuple[str, ...] = ()
    enable_cache: bool = True
