"""The optimiser, the schedule and the losses beside torch and transformers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
import transformers

from tests.support import check_parity
from tests.support.gradients import gradients_with_respect_to
from tfmodels.distillation import SoftLabels
from tfmodels.distillation.distiller import hard_loss
from tfmodels.training import WarmupLinearDecay, adamw

pytestmark = pytest.mark.parity

STEPS = 100
SHAPES = {"kernel": (7, 5), "bias": (5,), "gamma": (5,), "beta": (5,), "tokens": (11, 5)}
DECAYED = ("kernel", "tokens")


def reference_rates(peak, total, warmup):
    """The rates that transformers' schedule gives, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, warmup, total)
    rates = []
    for _ in range(total + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def expected_rates(peak, total, warmup):
    """Transformers' first update is made at rate zero; ours is one step ahead while the rate rises."""
    rates = reference_rates(peak, total, warmup)
    return [rates[step + 1] if step < warmup else rates[step] for step in range(total)]


@pytest.mark.parametrize("total, warmup", [(100, 0), (100, 10), (37, 5), (10, 9)])
def test_the_schedule_is_transformers(total, warmup):
    schedule = WarmupLinearDecay(5e-5, total, warmup)
    ours = [float(schedule(step)) / 5e-5 for step in range(total)]
    theirs = [rate / 5e-5 for rate in expected_rates(5e-5, total, warmup)]
    check_parity("WarmupLinearDecay beside get_linear_schedule_with_warmup", {"": ours}, {"": theirs})


@pytest.mark.parametrize("warmup", [0, 10])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_hundred_steps_of_adamw_are_torchs(warmup, clip):
    random = np.random.default_rng(0)
    start = {name: random.normal(size=shape) for name, shape in SHAPES.items()}
    gradients = [{name: random.normal(size=shape) for name, shape in SHAPES.items()} for _ in range(STEPS)]

    ours = {name: keras.Variable(value, dtype="float32", name=name) for name, value in start.items()}
    optimizer = adamw(WarmupLinearDecay(1e-2, STEPS, warmup), weight_decay=0.1, clip_norm=clip)
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient[name], tf.float32) for name in ours], list(ours.values()))

    theirs = {name: torch.nn.Parameter(torch.tensor(value, dtype=torch.float32)) for name, value in start.items()}
    groups = [
        {"params": [theirs[name] for name in SHAPES if name in DECAYED], "weight_decay": 0.1},
        {"params": [theirs[name] for name in SHAPES if name not in DECAYED], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=1e-2)
    for step, (gradient, rate) in enumerate(zip(gradients, expected_rates(1e-2, STEPS, warmup)), start=1):
        for group in reference.param_groups:
            # Keras adds epsilon to the root of the second moment before its correction, torch after it.
            group.update(lr=rate, eps=1e-6 / np.sqrt(1 - 0.999**step))
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(gradient[name], dtype=torch.float32)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(theirs.values(), clip)
        reference.step()
    check_parity(
        "AdamW, 100 steps",
        {name: variable.numpy() for name, variable in ours.items()},
        {name: parameter.detach() for name, parameter in theirs.items()},
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.7])
def test_soft_labels_are_torchs_divergence(temperature):
    random = np.random.default_rng(0)
    student, teacher = (4 * random.normal(size=(2, 6, 5))).astype("float32")
    loss, real = SoftLabels(temperature), np.ones((6, 1), bool)
    (gradient,) = gradients_with_respect_to(lambda logits: loss({"logits": logits}, {"logits": teacher}, real), student)

    logits = torch.tensor(student, requires_grad=True)
    expected = temperature**2 * torch.nn.functional.kl_div(
        torch.log_softmax(logits / temperature, -1),
        torch.softmax(torch.tensor(teacher) / temperature, -1),
        reduction="batchmean",
    )
    expected.backward()
    check_parity(
        "SoftLabels beside kl_div",
        {"value": float(loss({"logits": student}, {"logits": teacher}, real)), "gradient": gradient},
        {"value": expected.detach(), "gradient": logits.grad},
    )


def test_hard_labels_are_torchs_cross_entropy_with_ignored_rows():
    random = np.random.default_rng(0)
    values, labels = random.normal(size=(6, 5)).astype("float32"), np.array([0, 4, -1, 2, -1, 1])
    (gradient,) = gradients_with_respect_to(lambda logits: hard_loss({"labels": labels}, logits), values)
    logits = torch.tensor(values, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), ignore_index=-1)
    expected.backward()
    check_parity(
        "hard labels beside cross_entropy",
        {"value": float(hard_loss({"labels": labels}, tf.constant(values))), "gradient": gradient},
        {"value": expected.detach(), "gradient": logits.grad},
    )
