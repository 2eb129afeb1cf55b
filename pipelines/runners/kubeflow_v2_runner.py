"""Compiles the text classification pipeline for Kubeflow Pipelines v2 and Vertex AI.

    python -m pipelines.runners.kubeflow_v2_runner --config pipeline.json --image IMAGE --compiled FILE.json

The configuration's paths are on storage that the cluster reads (gs:// and the like; `training` on a mounted folder, so
that a killed Trainer finds its checkpoints). The image has TFX, this project with its extra `tfx`, and nothing else
that is special. Beam's arguments choose where the data components run: Dataflow, Flink, Spark, or the container itself.

Kubeflow resolves artifacts itself and knows TFX's own strategies alone, so that the student is compared with TFX's
latest blessed model; see `pipelines.components.resolvers` for the difference.
"""

from tfx import v1 as tfx

from pipelines.runners.settings import IMAGE, parse, read_config
from pipelines.text_classification.pipeline import create_pipeline
from tfmodels.errors import UserError


def run(argv: list[str] | None = None) -> None:
    """Compiles the pipeline of the configuration that flags or the environment name."""
    arguments = parse(__doc__, argv)
    config = read_config(arguments.config)
    if not arguments.image:
        raise UserError(f"the components need a container image: give --image IMAGE, or set {IMAGE}.")
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        config=tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
            display_name=config.name, default_image=arguments.image
        ),
        output_filename=arguments.compiled,
    )
    runner.run(create_pipeline(config, tfx.dsl.experimental.LatestBlessedModelStrategy))


if __name__ == "__main__":
    run()
