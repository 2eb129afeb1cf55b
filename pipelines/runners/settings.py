"""What every runner takes from flags or the environment."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pipelines.components.configuration import from_json
from pipelines.text_classification.configs import PipelineConfig
from tfmodels.errors import UserError

CONFIG, IMAGE, COMPILED = "TFMODELS_PIPELINE_CONFIG", "TFMODELS_PIPELINE_IMAGE", "TFMODELS_PIPELINE_FILE"


def parse(description: str, argv: list[str] | None = None) -> argparse.Namespace:
    """The runner's flags; each falls back on an environment variable, which is how the TFX command line passes them.

    Flags that are not ours are left alone: under `tfx run create` they are the TFX command line's own.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config",
        default=os.environ.get(CONFIG),
        help=f"the JSON file of a PipelineConfig, such as the pipeline.json of a run of tfmodels; or ${CONFIG}",
    )
    parser.add_argument(
        "--image",
        default=os.environ.get(IMAGE),
        help=f"Kubeflow: the container image with TFX and this project installed; or ${IMAGE}",
    )
    parser.add_argument(
        "--compiled",
        default=os.environ.get(COMPILED, "text_classification.json"),
        help=f"Kubeflow: the compiled pipeline's file; or ${COMPILED}",
    )
    return parser.parse_known_args(argv)[0]


def read_config(path: str | None) -> PipelineConfig:
    """The pipeline's configuration.

    Raises:
        UserError: No file is given, or it is not one of a PipelineConfig.
    """
    if not path:
        raise UserError(f"the pipeline needs a configuration: give --config FILE, or set {CONFIG}.")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give the JSON file of a PipelineConfig.") from error
    config = from_json(PipelineConfig, text)
    if not config.evaluation.length_edges:
        raise UserError(f"{path} has no evaluation.length_edges: give the words at which the slices by length end.")
    return config
