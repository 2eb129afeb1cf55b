"""The choice of a precision: what a probe tries, what it takes, and what it leaves alone."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.training.keywords import classify, keyword_batches, tiny_classifier
from tfmodels.errors import UserError
from tfmodels.training import FitConfig, choose_precision, fit, policy_for, precision
from tfmodels.training.precision import candidates_here


class Slow(keras.Model):
    """A classifier whose steps take as long as it is told, by a clock of its own."""

    def __init__(self, model, seconds, clock):
        super().__init__()
        self.model = model
        self.seconds = seconds
        self.clock = clock

    def call(self, inputs, training=None):
        return self.model(inputs, training=training)

    def train_on_batch(self, *arguments, **settings):
        self.clock.now += self.seconds
        return super().train_on_batch(*arguments, **settings)


@pytest.mark.parametrize(
    ("waits", "chosen"),
    [
        ({"float32": 0.5, "bfloat16": 0.25}, "bfloat16"),
        ({"float32": 0.25, "bfloat16": 0.5}, "float32"),
        # Not worth it.
        ({"float32": 2.0, "bfloat16": 1.9375}, "float32"),
    ],
)
def test_the_fastest_is_taken_and_float32_where_it_hardly_matters(waits, chosen, monkeypatch):
    made, clock = [], SimpleNamespace(now=0.0)
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def make(name):
        made.append(name)
        return Slow(tiny_classifier(dtype=policy_for(name)), waits[name], clock)

    probe = choose_precision(
        "auto", make, keyword_batches(32), loss=classify()["loss"], candidates=tuple(waits), steps=1
    )
    assert probe.precision == chosen and made == list(waits)
    assert probe.seconds == waits
    assert str(probe).startswith(f"computing in {chosen} (a step: float32 ") and str(probe).endswith(" ms)")


def test_a_given_precision_is_not_tried():
    def make(precision):
        raise AssertionError("nothing is built")

    probe = choose_precision("bfloat16", make, None)
    assert probe.precision == "bfloat16" and str(probe) == "computing in bfloat16"
    assert choose_precision("auto", make, None, candidates=["float16"]).precision == "float16"
    with pytest.raises(ValueError, match="precision 'fp8' is unknown: choose one of float32"):
        choose_precision("fp8", make, None)


def test_fit_wants_a_precision_that_is_settled(tmp_path):
    with pytest.raises(UserError, match="ask choose_precision, or name one"):
        fit(tiny_classifier(), keyword_batches(32), None, FitConfig(precision="auto"), tmp_path, **classify())


def test_a_cpu_tries_bfloat16():
    assert candidates_here() == ("float32", "bfloat16")


def test_what_is_probed_trains_in_its_precision():
    models = {}

    def make(precision):
        models[precision] = tiny_classifier(dtype=policy_for(precision))
        return models[precision]

    probe = choose_precision("auto", make, keyword_batches(32), loss=classify()["loss"], steps=1)
    assert probe.precision in models and np.isfinite(list(probe.seconds.values())).all()
    assert {name: model.backbone.compute_dtype for name, model in models.items()} == {
        "float32": "float32",
        "bfloat16": "bfloat16",
    }
