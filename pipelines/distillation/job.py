"""The job behind `tfmodels run distillation`: from a teacher of another run to a served student.

One output folder holds one teacher's answers and any number of students: what stands before the student comes from
TFX's cache when another student, or another recipe, runs there.

    OUTPUT/data/                  the table and the unlabelled texts as TFRecords
    OUTPUT/teacher/               the Model artifact of a teacher in Hugging Face's layout
    OUTPUT/preprocessor/          the teacher's tokeniser and its settings
    OUTPUT/pipeline/              TFX's artifacts, the teacher's answers among them, described in metadata.sqlite
    OUTPUT/training/              checkpoints and TensorBoard logs
    OUTPUT/serving/NAME/          the pushed versions of a student
    OUTPUT/students/NAME/         its pipeline.json, and results.json with every figure
    OUTPUT/logs/pipeline.log
"""

from __future__ import annotations

import dataclasses
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pipelines.console import run_alone, run_locally
from pipelines.distillation import unlabelled
from pipelines.distillation.teacher import BLESSED, Teacher, agreed_labels, check_tokenizer, find_teacher, locate
from pipelines.reports.markup import plain
from pipelines.text_classification.data import TableReport, prepare, preview
from pipelines.text_classification.job import movie_reviews_table
from pipelines.text_classification.screen import describe_table, show_results
from pipelines.text_classification.tables import TableConfig
from tfmodels.errors import UserError
from tfmodels.files import atomic_file

_NAME = "distillation"


# The fields of the configuration that the run sets.
OF_THE_RUN = ("paths", "labels", "pairs", "teacher", "rows.table", "rows.unlabelled", "rows.outputs")


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """What to run.

    Attributes:
        output: The folder for everything that is made.
        teacher: A folder, see `teacher.locate`; "blessed", or None, for the latest blessed model of the metadata in
            `output`.
        table: The user's table; None runs on the movie reviews.
        unlabelled: The user's texts without labels, if there are such.
        teacher_labels: What the table calls the teacher's classes, in the teacher's order.
        settings: The fields of `DistillationConfig` that differ from its defaults, as plain nested values.
        epochs: Instead of those of every stage of the recipe.
        name: The student's name in requests, and its folders' name.
    """

    output: str
    teacher: str | None = None
    table: TableConfig | None = None
    unlabelled: unlabelled.UnlabelledConfig | None = None
    teacher_labels: Sequence[str] = ()
    settings: dict = dataclasses.field(default_factory=dict)
    epochs: int | None = None
    name: str = "student"


def run_job(job: JobConfig) -> bool:
    """Runs the job.

    Returns:
        Whether a student was pushed. What went wrong otherwise has been printed; the log tells more.

    Raises:
        UserError: The teacher, the table, the unlabelled texts or a setting has a mistake.
    """
    started = time.monotonic()
    table = job.table or movie_reviews_table()
    # Answers in well under a second; TensorFlow and TFX take their time to import.
    located = None if job.teacher in (None, BLESSED) else locate(job.teacher)
    if located is None and not _metadata(job).exists():
        raise UserError(
            f"there is no teacher: give --teacher, or an --output with a metadata.sqlite in which a model is blessed "
            f"({_metadata(job)} is not there)."
        )
    preview(table)
    if job.unlabelled is not None:
        unlabelled.preview(job.unlabelled)
    return run_alone(Path(job.output), lambda console: _run(job, located, table, console, started))


def _metadata(job: JobConfig) -> Path:
    return Path(job.output) / "metadata.sqlite"


def blessed_teacher(metadata_file: Path) -> Path:
    """The folder of the latest blessed Model artifact that another pipeline has left in the metadata.

    Raises:
        UserError: There is none, or its Keras model is gone.
    """
    from tfx.orchestration import metadata

    from pipelines.components.resolvers import latest_blessed

    with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(metadata_file))) as handle:
        model = latest_blessed(handle.store, _NAME)
    if model is None:
        raise UserError(f"no other pipeline has a blessed model in {metadata_file}: give the folder of a --teacher.")
    return locate(model.uri)


def pipeline_config(
    job: JobConfig, data: Path, report: TableReport, teacher: Teacher, labels: Sequence[str], texts: Path | None = None
):
    """The pipeline's configuration, checked as far as is possible without running anything.

    Args:
        job: What to run.
        data: The prepared table.
        report: What is in it.
        teacher: The teacher.
        labels: The classes, in the teacher's order.
        texts: The prepared texts without labels.

    Raises:
        UserError: A setting is unknown or does not fit another.
    """
    from pipelines.components.configuration import from_dict
    from pipelines.distillation import configs
    from pipelines.text_classification.sources import save_preprocessor
    from tfmodels.text import TextPreprocessor

    output = Path(job.output)
    paths = configs.PathsConfig(
        data=str(data.parent),
        preprocessor="",
        pipeline_root=str(output / "pipeline"),
        serving=str(output / "serving" / job.name),
        training=str(output / "training"),
        metadata=str(_metadata(job)),
    )
    blessed = job.teacher in (None, BLESSED)
    rows = {**job.settings.get("rows", {}), "table": data.name, "unlabelled": texts and texts.name}
    config = from_dict(
        configs.DistillationConfig,
        {
            **job.settings,
            "paths": dataclasses.asdict(paths),
            "labels": list(labels),
            "pairs": report.pairs,
            "teacher": {"artifact": str(teacher.artifact), "fingerprint": teacher.fingerprint, "blessed": blessed},
            "rows": rows,
        },
    )
    saved = teacher.preprocessor
    length = config.sequence_length or saved.sequence_length
    preprocessor = TextPreprocessor(saved.tokenizer, length, saved.pair, saved.length_multiple, saved.format)
    student, outputs = _checked_student(config, teacher, preprocessor, job.epochs)
    rows = dataclasses.replace(
        config.rows, outputs=outputs, spans_per_text=0 if report.pairs else config.rows.spans_per_text
    )
    evaluation = config.evaluation
    if evaluation.length_edges is None:
        edges = sorted({int(edge) for edge in report.words["quartiles"]} - {report.words["max"]})
        evaluation = dataclasses.replace(evaluation, length_edges=tuple(edges))
    paths = dataclasses.replace(paths, preprocessor=str(save_preprocessor(preprocessor, output / "preprocessor")))
    return dataclasses.replace(config, paths=paths, student=student, rows=rows, evaluation=evaluation)


def _checked_student(config, teacher: Teacher, preprocessor, epochs: int | None):
    """The student's configuration with what follows from the teacher's, and the teacher's outputs that it reads."""
    from pipelines.components.losses import make_losses, teacher_outputs
    from pipelines.text_classification.sources import starts_like_teacher
    from pipelines.text_classification.trainer import build_student
    from tfmodels.distillation import Distiller
    from tfmodels.registry import describe_model

    student = config.student
    if epochs is not None:
        stages = [
            dataclasses.replace(stage, fit=dataclasses.replace(stage.fit, epochs=epochs)) for stage in student.stages
        ]
        student = dataclasses.replace(student, stages=tuple(stages))
    folder = Path(student.preset)
    is_pretrained = folder.is_dir()
    if is_pretrained:
        if not (folder / "config.json").exists():
            raise UserError(f"{folder} has no config.json: give an encoder in Hugging Face's layout, or a preset.")
        if student.overrides:
            raise UserError(f"the student in {folder} is as large as it is: leave its overrides out.")
        check_tokenizer(teacher.preprocessor, folder)
    else:
        known = {field.name for field in dataclasses.fields(describe_model(student.preset)[1].config)}
        vocabulary = preprocessor.tokenizer.vocabulary_size()
        if student.overrides.get("vocabulary_size", vocabulary) != vocabulary:
            raise UserError(
                f"the student's vocabulary_size of {student.overrides['vocabulary_size']:,} is not that of the "
                f"teacher's tokeniser, {vocabulary:,}: leave it out, teacher and student read the same tokens."
            )
        sizes = {"vocabulary_size": vocabulary, "max_sequence_length": preprocessor.sequence_length}
        sizes = {name: value for name, value in sizes.items() if name in known}
        student = dataclasses.replace(student, overrides={**sizes, **student.overrides})
    model = build_student(student, len(config.labels), "float32")
    longest = model.backbone.max_length
    if longest is not None and preprocessor.sequence_length > longest:
        raise UserError(
            f"the student takes at most {longest} tokens, fewer than the {preprocessor.sequence_length} that are read: "
            f"raise its max_sequence_length, or give --sequence-length {longest}."
        )
    sizes, of_teacher = model.backbone.config, teacher.task.backbone.config
    asked = False if student.embed_like_teacher is None and is_pretrained else student.embed_like_teacher
    student = dataclasses.replace(student, embed_like_teacher=starts_like_teacher(asked, sizes, of_teacher))
    losses = [make_losses(stage.losses, sizes.num_layers, of_teacher.num_layers) for stage in student.stages]
    for of_stage in losses:
        Distiller(model, teacher.task, of_stage)  # It refuses what the models do not have.
    return student, tuple(teacher_outputs([loss for of_stage in losses for loss in of_stage]))


def _run(job: JobConfig, located: Path | None, table: TableConfig, console: Console, started: float) -> bool:
    output = Path(job.output)
    folder = output / "students" / job.name
    with console.status("importing TensorFlow and TFX"):
        begun = time.monotonic()
        import pipelines.distillation.trainer  # noqa: F401 (the Trainer would only import it later)
        from pipelines.components.configuration import check_settings, to_json
        from pipelines.components.metadata import latest_run
        from pipelines.distillation.configs import DistillationConfig
        from pipelines.distillation.pipeline import create_pipeline
        from pipelines.text_classification.outcome import outcome

        importing = time.monotonic() - begun
    check_settings(DistillationConfig, job.settings, *OF_THE_RUN)
    with console.status("reading the table"):
        data, report = prepare(table, output / "data")
    describe_table(console, table.path, report)
    texts = None
    if job.unlabelled is not None:
        with console.status("reading the unlabelled texts"):
            texts, count = unlabelled.prepare(job.unlabelled, output / "data")
        console.print(f"[bold]{count:,} texts[/] without a label in {escape(plain(job.unlabelled.path))}")
    with console.status("reading the teacher"):
        located = located or blessed_teacher(_metadata(job))
        length = job.settings.get("sequence_length")
        teacher = find_teacher(located, output, pairs=report.pairs, sequence_length=length, labels=job.teacher_labels)
    labels, notes = agreed_labels(teacher.labels, report.classes)
    console.print(
        f"[bold]teacher[/] of {teacher.task.count_params():,} parameters in {escape(plain(teacher.artifact))}"
    )
    for note in notes:
        console.print(f"  [yellow]![/] {escape(plain(note))}")
    config = pipeline_config(job, data, report, teacher, labels, texts)
    with atomic_file(folder / "pipeline.json") as partial:
        partial.write_text(to_json(config) + "\n", encoding="utf-8")
    lines = run_locally(console, create_pipeline(config))
    outputs = latest_run(config.paths.metadata, config.name)
    with console.status("serving and timing the models"):
        found = outcome(
            outputs,
            teacher=config.teacher.artifact,
            teacher_run=None,
            serving=config.paths.serving,
            name=job.name,
        )
    wall = time.monotonic() - started
    fitting = 0.0 if "Trainer.student" in lines.cached else found["models"]["student"]["fit_seconds"]
    # Linux counts in KiB.
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    results = {
        "pipeline": _NAME,
        "table": {**dataclasses.asdict(report), "classes": list(labels)},
        "warnings": [*report.warnings, *notes],
        "config": dataclasses.asdict(config),
        **found,
        "seconds": {
            "wall": wall,
            "import": importing,
            "fit": fitting,
            "overhead": wall - importing - fitting,
            "components": lines.seconds,
            "cached": sorted(lines.cached),
        },
        "peak_memory_gib": max(usage) / 2**20,
    }
    with atomic_file(folder / "results.json") as partial:
        partial.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    show_results(console, output, job.name, results, {"every figure": folder / "results.json"})
    if "TeacherOutputs" in lines.cached:
        console.print("The teacher's answers were there from an earlier run.")
    console.print(f"  compare students: tfmodels compare {escape(plain(output))}")
    return results["pushed"] is not None
