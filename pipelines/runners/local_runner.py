"""Runs the text classification pipeline on this machine, with its metadata in SQLite.

    python -m pipelines.runners.local_runner --config OUTPUT/pipeline.json

or by the TFX command line:

    export TFMODELS_PIPELINE_CONFIG=OUTPUT/pipeline.json
    tfx pipeline create --engine local --pipeline_path pipelines/runners/local_runner.py
    tfx run create --engine local --pipeline_name text-classification

`tfmodels run text_classification` makes the configuration, and does more: it checks the table first, and serves, times
and reports on the result.
"""

from tfx.orchestration.local.local_dag_runner import LocalDagRunner

from pipelines.runners.settings import parse, read_config
from pipelines.text_classification.pipeline import create_pipeline


def run(argv: list[str] | None = None) -> None:
    """Runs the pipeline of the configuration that flags or the environment name."""
    config = read_config(parse(__doc__, argv).config)
    LocalDagRunner().run(create_pipeline(config))


if __name__ == "__main__":
    run()
