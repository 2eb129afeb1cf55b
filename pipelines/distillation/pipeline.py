"""The wiring of the distillation pipeline, and nothing else.

    ImportExampleGen -> StatisticsGen -> SchemaGen -> ExampleValidator
    ImportExampleGen, SchemaGen -> Transform
    Transform, Importer.teacher | Resolver.teacher -> TeacherOutputs
    TeacherOutputs, Transform, the teacher -> Trainer.student
    Trainer.student, the teacher -> Evaluator.teacher -> ServingGate
    Trainer.student, Evaluator.teacher, ServingGate -> Pusher

Whatever stands before the student depends on no student: with another one it comes from TFX's cache. The student is
pushed when it reaches its bound against the teacher and passes the serving gate.
"""

from __future__ import annotations

import dataclasses

from tfx.components import Evaluator, Trainer
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2
from tfx.types import Channel, standard_artifacts

from pipelines.components.code import code_fingerprint
from pipelines.components.resolvers import LatestBlessedElsewhere
from pipelines.distillation.components import SPANS, TeacherOutputs
from pipelines.distillation.configs import DistillationConfig
from pipelines.text_classification.data import SPLITS
from pipelines.text_classification.pipeline import (
    MODEL_CODE,
    TRAINING_CODE,
    assemble,
    data_components,
    evaluation_config,
    release_components,
)

_HERE = "pipelines.distillation"
_UNLABELLED = "unlabelled"


def create_pipeline(config: DistillationConfig) -> Pipeline:
    """The pipeline of a configuration, for any runner.

    Args:
        config: All of its values; `length_edges` must be set.
    """
    splits = {split: f"{config.rows.table}/{split}/*" for split in SPLITS}
    train_splits = ["train"]
    if config.rows.unlabelled is not None:
        splits[_UNLABELLED] = f"{config.rows.unlabelled}/data-*"
        train_splits.append(_UNLABELLED)
    if config.rows.spans_per_text:
        train_splits.append(SPANS)
    data = data_components(config, splits, unlabelled=[split for split in splits if split not in SPLITS])
    transform = data[-1]

    teacher_node, teacher = _teacher(config)
    outputs = TeacherOutputs(
        transform.outputs["transformed_examples"],
        teacher,
        outputs=config.rows.outputs,
        spans_per_text=config.rows.spans_per_text,
        token_states=config.rows.token_states,
        seed=config.rows.seed,
        # What a stored row is depends on no loss and no recipe.
        code=code_fingerprint(
            *MODEL_CODE,
            "tfmodels.distillation.augmentation",
            "tfmodels.distillation.initialisation",
            f"{_HERE}.components",
        ),
    )
    student = Trainer(
        run_fn=f"{_HERE}.trainer.run_fn",
        examples=outputs.outputs["answered"],
        transform_graph=transform.outputs["transform_graph"],
        base_model=teacher,
        train_args=trainer_pb2.TrainArgs(splits=train_splits),
        eval_args=trainer_pb2.EvalArgs(splits=["validation", "test"]),
        custom_config={
            "student": dataclasses.asdict(config.student),
            "serving": dataclasses.asdict(config.serving),
            "labels": list(config.labels),
            "preprocessor": config.paths.preprocessor,
            "training": config.paths.training,
            "outputs": list(config.rows.outputs),
            "train_splits": train_splits,
            # The trained weights depend on the first, the artifact also on the second.
            "code": code_fingerprint(*TRAINING_CODE, f"{_HERE}.trainer", f"{_HERE}.components"),
            "export_code": code_fingerprint("serving"),
        },
    ).with_id("Trainer.student")
    against_teacher = Evaluator(
        examples=transform.outputs["transformed_examples"],
        model=student.outputs["model"],
        baseline_model=teacher,
        example_splits=[config.evaluation.split],
        eval_config=evaluation_config(
            config, relative=config.evaluation.teacher_fraction - 1, least=config.evaluation.least_accuracy
        ),
    ).with_id("Evaluator.teacher")
    blessing = against_teacher.outputs["blessing"]
    gate, pusher = release_components(config, transform, student, blessing=blessing, push_blessing=blessing)
    return assemble(config, [*data, teacher_node, outputs, student, against_teacher, gate, pusher])


def _teacher(config: DistillationConfig):
    """The node that brings the teacher, and its output."""
    if config.teacher.blessed:
        node = Resolver(
            strategy_class=LatestBlessedElsewhere,
            config={"pipeline": config.name},
            model=Channel(type=standard_artifacts.Model),
        ).with_id("Resolver.teacher")
        return node, node.outputs["model"]
    node = Importer(
        source_uri=config.teacher.artifact,
        artifact_type=standard_artifacts.Model,
        # Another model in the same folder is another artifact.
        custom_properties={"fingerprint": config.teacher.fingerprint},
    ).with_id("Importer.teacher")
    return node, node.outputs["result"]
