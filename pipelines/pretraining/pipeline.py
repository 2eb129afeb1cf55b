"""The wiring of the pre-training pipeline, and nothing else.

    ImportExampleGen -> Vocabulary
    ImportExampleGen, Vocabulary -> PretrainingRows -> Trainer
    Trainer -> BaselineGate -> ServingGate
    Trainer, BaselineGate, ServingGate -> Pusher

The encoder is pushed when it beats its baseline on held-out documents and passes the serving gate.
"""

from __future__ import annotations

import dataclasses

from tfx.components import ImportExampleGen, Trainer
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2

from pipelines.components.atomic_pusher import AtomicPusher
from pipelines.components.baseline_gate import BaselineGate
from pipelines.components.code import code_fingerprint
from pipelines.components.serving_gate import ServingGate
from pipelines.pretraining.components import PretrainingRows, Vocabulary
from pipelines.pretraining.configs import PretrainingConfig
from pipelines.pretraining.corpus import SPLITS
from pipelines.pretraining.entities import digest_of

_HERE = "pipelines.pretraining"
_TEXT_CODE = ("tfmodels.text", f"{_HERE}.components", f"{_HERE}.recipes", f"{_HERE}.vocabularies")
_ROWS_CODE = (*_TEXT_CODE, "tfmodels.objectives", f"{_HERE}.entities")
_TRAINING_CODE = (
    *_ROWS_CODE,
    "tfmodels.interop",
    "tfmodels.layers",
    "tfmodels.models",
    "tfmodels.ops",
    "tfmodels.training",
    f"{_HERE}.trainer",
)


def create_pipeline(config: PretrainingConfig) -> Pipeline:
    """The pipeline of a configuration, for any runner.

    Args:
        config: All of its values.
    """
    splits = [example_gen_pb2.Input.Split(name=split, pattern=f"{split}/*") for split in SPLITS]
    documents = ImportExampleGen(input_base=config.paths.corpus, input_config=example_gen_pb2.Input(splits=splits))
    vocabulary = Vocabulary(
        documents.outputs["examples"],
        objective=config.objective,
        sequence_length=config.rows.sequence_length,
        code=code_fingerprint(*_TEXT_CODE),
        # On several machines the words' counts travel through the pipeline's own storage.
        counts=f"{config.paths.pipeline_root}/counts" if "://" in config.paths.pipeline_root else "",
        **dataclasses.asdict(config.vocabulary),
    )
    rows = PretrainingRows(
        documents.outputs["examples"],
        vocabulary.outputs["preprocessor"],
        objective=config.objective,
        shards={"train": config.rows.shards, "validation": config.rows.held_out_shards},
        format=config.rows.format,
        chinese_words=config.rows.chinese_words,
        within_documents=config.rows.within_documents,
        names=config.rows.names,
        entities=config.rows.entities,
        code=code_fingerprint(*_ROWS_CODE),
    )
    trainer = Trainer(
        run_fn=f"{_HERE}.trainer.run_fn",
        examples=rows.outputs["examples"],
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["validation"]),
        custom_config={
            "objective": config.objective,
            "encoder": dataclasses.asdict(config.encoder),
            "rows": dataclasses.asdict(config.rows),
            "fit": dataclasses.asdict(config.fit),
            "training": config.paths.training,
            # Rows tell an entity's number, not its vector.
            "entities": digest_of(config.rows.entities) if config.rows.entities else None,
            # The trained weights depend on the first, the artifact also on the second.
            "code": code_fingerprint(*_TRAINING_CODE),
            "export_code": code_fingerprint("serving", f"{_HERE}.judgement"),
        },
    )
    judge = BaselineGate(trainer.outputs["model"], trainer.outputs["model_run"], baseline=config.baseline)
    gate = ServingGate(
        model=trainer.outputs["model"],
        model_blessing=judge.outputs["blessing"],
        latency_seconds=0.2,
        code=code_fingerprint("serving"),
    )
    pusher = AtomicPusher(
        model=trainer.outputs["model"],
        model_blessing=judge.outputs["blessing"],
        infra_blessing=gate.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=config.paths.serving)
        ),
    ).with_id("Pusher")
    metadata = config.paths.metadata
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=config.paths.pipeline_root,
        components=[documents, vocabulary, rows, trainer, judge, gate, pusher],
        enable_cache=config.enable_cache,
        beam_pipeline_args=list(config.beam_args),
        metadata_connection_config=(sqlite_metadata_connection_config(metadata) if metadata else None),
    )
