"""Every value of the distillation pipeline; it goes to JSON and back like the text classification pipeline's."""

from __future__ import annotations

import dataclasses
from dataclasses import field

from pipelines.components.configuration import check_stages
from pipelines.text_classification.configs import EvaluationConfig, PathsConfig, ServingConfig
from tfmodels.training import FitConfig

_FIT = FitConfig(epochs=5, batch_size=128, learning_rate=1.5e-3)
_EVALUATION = EvaluationConfig()
_SERVING = ServingConfig(model_name="student")


@dataclasses.dataclass(frozen=True)
class ImportedTeacher:
    """The teacher, as `teacher.find_teacher` found it.

    Attributes:
        artifact: The folder of its Model artifact.
        fingerprint: Of its weights, so that another model in the same place is another teacher.
        blessed: Whether it is resolved as the latest blessed model of the metadata, rather than imported from its
            folder.
    """

    artifact: str
    fingerprint: str
    blessed: bool = False


@dataclasses.dataclass(frozen=True)
class RowsConfig:
    """What the teacher is asked about, once for all students.

    Attributes:
        table: The prepared table's folder in `paths.data`.
        unlabelled: The folder of prepared texts without labels there, if there are such.
        outputs: The teacher's outputs that are stored, such as "logits" and "hidden_states/6".
        spans_per_text: How many random spans of the training texts join them for each text, without a label. Pairs of
            texts get none.
        token_states: Whether the teacher is asked about every token of its vocabulary, too, which
            `embed_like_teacher` needs; without, it is asked by every student's Trainer that does so.
        seed: Decides the spans.
    """

    table: str
    unlabelled: str | None = None
    outputs: tuple[str, ...] = ("logits",)
    spans_per_text: int = 4
    token_states: bool = True
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """One stage of distillation; TinyBERT has one for the intermediates and one for the predictions.

    Attributes:
        losses: Name -> settings, of `pipelines.components.losses.LOSSES`. Layers of a `layer_map` (student -> teacher)
            count from 1, or from -1 backwards.
        hard_label_weight: The factor of the cross-entropy with the labels.
        fit: The training recipe.
    """

    losses: dict[str, dict] = field(
        default_factory=lambda: {"logit_regression": {}, "hidden_states": {"layer_map": {"-1": -1}}}
    )
    hard_label_weight: float = 0.0
    fit: FitConfig = _FIT


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """The model that learns from the teacher, and is served.

    Attributes:
        preset: A registered name, or the folder of a pretrained encoder in Hugging Face's layout.
        overrides: Fields of its configuration to change, for presets only. Vocabulary and positions follow from the
            teacher's preprocessor.
        pooling: The vector of a text: "mean" of the tokens, "first" token, or the backbone's own "pooler".
        dropout: fraction of the pooled vector dropped in training.
        embed_like_teacher: Whether the token vectors start as what the teacher makes of each token alone; None does so
            where they are random and no wider than the teacher's states.
        stages: The stages of distillation, in order.
    """

    preset: str = "bert_tiny"
    overrides: dict = field(default_factory=dict)
    pooling: str = "mean"
    dropout: float = 0.1
    embed_like_teacher: bool | None = None
    stages: tuple[StageConfig, ...] = (StageConfig(),)

    def __post_init__(self):
        check_stages(self.stages)


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """One pipeline.

    Attributes:
        paths: Where everything is; `data` holds the folders that `rows` names.
        labels: The classes in the order of the teacher's outputs.
        teacher, rows, student: See their classes.
        pairs: Whether a row is a pair of texts.
        name: The pipeline's name.
        sequence_length: tokens that are read of a text; None as the teacher's preprocessor has it.
        evaluation, serving: As text classification's; the student is held against its teacher alone.
        beam_args: Apache Beam's arguments.
        enable_cache: Whether finished components are taken from the cache.
    """

    paths: PathsConfig
    labels: tuple[str, ...]
    teacher: ImportedTeacher
    rows: RowsConfig
    pairs: bool = False
    name: str = "distillation"
    sequence_length: int | None = None
    student: StudentConfig = StudentConfig()
    evaluation: EvaluationConfig = _EVALUATION
    serving: ServingConfig = _SERVING
    beam_args: tuple[str, ...] = ()
    enable_cache: bool = True
