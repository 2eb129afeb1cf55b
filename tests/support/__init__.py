"""Checks that the tests of many layers and models share. None of them imports a backend: they run on JAX too."""

from tests.support.backbones import check_backbone
from tests.support.gradients import check_gradients_reach, gradients_of, random_sum
from tests.support.layers import check_layer
from tests.support.parity import check_parity
from tests.support.tasks import check_task
from tests.support.tensors import to_numpy, token_batch

__all__ = [
    "check_backbone",
    "check_gradients_reach",
    "check_layer",
    "check_parity",
    "check_task",
    "gradients_of",
    "random_sum",
    "to_numpy",
    "token_batch",
]
