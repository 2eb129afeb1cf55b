"""What a pipeline run of the local runner left in ML Metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata


class Output(NamedTuple):
    """One output artifact of a component."""

    uri: str
    properties: Mapping[str, object]


def latest_run(metadata_file: str, pipeline: str) -> dict[str, dict[str, Output]]:
    """The outputs of the latest run, those taken from the cache included: component -> output key -> artifact."""
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(metadata_file)) as handle:
        store = handle.store
        runs = store.get_contexts_by_type("pipeline_run")
        if not runs:
            return {}
        run = max(runs, key=lambda context: context.id)
        outputs: dict[str, dict[str, Output]] = {}
        for execution in store.get_executions_by_context(run.id):
            node = next(c for c in store.get_contexts_by_execution(execution.id) if c.type == "node")
            component = node.name.removeprefix(f"{pipeline}.")
            events = [
                event
                for event in store.get_events_by_execution_ids([execution.id])
                if event.type == metadata_store_pb2.Event.OUTPUT
            ]
            artifacts = {a.id: a for a in store.get_artifacts_by_id([event.artifact_id for event in events])}
            for event in events:
                artifact = artifacts[event.artifact_id]
                properties = {key: _plain(value) for key, value in artifact.custom_properties.items()}
                outputs.setdefault(component, {})[event.path.steps[0].key] = Output(artifact.uri, properties)
    return outputs


def _plain(value):
    return getattr(value, value.WhichOneof("value"))
