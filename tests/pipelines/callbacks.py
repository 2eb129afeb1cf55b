"""Callbacks that several workers run, without TensorFlow, and the program that runs one on every worker.

    python -m tests.pipelines.callbacks CALLBACK OUTPUT

TF_CONFIG says which worker it is. The pipelines' Trainers train together by

    python -m tests.pipelines.callbacks trainers OUTPUT
"""

import importlib
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from pipelines.workers import shared, together
from tfmodels.clusters import this_cluster
from tfmodels.errors import UserError

LIMIT = 300  # seconds; nothing here waits so long


def index():
    return this_cluster().index


def write(fn_args):
    """Writes down what it was handed, and who and which process it is."""
    logging.getLogger("tfmodels.progress").info("worker %d writes", index())
    settings = {**fn_args.custom_config, "base_model": fn_args.base_model, "process": os.getpid()}
    Path(f"{fn_args.serving_model_dir}-{index()}.json").write_text(json.dumps(settings))


def second_fails(fn_args):
    """Worker 1 has a reason; worker 0 would wait for it."""
    write(fn_args)
    if index():
        raise UserError("the folder is no folder: give another.")
    time.sleep(LIMIT)


def both_fail(fn_args):
    """Worker 0 has the reason, and worker 1 only knows that."""
    if index():
        raise UserError("the chief could not write.")
    time.sleep(1)
    raise UserError("the disk is full: make room.")


def has_a_bug(fn_args):
    """A mistake of nobody's but ours."""
    raise ZeroDivisionError("division by zero")


def is_killed(fn_args):
    """The process in which worker 1 trains is killed."""
    write(fn_args)
    if index():
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(LIMIT)


def waits(fn_args):
    """Both wait until something happens to one of them."""
    write(fn_args)
    time.sleep(LIMIT)


def arguments(output):
    """What a callback is handed."""
    return SimpleNamespace(
        train_files=[], custom_config={"code": "abc"}, serving_model_dir=output / "seen", data_accessor=object()
    )


def run_trainers(output):
    """A teacher and its student, without dropout, as `tests.pipelines.trainers` has them."""
    import tensorflow as tf

    from pipelines.text_classification import trainer
    from tests.pipelines.trainers import arguments, multi_worker_recipes

    tf.constant(1) + 1  # as a pipeline computes before its Trainers start
    teacher, student = multi_worker_recipes("multi_worker")
    trainer.run_teacher(arguments(output, "teacher", teacher))
    trainer.run_student(arguments(output, "student", student, output / "teacher" / "Format-Serving"))


def main(name, output):
    """See the module."""
    output = Path(output)

    def run():
        if name == "trainers":
            run_trainers(output)
        else:
            # Another process can import it by this module's name, and not from "__main__".
            callback = getattr(importlib.import_module("tests.pipelines.callbacks"), name)
            assert not shared(callback, "one", arguments(output))
            assert shared(callback, "multi_worker", arguments(output))
        return True

    try:
        assert together(this_cluster(), output, run)
    except UserError as error:
        print(error)
        sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
