"""The gate before the Pusher: an InfraBlessing for exports that TensorFlow Serving's own loader runs.

TFX's InfraValidator starts TensorFlow Serving in docker or on Kubernetes. This component needs neither: it runs the
export through the same C++ loader in a fresh process (`serving.check_savedmodel`) and compares every answer with that
of the Keras model. The Pusher honours its blessing like the InfraValidator's.
"""

from __future__ import annotations

import json
import logging
from typing import ClassVar

import tensorflow as tf
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils, path_utils

from pipelines.components.files import local_copy
from pipelines.components.model_artifact import keras_uri, load_keras
from serving import check_savedmodel, keras_reference
from serving.gate import DEFAULT_TEXTS, GateReport

# What TFX's InfraValidator calls them; the Pusher and people's tools look for these names.
_BLESSED = "blessed"
_BLESSED_FILE, _NOT_BLESSED_FILE = "INFRA_BLESSED", "INFRA_NOT_BLESSED"
REPORT_FILE = "gate_report.json"
# Bounds the large batch: 256 texts of 512 tokens, fewer of longer ones.
_TOKENS_A_BATCH = 2**17


class ServingGateSpec(ComponentSpec):
    """The gate's interface."""

    PARAMETERS: ClassVar = {"settings": ExecutionParameter(type=str)}
    INPUTS: ClassVar = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
        "examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS: ClassVar = {"blessing": ChannelParameter(type=standard_artifacts.InfraBlessing)}


class ServingGateExecutor(BaseExecutor):
    """Runs the gate; its verdict and report go to the InfraBlessing artifact."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Checks the model unless an Evaluator has refused it already."""
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = json.loads(exec_properties["settings"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        serving_model = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        blessings = input_dict.get("model_blessing") or []
        if any(blessing.get_int_custom_property(_BLESSED) != 1 for blessing in blessings):
            problem = "The Evaluator did not bless the model: it is below its bound against the baseline."
            report = GateReport(serving_model, passed=False, problems=(problem,), checks={"evaluation": "failed"})
        else:
            report = self._check(serving_model, input_dict.get("examples") or [], settings)
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        io_utils.write_string_file(f"{blessing.uri}/{REPORT_FILE}", report.to_json())
        io_utils.write_string_file(f"{blessing.uri}/{_BLESSED_FILE if report.passed else _NOT_BLESSED_FILE}", "")
        blessing.set_int_custom_property(_BLESSED, int(report.passed))
        for problem in report.problems:
            logging.warning("The gate refuses %s: %s", serving_model, problem)

    def _check(self, serving_model: str, examples: list, settings: dict) -> GateReport:
        keras_model, preprocessor = load_keras(keras_uri(serving_model))
        texts = [text if not preprocessor.pair else (text, text) for text in DEFAULT_TEXTS]
        if examples:
            uris = artifact_utils.get_split_uris(examples, settings["split"])
            files = [file for uri in uris for file in fileio.glob(f"{uri}/*")]
            texts += _texts(sorted(files), preprocessor.feature_names, settings["texts"])
        with local_copy(serving_model) as folder:
            return check_savedmodel(
                folder,
                expected=keras_reference(keras_model, preprocessor),
                texts=texts,
                tolerance=settings["tolerance"],
                batch_sizes=(1, 7, max(8, min(256, _TOKENS_A_BATCH // preprocessor.sequence_length))),
                latency_seconds=settings["latency_seconds"],
            )


class ServingGate(BaseComponent):
    """Blesses a model that the C++ loader of TensorFlow Serving runs with the Keras model's answers.

    Outputs:
        blessing: An InfraBlessing, with `gate_report.json` in it.
    """

    SPEC_CLASS = ServingGateSpec
    EXECUTOR_SPEC = ExecutorClassSpec(ServingGateExecutor)

    def __init__(
        self,
        model: BaseChannel,
        model_blessing: BaseChannel | None = None,
        examples: BaseChannel | None = None,
        *,
        split: str = "test",
        texts: int = 100,
        tolerance: float = 1e-4,
        latency_seconds: float = 1.0,
        code: str = "",
    ):
        """Constructs the gate.

        Args:
            model: The Model to check, with its Keras model beside the export; see `model_artifact`.
            model_blessing: An Evaluator's verdict; a model that it has refused is refused without further checks.
            examples: Where to take texts from to ask the model about, beside a fixed collection of odd ones.
            split: The split of `examples`.
            texts: How many.
            tolerance: The largest absolute difference from the Keras model's outputs.
            latency_seconds: How long to measure for each batch size.
            code: A fingerprint of the serving code, so that the cache does not outlive a change of it.
        """
        settings = {
            "split": split,
            "texts": texts,
            "tolerance": tolerance,
            "latency_seconds": latency_seconds,
            "code": code,
        }
        channels = {"model": model, "model_blessing": model_blessing, "examples": examples}
        super().__init__(
            ServingGateSpec(
                settings=json.dumps(settings),
                blessing=Channel(type=standard_artifacts.InfraBlessing),
                **{name: channel for name, channel in channels.items() if channel is not None},
            )
        )


def _texts(files: list[str], names: tuple[str, ...], count: int) -> list:
    """The first texts of TFRecord files of tf.Examples; pairs where there are two names."""
    records = tf.data.TFRecordDataset(files, "GZIP").take(count).as_numpy_iterator()
    features = [tf.train.Example.FromString(record).features.feature for record in records]
    rows = [tuple(feature[name].bytes_list.value[0] for name in names) for feature in features]
    return [row[0] if len(names) == 1 else row for row in rows]
