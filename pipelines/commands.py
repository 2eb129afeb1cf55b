"""The command `tfmodels run`: pipelines on a table of the user's own."""

import functools
import json
import os
import re
import sys
from pathlib import Path

import click

from pipelines.pretraining.corpus import FORMATS as CORPUS_FORMATS
from pipelines.pretraining.corpus import CorpusConfig
from pipelines.text_classification.tables import FORMATS, TableConfig
from tfmodels.errors import UserError, nearest

# The names of `pipelines.pretraining.recipes`, which a test compares: importing it takes TensorFlow.
OBJECTIVES = (
    "albert",
    "bert",
    "electra",
    "electra_adversarial",
    "electra_two_stage",
    "ernie",
    "ernie2",
    "ernie_thu",
    "infoword",
    "nezha",
    "roberta",
    "spanbert",
    "tnf",
    "transformer_xl",
    "unilm",
    "whole_word",
    "xlnet",
    "xlnet_memory",
)


# A user's table.
_TABLE = (
    click.option("--data", metavar="FILE", help="Your table. Without it, the run is on 10,568 movie reviews."),
    click.option("--text-column", default="text", show_default=True, help="The column of the text."),
    click.option("--label-column", default="label", show_default=True, help="The column of the class."),
    click.option("--text-pair-column", help="The column of the second text, where rows are pairs of texts."),
    click.option("--split-column", help="The column that says train, validation or test.  [default: 80, 10, 10 %]"),
    click.option("--format", "table_format", type=click.Choice(FORMATS), help="By default the extension says it."),
    click.option("--delimiter", help="What separates the cells of a CSV file, if not a comma."),
    click.option("--skip-incomplete", is_flag=True, help="Leave out rows without a text or label, and go on."),
)


def _on_table(command):
    """Gives a command the options of a table, which it takes as `table`, a `TableConfig` or None without --data.

    It is also given `text_columns`, the names of the first and of the second text's.
    """

    @functools.wraps(command)
    def with_table(
        data,
        text_column,
        label_column,
        text_pair_column,
        split_column,
        table_format,
        delimiter,
        skip_incomplete,
        **options,
    ):
        table = None
        if data is not None:
            columns = (text_column, label_column, text_pair_column, split_column)
            table = TableConfig(data, *columns, table_format, delimiter, skip_incomplete)
        return command(table=table, text_columns=(text_column, text_pair_column), **options)

    return functools.reduce(lambda decorated, option: option(decorated), reversed(_TABLE), with_table)


def _configured(name: str):
    """Gives a command the options of every pipeline: a file of the configuration `name`, and the runner's."""
    options = (
        click.option("--config", metavar="FILE", help=f"JSON with any fields of {name} (pipelines/…/configs.py)."),
        click.option("--beam-arg", "beam_args", multiple=True, help="An argument for Apache Beam; may be given again."),
        click.option("--no-cache", is_flag=True, help="Run every component again."),
    )
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


@click.group("run")
def run_command():
    """Run a pipeline on a table of your own, from the data to a model that serves."""


@run_command.command("text_classification")
@_on_table
@click.option(
    "--output",
    default="output/text_classification",
    show_default=True,
    metavar="DIR",
    help="The folder for everything that is made. The same command again goes on from what is finished there.",
)
@click.option("--name", help="The model's name in requests.  [default: the table's name]")
@click.option(
    "--teacher",
    "--model",
    "teacher",
    metavar="SOURCE",
    help="minilm, a folder in Hugging Face's layout (OUTPUT/encoder of a pre-training run is one), or a preset.",
)
@click.option("--student", metavar="PRESET", help="A preset of `tfmodels list` instead of the recipe's small model.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the data for the teacher.")
@click.option("--student-epochs", type=click.IntRange(1), help="Passes over the data for each stage of the student.")
@click.option("--sequence-length", type=click.IntRange(8), help="Tokens of a text that are read.  [default: 128]")
@click.option(
    "--attention",
    metavar="KIND",
    help="The kind of attention of models with random weights: a name of `tfmodels attention-guide`, or JSON with its "
    "settings. They get as many positions as --sequence-length has tokens.",
)
@click.option(
    "--teacher-fraction",
    type=click.FloatRange(0, 2),
    help="The least fraction of the teacher's accuracy that is pushed.  [default: 0.92]",
)
@_configured("PipelineConfig")
def text_classification_command(
    table, text_columns, output, name, epochs, student_epochs, attention, config, **options
):
    """Fine-tune a teacher on labelled texts, distil a small student from it, prove the student and push it.

    The table is a CSV, TSV, JSON Lines, Parquet or TFRecord file with a column of texts and one of classes. The first
    rows are checked before anything else; a mistake gets one sentence.

    The student is pushed to OUTPUT/serving/NAME when it keeps enough of its teacher's accuracy, is not worse than the
    model before it, and answers through TensorFlow Serving's own loader. Exits with 0 then, with 1 if nothing was
    pushed, and with 2 for a mistake of yours.

    \b
    Examples:
      tfmodels run text_classification
      tfmodels run text_classification --data reviews.csv --text-column review --label-column stars --output runs/stars
      tfmodels run text_classification --data pairs.parquet --text-column premise --text-pair-column hypothesis
      tfmodels run text_classification --data long.jsonl --model bert_mini --sequence-length 4096 \\
        --attention '{"kind": "BigBirdAttention", "block_size": 64}'
    """  # noqa: D301 - \b is what click reads
    # TensorFlow reads this when it is imported; its notes about CPUs are for nobody here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from pipelines.text_classification.job import JobConfig, run_job

    job = JobConfig(
        output=str(Path(output).resolve()),
        table=table,
        settings=_settings(config, options),
        epochs=epochs,
        student_epochs=student_epochs,
        attention=_attention(attention),
        name=_checked_name(name) or ("reviews" if table is None else _model_name(table.path)),
    )
    _exit_with(job, run_job)


@run_command.command("pretraining")
@click.option(
    "--corpus",
    "files",
    multiple=True,
    metavar="FILES",
    help="A text file, a folder or a pattern; may be given many times. Without it, the run is on English essays.",
)
@click.option(
    "--format",
    "corpus_format",
    type=click.Choice(CORPUS_FORMATS),
    help="What a document is: the text between empty lines, a line, or an object of JSON Lines.  [default: by name]",
)
@click.option("--field", default="text", show_default=True, help="The field of the text in JSON Lines.")
@click.option("--validation", default=0.05, show_default=True, help="The fraction of documents that is held out.")
@click.option("--objective", help=f"What to learn: {', '.join(OBJECTIVES)}.  [default: bert]")
@click.option("--model", "preset", metavar="PRESET", help="A preset of `tfmodels list`.  [default: the objective's]")
@click.option(
    "--output",
    default="output/pretraining",
    show_default=True,
    metavar="DIR",
    help="The folder for everything that is made. The same command again goes on from what is finished there.",
)
@click.option("--name", help="The model's name in requests.  [default: encoder]")
@click.option("--vocabulary-size", type=click.IntRange(64), help="Pieces to learn.  [default: 8192]")
@click.option("--vocabulary", metavar="DIR", help="A folder with a tokeniser to take instead.")
@click.option("--sequence-length", type=click.IntRange(8), help="Tokens of a row.  [default: 128]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the rows.  [default: 4]")
@click.option("--batch-size", type=click.IntRange(1), help="Rows.  [default: 32]")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="The peak.  [default: 5e-4]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "auto"]),
    help="What is computed in; auto tries what is fastest on this machine.  [default: float32]",
)
@_configured("PretrainingConfig")
def pretraining_command(files, corpus_format, field, validation, output, name, config, **options):
    """Pre-train an encoder on raw documents, judge it on held-out ones, prove it and push it.

    Documents become rows in the objective's format, under a vocabulary that is learnt from them. The encoder is pushed
    when it predicts held-out tokens better than a unigram model and answers through TensorFlow Serving's own loader;
    OUTPUT/encoder is then what fine-tuning starts from. Exits with 0 then, with 1 if nothing was pushed, and with 2 for
    a mistake of yours.

    \b
    Examples:
      tfmodels run pretraining
      tfmodels run pretraining --corpus 'essays/*.txt.gz' --objective electra --model electra_small --output runs/e
      tfmodels run text_classification --data reviews.csv --model runs/e/encoder
    """  # noqa: D301 - \b is what click reads
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from pipelines.pretraining.job import JobConfig, run_job

    objective = options["objective"]
    if objective is not None and objective not in OBJECTIVES:
        raise UserError(f"there is no objective {objective!r}: {nearest(objective, OBJECTIVES)}")
    settings = _read_config(config) if config else {}
    if objective is not None:
        settings["objective"] = objective
    _put(settings, "encoder", preset=options["preset"])
    _put(settings, "vocabulary", size=options["vocabulary_size"], folder=options["vocabulary"])
    _put(settings, "rows", sequence_length=options["sequence_length"])
    fit = {key: options[key] for key in ("epochs", "batch_size", "learning_rate", "precision")}
    _put(settings, "fit", **fit)
    _put_runner(settings, options)
    corpus = CorpusConfig(files, corpus_format, field, validation) if files else None
    job = JobConfig(str(Path(output).resolve()), corpus, settings, _checked_name(name) or "encoder")
    _exit_with(job, run_job)


@run_command.command("distillation")
@click.option(
    "--teacher",
    metavar="DIR",
    help="A run of text_classification, a student of another distillation (OUTPUT/students/NAME), a Keras/ folder, or "
    "a classifier in Hugging Face's layout.  [default: the latest blessed model of OUTPUT/metadata.sqlite]",
)
@_on_table
@click.option(
    "--unlabelled",
    metavar="FILE",
    help="Texts that the teacher alone tells about: one a line (.txt), or a table with the same columns of texts.",
)
@click.option("--teacher-labels", metavar="A,B,…", help="What your table calls the teacher's classes, in its order.")
@click.option(
    "--model",
    "student",
    metavar="STUDENT",
    help="A preset of `tfmodels list`, or a pretrained encoder's folder with the teacher's tokeniser."
    "  [default: bert_tiny]",
)
@click.option(
    "--output",
    default="output/distillation",
    show_default=True,
    metavar="DIR",
    help="The folder for everything that is made. Another student there finds the teacher's answers made.",
)
@click.option("--name", help="The student's name in requests.  [default: the model's name]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the data for each stage.  [default: 5]")
@click.option("--sequence-length", type=click.IntRange(8), help="Tokens that are read.  [default: the teacher's]")
@click.option(
    "--teacher-fraction",
    type=click.FloatRange(0, 2),
    help="The least fraction of the teacher's accuracy that is pushed.  [default: 0.92]",
)
@_configured("DistillationConfig")
def distillation_command(
    teacher, table, text_columns, unlabelled, teacher_labels, output, name, epochs, config, **options
):
    """Distil a small student from a teacher that is there, hold it against the teacher, prove it and push it.

    The teacher answers every row of the table, random spans of the training texts and your unlabelled texts once; its
    answers are stored, and every further student in the same --output learns from them. Teacher and student share the
    tokeniser and the order of the classes. The student is pushed to OUTPUT/serving/NAME when it keeps enough of its
    teacher's accuracy and answers through TensorFlow Serving's own loader. Exits with 0 then, with 1 if nothing was
    pushed, and with 2 for a mistake of yours.

    \b
    Examples:
      tfmodels run distillation --teacher output/text_classification
      tfmodels run distillation --teacher runs/stars --data stars.csv --unlabelled more.txt --model bert_mini
      tfmodels compare output/text_classification output/distillation
    """  # noqa: D301 - \b is what click reads
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from pipelines.distillation.job import JobConfig, run_job
    from pipelines.distillation.unlabelled import UnlabelledConfig

    settings = _read_config(config) if config else {}
    if options["student"]:
        _put(settings, "student", preset=options["student"])
    if options["sequence_length"]:
        settings["sequence_length"] = options["sequence_length"]
    _put(settings, "evaluation", teacher_fraction=options["teacher_fraction"])
    _put_runner(settings, options)
    preset = _section(settings, "student").get("preset", "bert_tiny")
    if not isinstance(preset, str):
        raise UserError(f"the student's preset is {preset!r} in --config and not a name: write one in quotes.")
    job = JobConfig(
        output=str(Path(output).resolve()),
        teacher=teacher,
        table=table,
        unlabelled=UnlabelledConfig(unlabelled, *text_columns) if unlabelled else None,
        teacher_labels=tuple(label.strip() for label in teacher_labels.split(",")) if teacher_labels else (),
        settings=settings,
        epochs=epochs,
        name=_checked_name(name) or _model_name(preset),
    )
    _exit_with(job, run_job)


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--picture", default="comparison.png", show_default=True, metavar="FILE", help="The picture to draw.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a model instead of the table.")
def compare_command(runs, picture, as_json):
    """Compare the models of finished runs: accuracy against parameters, latency and size.

    A RUN is the output folder of text_classification or of distillation (all its students, or one of its
    students/NAME). The figures are those that the runs measured.

    \b
    Example:
      tfmodels compare output/text_classification output/distillation --picture students.png
    """  # noqa: D301 - \b is what click reads
    from pipelines.reports.comparison import compare

    compare(runs, Path(picture), as_json=as_json)


def _settings(config: str | None, options: dict) -> dict:
    """The fields of `PipelineConfig` that a file and options give, the options going first."""
    settings = _read_config(config) if config else {}
    _put(settings, "teacher", source=options["teacher"])
    _put(settings, "text", sequence_length=options["sequence_length"])
    _put(settings, "evaluation", teacher_fraction=options["teacher_fraction"])
    if options["student"]:
        # The recipe's changes are to another preset.
        _put(settings, "student", preset=options["student"], overrides={})
    _put_runner(settings, options)
    return settings


def _attention(given: str | None) -> dict | None:
    """A kind of attention as a configuration has it, from its name or from JSON."""
    if given is None or not given.lstrip().startswith("{"):
        return given and {"kind": given}
    try:
        return json.loads(given)
    except ValueError as error:
        raise UserError(f"--attention {given} is not JSON ({error}): mend it.") from error


def _put(settings: dict, section: str, **values) -> None:
    """Sets the fields of a section that have a value."""
    given = {key: value for key, value in values.items() if value is not None}
    if given:
        settings[section] = {**_section(settings, section), **given}


def _section(settings: dict, section: str) -> dict:
    """The fields that are given of a section."""
    part = settings.get(section, {})
    if not isinstance(part, dict):
        raise UserError(f"{section!r} is {part!r} in --config and not an object: write its fields in braces.")
    return part


def _put_runner(settings: dict, options: dict) -> None:
    if options["beam_args"]:
        settings["beam_args"] = list(options["beam_args"])
    if options["no_cache"]:
        settings["enable_cache"] = False


def _exit_with(job, run) -> None:
    """Runs a job and ends the process: 0 if a model was pushed, 1 if not, 130 if the user stopped it."""
    try:
        if _names_workers(job.settings):
            from pipelines.workers import together
            from tfmodels.clusters import this_cluster

            pushed = together(this_cluster(), Path(job.output), lambda: run(job))
        else:
            pushed = run(job)
    except KeyboardInterrupt:
        click.echo("stopped: the same command goes on from what is finished.", err=True)
        sys.exit(130)
    sys.exit(0 if pushed else 1)


def _names_workers(settings) -> bool:
    """Whether a recipe anywhere in a configuration trains on several machines."""
    if isinstance(settings, list):
        return any(map(_names_workers, settings))
    if not isinstance(settings, dict):
        return False
    return settings.get("strategy") == "multi_worker" or any(map(_names_workers, settings.values()))


def _read_config(path: str) -> dict:
    try:
        settings = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a JSON file.") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): mend it.") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} is not a JSON object: write the configuration's fields in braces.")
    return settings


def _model_name(path: str) -> str:
    """A name for requests, folders and Kubernetes objects, from a file's name."""
    stem = Path(path).name.split(".")[0].lower()
    name = re.sub("[^a-z0-9]+", "-", stem)[:30].strip("-")
    return name if name[:1].isalpha() else f"model-{name}".strip("-")


def _checked_name(name: str | None) -> str | None:
    if name is not None and not re.fullmatch("[a-z]([-a-z0-9]{0,40}[a-z0-9])?", name):
        raise UserError(
            f"{name!r} cannot be a model's name: use lower-case letters, digits and dashes, a letter first."
        )
    return name
