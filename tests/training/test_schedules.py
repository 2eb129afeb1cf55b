"""Schedules against their equations, step by step. `WarmupLinearDecay` is in test_optimizers.py and in tests/parity."""

import math

import keras
import numpy as np
import pytest

from tfmodels.errors import UserError
from tfmodels.training import InverseSquareRoot, SlantedTriangular, WarmupPolynomialDecay, warmup_cosine_decay
from tfmodels.training.schedules import SCHEDULES


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in range(steps)])


def test_a_power_bends_the_rise_and_the_fall():
    found = rates(WarmupPolynomialDecay(0.2, 10, 4, power=2.0, warmup_power=0.5), 12)
    rising = [0.2 * math.sqrt(done / 4) for done in (1, 2, 3, 4)]
    falling = [0.2 * (left / 6) ** 2 for left in (6, 5, 4, 3, 2, 1, 0, 0)]
    np.testing.assert_allclose(found, rising + falling, atol=1e-7)


def test_noam_is_equation_3_of_the_transformer():
    found = rates(InverseSquareRoot.noam(512, 40, factor=2.0), 200)
    expected = [2 * 512**-0.5 * min(t**-0.5, t * 40**-1.5) for t in range(1, 201)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.argmax() == 39
    np.testing.assert_allclose(found[39], float(InverseSquareRoot(found[39], 40)(39)), rtol=1e-6)
    # Without a warm-up it falls from the first step.
    np.testing.assert_allclose(rates(InverseSquareRoot(1.0, 0), 4), [1, 2**-0.5, 3**-0.5, 0.5], rtol=1e-6)


def test_slanted_triangles_are_equation_3_of_ulmfit():
    peak, total, share, ratio = 0.01, 200, 0.1, 32
    cut = math.floor(total * share)
    expected = []
    for t in range(total):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / share - 1))
        expected.append(peak * (1 + p * (ratio - 1)) / ratio)
    np.testing.assert_allclose(rates(SlantedTriangular(peak, total, cut), total), expected, rtol=1e-5)
    # Where the equation, rounded, would fall below zero.
    few = rates(SlantedTriangular(peak, 19, math.floor(19 * share)), 21)
    assert (few >= peak / ratio * 0.999).all() and few.argmax() == 1
    np.testing.assert_allclose(few[19:], peak / ratio, rtol=1e-5)


@pytest.mark.parametrize("warmup", [0, 1, 2, 7])
def test_a_cosine_rises_to_the_peak_and_falls_to_zero(warmup):
    total, first = 20, max(warmup - 1, 0)  # the step of the peak
    expected = [0.3 * (step + 1) / warmup for step in range(first)]
    expected += [0.15 * (1 + math.cos(math.pi * (step - first) / (total - first))) for step in range(first, total + 1)]
    found = rates(warmup_cosine_decay(0.3, total, warmup), total + 3)
    np.testing.assert_allclose(found, [*expected, 0, 0], atol=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_of_a_recipe_moves_peaks_and_is_saved(name):
    schedule = SCHEDULES[name](0.5, 30, 6)
    found = rates(schedule, 30)
    assert (found > 0).all() and found.max() == pytest.approx(0.5, rel=1e-6) and found.argmax() in (5, 6)
    assert (np.diff(found[:6]) > 0).all() and (np.diff(found[6:]) < 0).all()
    twin = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert type(twin) is type(schedule)
    np.testing.assert_array_equal(rates(twin, 30), found)
    with pytest.raises(UserError, match="warmup_steps=5 exceeds total_steps=4: warm up for fewer steps"):
        SCHEDULES[name](0.5, 4, 5)
