"""The wiring of the text classification pipeline, and nothing else.

    ImportExampleGen -> StatisticsGen -> SchemaGen -> ExampleValidator
    ImportExampleGen, SchemaGen -> Transform -> Trainer.teacher -> Trainer.student
    Trainer.student, Trainer.teacher -> Evaluator.teacher -> ServingGate
    Trainer.student, Resolver.predecessor -> Evaluator.predecessor
    Trainer.student, Evaluator.predecessor, ServingGate -> Pusher

The student is pushed when it reaches its bound against the teacher, is not worse than the latest blessed model beyond
a tolerance, and passes the serving gate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import tensorflow_model_analysis as tfma

# Not `tfx.v1`, the same names: it also imports Google Cloud's AI Platform, a third of the whole time to import.
from tfx.components import (
    Evaluator,
    ExampleValidator,
    ImportExampleGen,
    SchemaGen,
    StatisticsGen,
    Trainer,
    Transform,
)
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2
from tfx.types import Channel, standard_artifacts

from pipelines.components.atomic_pusher import AtomicPusher
from pipelines.components.code import code_fingerprint
from pipelines.components.resolvers import LatestBlessedPredecessor
from pipelines.components.serving_gate import ServingGate
from pipelines.text_classification.configs import PipelineConfig
from pipelines.text_classification.data import SPLITS

_HERE = "pipelines.text_classification"
MODEL_CODE = ("tfmodels.layers", "tfmodels.models", "tfmodels.ops", "tfmodels.text")
TRAINING_CODE = (
    *MODEL_CODE,
    "tfmodels.distillation",
    "tfmodels.training",
    "pipelines.components.losses",
    f"{_HERE}.trainer",
)


def create_pipeline(config: PipelineConfig, baseline_strategy=LatestBlessedPredecessor) -> Pipeline:
    """The pipeline of a configuration.

    Args:
        config: All of its values.
        baseline_strategy: Which earlier model the student is compared with. Kubeflow compiles TFX's own strategies
            alone: its runner gives `LatestBlessedModelStrategy`.

    Returns:
        A TFX pipeline for any runner. `length_edges` must be set.
    """
    data = data_components(config, {split: f"{split}/*" for split in SPLITS})
    transform = data[-1]
    teacher = _trainer(config, transform, "teacher")
    student = _trainer(config, transform, "student", base_model=teacher.outputs["model"])

    predecessor = _resolver(baseline_strategy, student)
    against_teacher = Evaluator(
        examples=transform.outputs["transformed_examples"],
        model=student.outputs["model"],
        baseline_model=teacher.outputs["model"],
        example_splits=[config.evaluation.split],
        eval_config=evaluation_config(
            config, relative=config.evaluation.teacher_fraction - 1, least=config.evaluation.least_accuracy
        ),
    ).with_id("Evaluator.teacher")
    against_predecessor = Evaluator(
        examples=transform.outputs["transformed_examples"],
        model=student.outputs["model"],
        baseline_model=predecessor.outputs["model"],
        example_splits=[config.evaluation.split],
        eval_config=evaluation_config(config, absolute=-config.evaluation.predecessor_tolerance),
    ).with_id("Evaluator.predecessor")

    gate, pusher = release_components(
        config,
        transform,
        student,
        blessing=against_teacher.outputs["blessing"],
        push_blessing=against_predecessor.outputs["blessing"],
    )
    return assemble(config, [*data, teacher, student, predecessor, against_teacher, against_predecessor, gate, pusher])


def data_components(config, splits: Mapping[str, str], unlabelled: Sequence[str] = ()) -> list:
    """From prepared tables to tokens: ImportExampleGen, StatisticsGen, SchemaGen, ExampleValidator and Transform.

    Args:
        config: A `PipelineConfig`, or another with its `paths`, `labels` and `evaluation`.
        splits: Split -> the pattern of its files under `config.paths.data`.
        unlabelled: Splits without labels, which statistics leave out.
    """
    inputs = [example_gen_pb2.Input.Split(name=split, pattern=pattern) for split, pattern in splits.items()]
    examples = ImportExampleGen(input_base=config.paths.data, input_config=example_gen_pb2.Input(splits=inputs))
    statistics = StatisticsGen(examples=examples.outputs["examples"], exclude_splits=list(unlabelled) or None)
    schema = SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=True)
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    transform = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn=f"{_HERE}.preprocessing.preprocessing_fn",
        custom_config={
            "preprocessor": config.paths.preprocessor,
            "labels": list(config.labels),
            "length_edges": list(config.evaluation.length_edges),
            "code": code_fingerprint("tfmodels.text", f"{_HERE}.preprocessing"),
        },
        # StatisticsGen has made the same statistics, and nothing is analysed that a cache could keep.
        disable_statistics=True,
        disable_analyzer_cache=True,
    )
    return [examples, statistics, schema, validator, transform]


def release_components(config, transform, student, *, blessing, push_blessing) -> tuple[ServingGate, AtomicPusher]:
    """The gate that proves a student, and the Pusher.

    Args:
        config: A `PipelineConfig`, or another with its `paths`, `evaluation` and `serving`.
        transform: The Transform component.
        student: The student's Trainer.
        blessing: The verdict without which the gate checks nothing.
        push_blessing: The verdict that the Pusher needs beside the gate's.
    """
    gate = ServingGate(
        model=student.outputs["model"],
        model_blessing=blessing,
        examples=transform.outputs["transformed_examples"],
        split=config.evaluation.split,
        texts=config.serving.gate_texts,
        tolerance=config.serving.tolerance,
        latency_seconds=config.serving.latency_seconds,
        code=code_fingerprint("serving"),
    )
    pusher = AtomicPusher(
        model=student.outputs["model"],
        model_blessing=push_blessing,
        infra_blessing=gate.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=config.paths.serving)
        ),
    ).with_id("Pusher")
    return gate, pusher


def assemble(config, components: Sequence) -> Pipeline:
    """The pipeline of components, with a configuration's name, root, cache and runner arguments."""
    metadata = config.paths.metadata
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=config.paths.pipeline_root,
        components=list(components),
        enable_cache=config.enable_cache,
        beam_pipeline_args=list(config.beam_args),
        metadata_connection_config=(sqlite_metadata_connection_config(metadata) if metadata else None),
    )


def evaluation_config(
    config, relative: float | None = None, absolute: float | None = None, least: float | None = None
) -> tfma.EvalConfig:
    """What TFMA computes, and the bounds on the student's accuracy.

    Args:
        config: A `PipelineConfig`, or another with its `labels`.
        relative: The least change from the baseline's accuracy, as a fraction of it; negative for a loss.
        absolute: The same in absolute terms.
        least: The least accuracy.
    """
    # TFMA's bounds are exclusive; a student that is exactly at its bound has reached it.
    exact = 1e-9
    bounds = {"value_threshold": tfma.GenericValueThreshold(lower_bound={"value": (least or 0.0) - exact})}
    changes = {"relative": relative, "absolute": absolute}
    changes = {kind: {"value": value - exact} for kind, value in changes.items() if value is not None}
    if changes:
        bounds["change_threshold"] = tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER, **changes
        )
    threshold = tfma.MetricThreshold(**bounds)
    # A bare threshold would hold for every slice, the smallest ones too, where accuracy is mostly chance.
    on_the_whole = tfma.PerSliceMetricThreshold(slicing_specs=[tfma.SlicingSpec()], threshold=threshold)
    own = "pipelines.components.metrics"
    metrics = [
        tfma.MetricConfig(class_name="ExampleCount"),
        tfma.MetricConfig(class_name="Accuracy", module=own, per_slice_thresholds=[on_the_whole]),
        tfma.MetricConfig(class_name="MacroF1", module=own),
    ]
    specs = [tfma.MetricsSpec(metrics=metrics)]
    if len(config.labels) == 2:
        second = tfma.BinarizationOptions(class_ids={"values": [1]})
        specs.append(tfma.MetricsSpec(binarize=second, metrics=[tfma.MetricConfig(class_name="AUC")]))
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                model_type=tfma.TF_GENERIC,
                signature_name="serve_examples",
                label_key="label",
                prediction_key="probabilities",
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["length_bucket"])],
        metrics_specs=specs,
        options=tfma.Options(include_default_metrics={"value": False}),
    )


def _trainer(config: PipelineConfig, transform, role: str, base_model=None):
    """The Trainer of the teacher or the student; `role` is both its recipe's name and its callback's."""
    return Trainer(
        run_fn=f"{_HERE}.trainer.run_{role}",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        base_model=base_model,
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["validation", "test"]),
        custom_config={
            role: dataclasses.asdict(getattr(config, role)),
            "serving": dataclasses.asdict(config.serving),
            "labels": list(config.labels),
            "preprocessor": config.paths.preprocessor,
            "training": config.paths.training,
            # The trained weights depend on the first, the artifact also on the second.
            "code": code_fingerprint(*TRAINING_CODE),
            "export_code": code_fingerprint("serving"),
        },
    ).with_id(f"Trainer.{role}")


def _resolver(strategy, student):
    channels = {
        "model": Channel(type=standard_artifacts.Model),
        "model_blessing": Channel(type=standard_artifacts.ModelBlessing),
    }
    if strategy is LatestBlessedPredecessor:
        channels["candidate"] = student.outputs["model"]
    return Resolver(strategy_class=strategy, **channels).with_id("Resolver.predecessor")
