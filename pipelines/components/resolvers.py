"""Which earlier model a new one is compared with, or learns from."""

from __future__ import annotations

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.types import artifact_utils


class LatestBlessedPredecessor(ResolverStrategy):
    """Resolves the latest model, other than the candidate, that every Evaluator has blessed.

    TFX's own `LatestBlessedModelStrategy` differs in two ways that matter here. It takes a model for blessed when one
    of several Evaluators has blessed it, so that quality could wear away from push to push. And it resolves the
    candidate itself when a finished pipeline runs again, which would miss the cache and evaluate everything anew.

    Channels of the Resolver: `model`, `model_blessing` and `candidate`, the new model.
    """

    def resolve_artifacts(self, store, input_dict):
        """Resolves `model` and `model_blessing` to at most one artifact each; `candidate` stays as it is."""
        candidates = {model.id for model in input_dict["candidate"]}
        verdicts = {}
        for blessing in input_dict["model_blessing"]:
            verdicts.setdefault(blessing.get_int_custom_property("current_model_id"), []).append(blessing)
        resolved = {"model": [], "model_blessing": [], "candidate": input_dict["candidate"]}
        for model in sorted(input_dict["model"], key=lambda model: model.id, reverse=True):
            blessings = verdicts.get(model.id, [])
            blessed = blessings and all(blessing.get_int_custom_property("blessed") == 1 for blessing in blessings)
            if blessed and model.id not in candidates:
                return resolved | {"model": [model], "model_blessing": [max(blessings, key=lambda b: b.id)]}
        return resolved


class LatestBlessedElsewhere(ResolverStrategy):
    """Resolves the latest model that every Evaluator has blessed and that another pipeline has made.

    Strategies are given the artifacts of their own pipeline; this one looks through the whole metadata.

    Args:
        pipeline: The name of the pipeline whose own models do not count.
    """

    def __init__(self, pipeline: str):
        self._pipeline = pipeline

    def resolve_artifacts(self, store, input_dict):
        """Resolves `model` to one artifact; nothing is resolved if there is none."""
        model = latest_blessed(store, self._pipeline)
        return None if model is None else {"model": [model]}


def latest_blessed(store, elsewhere_than: str):
    """The latest blessed Model artifact that another pipeline than the given one has made, or None."""
    types = {kind.name: kind for kind in store.get_artifact_types()}
    if not {"Model", "ModelBlessing"} <= set(types):
        return None
    verdicts = {}
    for blessing in store.get_artifacts_by_type("ModelBlessing"):
        properties = blessing.custom_properties
        verdicts.setdefault(properties["current_model_id"].int_value, []).append(properties["blessed"].int_value == 1)
    for model in sorted(store.get_artifacts_by_type("Model"), key=lambda model: model.id, reverse=True):
        is_live = model.state in (metadata_store_pb2.Artifact.UNKNOWN, metadata_store_pb2.Artifact.LIVE)
        if is_live and all(verdicts.get(model.id, [False])) and _maker(store, model.id) != elsewhere_than:
            return artifact_utils.deserialize_artifact(types["Model"], model)
    return None


def _maker(store, artifact_id: int) -> str | None:
    """The name of the pipeline that made an artifact: its first output event's, as a Resolver's come later."""
    events = [
        event.execution_id
        for event in store.get_events_by_artifact_ids([artifact_id])
        if event.type == metadata_store_pb2.Event.OUTPUT
    ]
    contexts = store.get_contexts_by_execution(min(events)) if events else ()
    return next((context.name for context in contexts if context.type == "pipeline"), None)
