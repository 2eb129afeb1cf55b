"""Every value of the text classification pipeline: recipes, bounds, paths and runner arguments.

The recipes' defaults are those of the main job, the movie reviews. All of it goes to JSON and back, so that a runner
can take it from a file or a flag, and so that TFX's cache sees every change.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field

from pipelines.components.configuration import check_stages
from tfmodels.training import FitConfig

_TEACHER_FIT = FitConfig(epochs=1, batch_size=32, learning_rate=5e-5)
_STUDENT_FIT = FitConfig(epochs=5, batch_size=128, learning_rate=1.5e-3)


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """How texts become tokens, for teacher and student alike.

    Attributes:
        sequence_length: tokens; what is longer is cut.
        lowercase: Whether the vocabulary is of lower-case pieces; None goes by the teacher's tokenizer_config.json.
    """

    sequence_length: int = 128
    lowercase: bool | None = None


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    """The model that is fine-tuned.

    Attributes:
        source: "minilm", a folder as Hugging Face lays it out, or a registered preset (random weights).
        vocabulary: A vocab.txt; None takes the source's own, for presets MiniLM's.
        overrides: Fields of the configuration to change, for presets only.
        pooling: The vector of a text: "mean" of the tokens, "first" token, or the backbone's own "pooler".
        dropout: fraction of the pooled vector dropped in training.
        fit: The training recipe.
    """

    source: str = "minilm"
    vocabulary: str | None = None
    overrides: dict = field(default_factory=dict)
    pooling: str = "mean"
    dropout: float = 0.1
    fit: FitConfig = _TEACHER_FIT


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """One stage of distillation; TinyBERT has one for the intermediates and one for the predictions.

    A loss with weight zero is left out.

    Attributes:
        fit: The training recipe.
        hard_label_weight: The factor of the cross-entropy with the labels.
        soft_labels: The factor of the divergence from the teacher's distribution.
        temperature: Softens both distributions.
        logits: The factor of the squared difference of the logits.
        embeddings: The factor of the squared difference of the embeddings.
        hidden_states: The factor of the squared difference of the hidden states.
        attention_scores: The factor of the squared difference of the attention scores.
        layer_map: student layer -> teacher layer, counted from 1, or from -1 backwards: {"-1": -1} maps last to last.
        spans_per_text: How many random spans of the training texts join them for each text, without a label: the
            student learns them from the teacher alone. Pairs of texts get none.
        cache_teacher: Whether the teacher's outputs are computed once and kept in memory, rather than in every step.
            Attention scores are too large to keep: with them the teacher runs in every step.
    """

    fit: FitConfig = _STUDENT_FIT
    hard_label_weight: float = 0.0
    soft_labels: float = 1.0
    temperature: float = 1.0
    logits: float = 0.0
    embeddings: float = 0.0
    hidden_states: float = 0.0
    attention_scores: float = 0.0
    layer_map: dict[str, int] = field(default_factory=dict)
    spans_per_text: int = 0
    cache_teacher: bool = True


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """The model that learns from the teacher, and is served.

    Attributes:
        preset: A registered name.
        overrides: Fields of its configuration to change.
        pooling: As the teacher's.
        dropout: fraction of the pooled vector dropped in training.
        embed_like_teacher: Whether the token vectors start as what the teacher makes of each token alone; None does so
            where they are no wider than the teacher's states.
        stages: The stages of distillation, in order.
    """

    preset: str = "bert_tiny"
    overrides: dict = field(
        default_factory=lambda: {
            "num_layers": 2,
            "num_heads": 4,
            "hidden_dim": 128,
            "intermediate_dim": 512,
            "embedding_dim": 64,
            "max_sequence_length": 128,
        }
    )
    pooling: str = "mean"
    dropout: float = 0.1
    embed_like_teacher: bool | None = None
    stages: tuple[StageConfig, ...] = (
        StageConfig(soft_labels=0.0, logits=1.0, hidden_states=1.0, layer_map={"-1": -1}, spans_per_text=4),
    )

    def __post_init__(self):
        check_stages(self.stages)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """The bounds that a student must reach to be pushed, and what it is evaluated by.

    Attributes:
        teacher_fraction: The least fraction of the teacher's accuracy; the default is what the recipe keeps on the
            movie reviews, less the error of a thousand test rows.
        predecessor_tolerance: How much accuracy, in absolute terms, it may lose against the latest blessed model.
        least_accuracy: The least accuracy of all, such as that of always guessing the largest class; None for none.
        length_edges: words; the slices by length end at these, such as "1-10 words" and "11-20 words". None takes the
            quartiles of the table.
        split: The split that is evaluated.
    """

    teacher_fraction: float = 0.92
    predecessor_tolerance: float = 0.01
    least_accuracy: float | None = None
    length_edges: tuple[int, ...] | None = None
    split: str = "test"


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    """How the pushed model is proven and served.

    Attributes:
        model_name: The model's name in requests.
        warmup_texts: How many texts of the validation split the export carries as warm-up requests.
        gate_texts: How many texts of the test split the gate compares the export's answers on.
        tolerance: The largest absolute difference between the export's outputs and the Keras model's.
        latency_seconds: How long the gate measures for each batch size.
    """

    model_name: str = "text_classification"
    warmup_texts: int = 64
    gate_texts: int = 100
    tolerance: float = 1e-4
    latency_seconds: float = 0.5


@dataclasses.dataclass(frozen=True)
class PathsConfig:
    """Where everything is; any of these may be a remote file system that TFX reads.

    Attributes:
        data: The folder with train/, validation/ and test/ that `data.prepare` made.
        preprocessor: The folder of the saved `TextPreprocessor`.
        pipeline_root: TFX's artifacts.
        serving: The folder of versions that a model server watches.
        training: Where training keeps its checkpoints and TensorBoard logs; a killed run goes on from there.
        metadata: The SQLite file of the local runner's metadata.
    """

    data: str
    preprocessor: str
    pipeline_root: str
    serving: str
    training: str
    metadata: str = ""


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """One pipeline.

    Attributes:
        paths: Where everything is.
        labels: The classes in the order of the model's outputs.
        pairs: Whether a row is a pair of texts.
        name: The pipeline's name; Kubeflow takes lower-case letters, digits and hyphens.
        text, teacher, student, evaluation, serving: See their classes.
        beam_args: Apache Beam's arguments, such as --runner=DataflowRunner. Without any, Beam works in this process,
            which for tables of this size is quickest: for any argument at all, TFX packs itself up for workers.
        enable_cache: Whether finished components are taken from the cache.
    """

    paths: PathsConfig
    labels: tuple[str, ...]
    pairs: bool = False
    name: str = "text-classification"
    text: TextConfig = TextConfig()
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    serving: ServingConfig = ServingConfig()
    beam_args: tuple[str, ...] = ()
    enable_cache: bool = True
