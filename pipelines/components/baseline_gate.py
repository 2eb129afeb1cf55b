"""An Evaluator for language models: blesses one whose held-out loss is below a baseline's.

The Trainer has computed both on the same predictions; this component holds them against each other and gives the
ModelBlessing that gates and pushers read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils

from pipelines.components.files import local_copy

BASELINES = ("unigram", "visible bigram", "bigram")


def shortfalls(judgement: dict, baseline: str) -> list[str]:
    """What a model is not good enough in, a sentence each.

    Args:
        judgement: The Trainer's. Its "judged" names what is: the "loss" of the predicted tokens, which must be below
            the baseline's; and "detection", the loss of a discriminator, below that of the tokens' frequencies.
        baseline: One of `BASELINES`.
    """
    bounds = {
        "loss": (judgement["loss"], judgement["baselines"][baseline], f"held-out loss is not below the {baseline}"),
    }
    if "detection" in judgement:
        told = judgement["figures"]["discriminator_loss"], judgement["detection"]["unigram"]
        bounds["detection"] = (*told, "loss at telling replaced tokens is not below the unigram")
    found = (bounds[name] for name in judgement["judged"])
    return [f"Its {what} model's: train longer." for loss, bound, what in found if not loss < bound]


class BaselineGateSpec(ComponentSpec):
    """The component's interface."""

    PARAMETERS: ClassVar = {"baseline": ExecutionParameter(type=str)}
    INPUTS: ClassVar = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
    }
    OUTPUTS: ClassVar = {"blessing": ChannelParameter(type=standard_artifacts.ModelBlessing)}


class BaselineGateExecutor(BaseExecutor):
    """Compares the losses in `history.json`."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Writes the verdict as TFX's Evaluator does."""
        self._log_startup(input_dict, output_dict, exec_properties)
        with local_copy(artifact_utils.get_single_instance(input_dict["model_run"]).uri) as folder:
            judgement = json.loads((Path(folder) / "history.json").read_text(encoding="utf-8"))["judgement"]
        passed = not shortfalls(judgement, exec_properties["baseline"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        io_utils.write_string_file(f"{blessing.uri}/{'BLESSED' if passed else 'NOT_BLESSED'}", "")
        blessing.set_int_custom_property("blessed", int(passed))
        blessing.set_int_custom_property("current_model_id", artifact_utils.get_single_instance(input_dict["model"]).id)


class BaselineGate(BaseComponent):
    """Blesses a language model that beats a baseline on held-out text.

    Outputs:
        blessing: A ModelBlessing.
    """

    SPEC_CLASS = BaselineGateSpec
    EXECUTOR_SPEC = ExecutorClassSpec(BaselineGateExecutor)

    def __init__(self, model: BaseChannel, model_run: BaseChannel, *, baseline: str = "unigram"):
        """Constructs the component.

        Args:
            model: The Model that is judged.
            model_run: The ModelRun with its `history.json`.
            baseline: One of `BASELINES`.
        """
        blessing = Channel(type=standard_artifacts.ModelBlessing)
        super().__init__(BaselineGateSpec(model=model, model_run=model_run, baseline=baseline, blessing=blessing))
