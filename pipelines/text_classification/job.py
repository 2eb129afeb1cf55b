"""The job behind `tfmodels run text_classification`: from a table to a served model, and the proof of what it is.

It checks the table, runs the pipeline, serves what was pushed, asks it over both protocols, times it beside its
teacher, prints the comparison and writes all of it down. A run that was killed goes on where it was: finished
components come from TFX's cache, and a Trainer goes on from its last whole epoch.

    OUTPUT/data/            the table as TFRecords, see `data`
    OUTPUT/preprocessor/    the tokeniser and its settings
    OUTPUT/pipeline/        TFX's artifacts, described in metadata.sqlite
    OUTPUT/training/        checkpoints and TensorBoard logs
    OUTPUT/serving/NAME/    the pushed versions
    OUTPUT/tensorflow_serving/  the real server's configuration for them
    OUTPUT/pipeline.json    the configuration, as the files in `pipelines.runners` take it
    OUTPUT/report.html      the report
    OUTPUT/results.json     every figure
    OUTPUT/logs/pipeline.log
"""

from __future__ import annotations

import dataclasses
import json
import resource
import time
from datetime import datetime
from pathlib import Path

from rich.console import Console

from pipelines.console import run_alone, run_locally
from pipelines.text_classification.data import TableReport, prepare, preview
from pipelines.text_classification.screen import describe_table, show_results
from pipelines.text_classification.tables import TableConfig
from tfmodels.errors import UserError
from tfmodels.files import atomic_file

# What a pushed model is asked where the table is the movie reviews; otherwise, texts of the test split.
_REVIEW_SENTENCES = (
    "A gripping, beautifully acted film that stays with you.",
    "Two hours of clichés and not a single laugh.",
    "The plot is thin, but the actors carry it further than anyone could have hoped for.",
    "I wanted to like it; it would not let me.",
)


# The fields of the configuration that the run sets.
OF_THE_RUN = ("paths", "labels", "pairs")


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """What to run.

    Attributes:
        output: The folder for everything that is made.
        table: The user's table; None runs on the movie reviews.
        settings: The fields of `PipelineConfig` that differ from its defaults, as plain nested values.
        epochs: Instead of those of the teacher's recipe.
        student_epochs: Instead of those of every stage of the student's recipe.
        attention: The kind of attention of all models with random weights, as `AttentionKind.to_dict` gives it; they
            get as many positions as texts have tokens. None leaves their configurations as they are.
        name: The model's name in requests, and its folder's name.
    """

    output: str
    table: TableConfig | None = None
    settings: dict = dataclasses.field(default_factory=dict)
    epochs: int | None = None
    student_epochs: int | None = None
    attention: dict | None = None
    name: str = "reviews"


def run_job(job: JobConfig) -> bool:
    """Runs the job.

    Returns:
        Whether a model was pushed. What went wrong otherwise has been printed; the log tells more.

    Raises:
        UserError: The table or a setting has a mistake.
    """
    started = time.monotonic()
    table = job.table or movie_reviews_table()
    # Answers in well under a second; TensorFlow and TFX take their time to import.
    preview(table)
    return run_alone(Path(job.output), lambda console: _run(job, table, console, started))


def movie_reviews_table() -> TableConfig:
    """The movie reviews as a table like any user's: text, label ("negative" or "positive") and split."""
    from tfmodels import datasets
    from tfmodels.datasets.packages import cache_directory

    path = cache_directory() / "movie_reviews.jsonl"
    with atomic_file(path) as partial, open(partial, "w", encoding="utf-8") as file:
        for review in datasets.movie_reviews():
            label = "positive" if review.score > 0 else "negative"
            file.write(json.dumps({"text": review.text, "label": label, "split": review.split}) + "\n")
    return TableConfig(str(path), split_column="split")


def pipeline_config(job: JobConfig, data: Path, report: TableReport):
    """The pipeline's configuration for a prepared table, checked as far as is possible without running anything.

    Raises:
        UserError: A setting is unknown or does not fit another.
    """
    from pipelines.components.configuration import from_dict
    from pipelines.text_classification import configs, sources
    from pipelines.text_classification.trainer import build_student, build_teacher, stage_losses
    from tfmodels.distillation import Distiller

    output = Path(job.output)
    paths = configs.PathsConfig(
        data=str(data),
        preprocessor="",
        pipeline_root=str(output / "pipeline"),
        serving=str(output / "serving" / job.name),
        training=str(output / "training"),
        metadata=str(output / "metadata.sqlite"),
    )
    settings = {**job.settings, "paths": dataclasses.asdict(paths), "labels": report.classes, "pairs": report.pairs}
    config = from_dict(configs.PipelineConfig, settings)
    config = _with_epochs(config, job.epochs, job.student_epochs)
    if job.attention is not None:
        config = _with_attention(config, job.attention)

    length = config.text.sequence_length
    preprocessor = sources.make_preprocessor(config.text, config.teacher, report.pairs)
    # A student needs no more positions than texts have tokens, and reads its teacher's vocabulary.
    sizes = {"max_sequence_length": length, "vocabulary_size": preprocessor.tokenizer.vocabulary_size()}
    overrides = {**sizes, **config.student.overrides}
    config = dataclasses.replace(config, student=dataclasses.replace(config.student, overrides=overrides))
    if config.evaluation.length_edges is None:
        edges = sorted({int(edge) for edge in report.words["quartiles"]} - {report.words["max"]})
        config = dataclasses.replace(
            config, evaluation=dataclasses.replace(config.evaluation, length_edges=tuple(edges))
        )

    student = build_student(config.student, len(report.classes), "float32")
    teacher = sources.check_teacher(config.teacher, length)
    sources.starts_like_teacher(config.student.embed_like_teacher, student.backbone.config, teacher)
    longest = student.backbone.max_length
    if longest is not None and length > longest:
        raise UserError(
            f"the student takes at most {longest} tokens, fewer than sequence_length {length}: "
            "raise its max_sequence_length."
        )
    layers = student.backbone.config.num_layers, teacher.num_layers
    losses = [stage_losses(stage, *layers) for stage in config.student.stages]
    if any(stage.attention_scores for stage in config.student.stages):
        # Only the model tells how many heads it has, if any.
        task = build_teacher(config.teacher, len(report.classes), "float32")
        for of_stage in losses:
            Distiller(student, task, of_stage)
    saved = sources.save_preprocessor(preprocessor, output / "preprocessor")
    return dataclasses.replace(config, paths=dataclasses.replace(paths, preprocessor=str(saved)))


def _with_epochs(config, teacher_epochs: int | None, student_epochs: int | None):
    teacher, student = config.teacher, config.student
    if teacher_epochs is not None:
        teacher = dataclasses.replace(teacher, fit=dataclasses.replace(teacher.fit, epochs=teacher_epochs))
    if student_epochs is not None:
        stages = [
            dataclasses.replace(stage, fit=dataclasses.replace(stage.fit, epochs=student_epochs))
            for stage in student.stages
        ]
        student = dataclasses.replace(student, stages=tuple(stages))
    return dataclasses.replace(config, teacher=teacher, student=student)


def _with_attention(config, attention: dict):
    from pipelines.text_classification import sources

    changes = {"max_sequence_length": config.text.sequence_length, "attention": attention}
    teacher, student = config.teacher, config.student
    if sources.hf_folder(teacher.source) is None:
        teacher = dataclasses.replace(teacher, overrides={**teacher.overrides, **changes})
    student = dataclasses.replace(student, overrides={**student.overrides, **changes})
    return dataclasses.replace(config, teacher=teacher, student=student)


def _run(job: JobConfig, table: TableConfig, console: Console, started: float) -> bool:
    output = Path(job.output)
    with console.status("importing TensorFlow and TFX"):
        begun = time.monotonic()
        import pipelines.text_classification.trainer  # noqa: F401 (the Trainers would only import it later)
        from pipelines.components.configuration import check_settings, to_json
        from pipelines.components.metadata import latest_run
        from pipelines.reports import write_report
        from pipelines.text_classification.configs import PipelineConfig
        from pipelines.text_classification.pipeline import create_pipeline
        from pipelines.text_classification.report import run_results

        importing = time.monotonic() - begun
    check_settings(PipelineConfig, job.settings, *OF_THE_RUN)
    with console.status("reading the table"):
        data, report = prepare(table, output / "data")
    describe_table(console, table.path, report)
    config = pipeline_config(job, data, report)
    with atomic_file(output / "pipeline.json") as partial:
        partial.write_text(to_json(config) + "\n", encoding="utf-8")
    lines = run_locally(console, create_pipeline(config))
    outputs = latest_run(config.paths.metadata, config.name)
    with console.status("serving and timing the models"):
        results = _results(job, config, report, outputs)
    wall = time.monotonic() - started
    fitting = sum(
        model["fit_seconds"] for name, model in results["models"].items() if f"Trainer.{name}" not in lines.cached
    )
    results["seconds"] = {
        "wall": wall,
        "import": importing,
        "fit": fitting,
        "overhead": wall - importing - fitting,
        "components": lines.seconds,
        "cached": sorted(lines.cached),
    }
    # Linux counts in KiB.
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    results["peak_memory_gib"] = max(usage) / 2**20
    with console.status("drawing the report"):
        write_report(run_results(results, datetime.now().strftime("%Y-%m-%d %H:%M")), output / "report.html")
    if results["pushed"] is not None:
        _write_serving_config(job, output)
    with atomic_file(output / "results.json") as partial:
        partial.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    show_results(console, output, job.name, results)
    return results["pushed"] is not None


def _write_serving_config(job: JobConfig, output: Path) -> None:
    from serving import write_serving_config

    # The server mounts the folder that holds NAME/VERSION/.
    write_serving_config(output / "tensorflow_serving", name=job.name, models=str(output / "serving"), overwrite=True)


def _results(job: JobConfig, config, report: TableReport, outputs: dict) -> dict:
    """Everything that the run found, as plain values."""
    from pipelines.text_classification.outcome import outcome

    teacher = outputs["Trainer.teacher"]
    return {
        "pipeline": "text_classification",
        "table": dataclasses.asdict(report),
        "warnings": report.warnings,
        "config": dataclasses.asdict(config),
        **outcome(
            outputs,
            teacher=teacher["model"].uri,
            teacher_run=teacher["model_run"].uri,
            serving=config.paths.serving,
            name=job.name,
            sentences=_REVIEW_SENTENCES if job.table is None else None,
        ),
    }
