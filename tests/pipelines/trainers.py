"""What a Trainer's callback is handed, on a few rows as Transform writes them.

    python -m tests.pipelines.trainers FOLDER

trains a teacher and then its student on two replicas, logical CPUs: devices must be made before TensorFlow starts.
"""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import tensorflow as tf
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io

from pipelines.components.model_artifact import save_keras
from pipelines.text_classification import trainer
from pipelines.text_classification.configs import ServingConfig, StageConfig, StudentConfig, TeacherConfig
from tfmodels.models import TextClassifier
from tfmodels.registry import create_model
from tfmodels.text import TextPreprocessor, WordPieceTokenizer
from tfmodels.training import FitConfig

WORDS = ["the", "plot", "film", "was", "is", "good", "bad", "and", "long"]
LABELS = ["bad", "good"]
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8, "max_sequence_length": 16}
_IDS = "token_ids$ragged_values"


def preprocessor():
    """A tokeniser of whole words."""
    return TextPreprocessor(WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), 16)


def sizes(**changes):
    """The configuration of a tiny model, as overrides."""
    return {**SIZES, "vocabulary_size": len(WORDS) + 5, **changes}


def write_rows(folder: Path) -> None:
    """Every split's rows in `folder/rows`, and in `folder/graph` what Transform says of them."""
    for split, rows in (("train", 24), ("validation", 12), ("test", 8)):
        texts = [f"the {['plot', 'film'][i % 3 % 2]} was {LABELS[i % 2]}{' and long' * (i % 4)}" for i in range(rows)]
        path = folder / "rows" / f"Split-{split}" / "rows.gz"
        path.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for i, (text, ids) in enumerate(zip(texts, preprocessor().tokenize(texts).to_list())):
                features = tf.train.Example().features
                features.feature["text"].bytes_list.value[:] = [text.encode()]
                features.feature["length_bucket"].bytes_list.value[:] = [b"1-9 words"]
                features.feature["label"].int64_list.value[:] = [i % 2]
                features.feature[_IDS].int64_list.value[:] = ids
                writer.write(tf.train.Example(features=features).SerializeToString())
    strings = {name: tf.io.FixedLenFeature([], tf.string) for name in ("text", "length_bucket")}
    spec = {"label": tf.io.FixedLenFeature([], tf.int64), "token_ids": tf.io.RaggedFeature(tf.int64, _IDS), **strings}
    metadata = dataset_metadata.DatasetMetadata.from_feature_spec(spec)
    metadata_io.write_metadata(metadata, str(folder / "graph" / "transformed_metadata"))
    preprocessor().save(folder / "preprocessor")


def arguments(folder: Path, role: str, config, base_model: Path | None = None, **settings):
    """What TFX hands to a Trainer's callback, with its outputs in `folder/role`."""
    return SimpleNamespace(
        custom_config={
            role: dataclasses.asdict(config),
            "serving": dataclasses.asdict(ServingConfig(warmup_texts=2)),
            "labels": LABELS,
            "preprocessor": str(folder / "preprocessor"),
            "training": str(folder / "training"),
            "code": "",
            **settings,
        },
        train_files=[f"{folder}/rows/Split-train/*"],
        eval_files=[f"{folder}/rows/Split-{split}/*" for split in ("validation", "test")],
        transform_graph_path=str(folder / "graph"),
        serving_model_dir=str(folder / role / "Format-Serving"),
        model_run_dir=str(folder / role / "run"),
        base_model=None if base_model is None else str(base_model),
    )


def save_teacher(folder: Path) -> Path:
    """A teacher that has learnt nothing; returns its export's folder, as a Trainer is told it."""
    keras.utils.set_random_seed(0)
    task = TextClassifier(create_model("bert_tiny", **sizes(num_layers=2, hidden_dim=12)), 2)
    save_keras(task, preprocessor(), str(folder / "given" / "Keras"))
    return folder / "given" / "Format-Serving"


def teacher_config(**recipe):
    """A teacher with random weights."""
    fit = FitConfig(epochs=1, batch_size=8, **recipe)
    return TeacherConfig("bert_tiny", overrides=sizes(num_layers=2, hidden_dim=12), fit=fit)


def student_config(*stages: StageConfig):
    """A student of a single layer."""
    return StudentConfig(overrides=sizes(), stages=stages)


def multi_worker_recipes(strategy):
    """A teacher and a student that dropout does not make different on several replicas."""
    quiet = {"dropout": 0.0, "attention_dropout": 0.0}
    teacher = teacher_config(strategy=strategy)
    fit = FitConfig(epochs=2, batch_size=8, learning_rate=1e-2, strategy=strategy)
    student = student_config(StageConfig(fit, attention_scores=1.0, hidden_states=1.0, layer_map={"1": 2}))
    return (
        dataclasses.replace(teacher, dropout=0.0, overrides={**teacher.overrides, **quiet}),
        dataclasses.replace(student, dropout=0.0, overrides={**student.overrides, **quiet}),
    )


def main(folder):
    """See the module."""
    folder = Path(folder)
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    write_rows(folder)
    replicas, train = [], trainer.fit

    def seen(model, *given, **settings):
        replicas.append(model.distribute_strategy.num_replicas_in_sync)
        return train(model, *given, **settings)

    trainer.fit = seen
    trainer.run_teacher(arguments(folder, "teacher", teacher_config(strategy="mirrored")))
    fit = FitConfig(epochs=1, batch_size=8, strategy="mirrored")
    # With attention the teacher, which was built outside the strategy, runs in every step.
    stage = StageConfig(fit, attention_scores=1.0, hidden_states=1.0, layer_map={"1": 2})
    trainer.run_student(arguments(folder, "student", student_config(stage), folder / "teacher" / "Format-Serving"))
    assert replicas == [2, 2], replicas  # of the teacher and of the student


if __name__ == "__main__":
    main(sys.argv[1])
