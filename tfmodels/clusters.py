"""The workers that train together, as TensorFlow's environment variable TF_CONFIG names them."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from tfmodels.errors import UserError

_EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'


class Cluster(NamedTuple):
    """The workers of TF_CONFIG.

    Attributes:
        addresses: Of all workers, "host:port"; the first one is the chief.
        index: This process's place among them.
    """

    addresses: tuple[str, ...]
    index: int


def this_cluster() -> Cluster:
    """The cluster that TF_CONFIG names, and this process's place in it.

    Raises:
        UserError: TF_CONFIG is missing or malformed, or its task is none of its cluster.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise UserError(f"several workers need the environment variable TF_CONFIG, such as {_EXAMPLE}: set it.")
    remedy = f"write it as {_EXAMPLE}."
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        addresses, index = cluster[task["type"]], int(task["index"])
        chiefs, workers = ([*cluster.get(kind, ())] for kind in ("chief", "worker"))
    except json.JSONDecodeError as error:
        raise UserError(f"TF_CONFIG is not JSON ({error}): {remedy}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"TF_CONFIG lacks a cluster or a task that is in it ({error!r}): {remedy}") from error
    if not isinstance(addresses, list) or not 0 <= index < len(addresses):
        raise UserError(f"TF_CONFIG's task {task['type']} {index} is none of its cluster's {addresses}: {remedy}")
    if task["type"] not in ("chief", "worker"):
        raise UserError(f"TF_CONFIG's task {task['type']} {index} trains nothing: give a chief or a worker.")
    return Cluster((*chiefs, *workers), index if task["type"] == "chief" else len(chiefs) + index)
