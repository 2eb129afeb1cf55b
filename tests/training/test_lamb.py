"""LAMB against the paper's algorithm in NumPy, and as Keras's machinery uses it. See tests/parity for optax's."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support.tensors import assert_close
from tests.training.keywords import classify, keyword_batches, tiny_classifier
from tfmodels.errors import UserError
from tfmodels.training import FitConfig, Lamb, WarmupLinearDecay, adamw, fit

STEPS = 100
SHAPES = {"kernel": (7, 5), "tokens": (11, 3), "heads": (2, 3, 4), "bias": (5,), "gamma": (6,), "scalar": ()}


def numpy_lamb(weights, gradients, rate, decay=0.0, spared=(), corrected=True, bounds=None, epsilon=1e-6):
    """Algorithm 2 of arXiv:1904.00962 in float64, weight by weight; the weights and the ratios of the last step."""
    results, ratios = {}, {}
    for name, w in weights.items():
        w = np.array(w, "float64")
        m = v = np.zeros_like(w)
        for t, gradient in enumerate(gradients, start=1):
            g = np.asarray(gradient[name], "float64")
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g**2
            m_hat, v_hat = (m / (1 - 0.9**t), v / (1 - 0.999**t)) if corrected else (m, v)
            u = m_hat / (np.sqrt(v_hat) + epsilon)
            ratio = 1.0
            if name not in spared:
                u = u + decay * w
                length = np.sqrt((w**2).sum())
                phi = length if bounds is None else min(max(length, bounds[0]), bounds[1])
                size = np.sqrt((u**2).sum())
                if phi > 0 and size > 0:
                    ratio = phi / size
            w = w - rate * ratio * u
        results[name], ratios[name] = w, ratio
    return results, ratios


def problem(seed=0, steps=STEPS):
    """Weights and gradients; one weight begins at nothing, one has no gradient, one has neither."""
    random = np.random.default_rng(seed)
    weights = {name: random.normal(size=shape) for name, shape in SHAPES.items()}
    weights |= {"zero": np.zeros((3, 2)), "still": random.normal(size=(2, 2)), "nothing": np.zeros(4)}
    gradients = [{name: random.normal(size=w.shape) for name, w in weights.items()} for _ in range(steps)]
    for gradient in gradients:
        gradient["still"][:] = gradient["nothing"][:] = 0.0
    return weights, gradients


def run(optimizer, weights, gradients, dtype="float32"):
    """The weights after the steps."""
    variables = [keras.Variable(value, dtype=dtype, name=name) for name, value in weights.items()]
    optimizer.build(variables)

    def apply(values):
        optimizer.apply(values, variables)

    step = tf.function(apply) if len(gradients) > 10 else apply
    for gradient in gradients:
        step([tf.constant(gradient[v.name], dtype) for v in variables])
    return {v.name: v.numpy() for v in variables}


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, {"decay": 0.01}),
        ({"weight_decay": None}, {}),
        ({"exclude": (), "weight_decay": 0.1}, {"decay": 0.1, "spared": ()}),
        ({"bias_correction": False}, {"decay": 0.01, "corrected": False}),
        ({"norm_bounds": (0.5, 2.0), "weight_decay": 0.1}, {"decay": 0.1, "bounds": (0.5, 2.0)}),
    ],
    ids=["as it is", "no decay", "the paper's", "uncorrected", "bounded"],
)
def test_a_hundred_steps_are_the_papers(settings, expected):
    weights, gradients = problem()
    rate = float(np.float32(1e-2))
    wanted, ratios = numpy_lamb(weights, gradients, rate, **{"spared": ("bias", "gamma"), **expected})
    for dtype, tolerance in (("float64", 1e-9), ("float32", 1e-6)):
        optimizer = Lamb(1e-2, **settings)
        found = run(optimizer, weights, gradients, dtype)
        for name, value in wanted.items():
            assert_close(found[name], value, tolerance, f"{name} in {dtype}")
        told = {name: float(ratio.numpy()) for name, ratio in optimizer.trust_ratios.items()}
        assert set(told) == {name for name in weights if settings.get("exclude") == () or name not in ("bias", "gamma")}
        for name, ratio in told.items():
            assert_close(ratio, ratios[name], 1e-5, name)
    assert np.abs(wanted["kernel"] - weights["kernel"]).max() > 0.1


def test_a_ratio_of_nothing_is_one():
    weights, gradients = problem(steps=1)
    optimizer = Lamb(1e-2, weight_decay=None)
    found = run(optimizer, weights, gradients)
    ratios = optimizer.trust_ratios
    assert [float(ratios[name]) for name in ("zero", "still", "nothing")] == [1.0, 1.0, 1.0]
    assert float(ratios["kernel"]) != 1.0
    # A weight of zeros moves by Adam's first step, and one without a gradient stays.
    assert_close(found["zero"], -1e-2 * np.sign(gradients[0]["zero"]), 1e-4)
    np.testing.assert_array_equal(found["still"], weights["still"].astype("float32"))


def test_it_needs_two_slots_a_weight_as_adamw_does():
    variables = [keras.Variable(np.zeros((30, 40)), name="kernel"), keras.Variable(np.zeros(40), name="bias")]
    optimizers = Lamb(1e-2), adamw(1e-2)
    sizes = []
    for optimizer in optimizers:
        optimizer.build(variables)
        sizes.append(sum(int(np.prod(v.shape)) for v in optimizer.variables))
    # Beside the slots a number for each weight, the step and the rate.
    assert sizes[0] == 2 * 1240 + 2 + 2 and sizes[0] - sizes[1] == 2


@pytest.mark.parametrize("clipping", ["clipnorm", "global_clipnorm"])
def test_gradients_are_clipped_before_the_moments(clipping):
    weights, gradients = problem(steps=5)
    largest, clipped = 1.5, []
    for gradient in gradients:
        norms = {name: np.linalg.norm(value) for name, value in gradient.items()}
        if clipping == "global_clipnorm":
            norms = dict.fromkeys(norms, np.sqrt(sum(norm**2 for norm in norms.values())))
        clipped.append({name: value * min(1, largest / max(norms[name], 1e-9)) for name, value in gradient.items()})
    found = run(Lamb(1e-2, **{clipping: largest}), weights, gradients)
    wanted, _ = numpy_lamb(weights, clipped, 1e-2, 0.01, ("bias", "gamma"))
    for name, value in wanted.items():
        assert_close(found[name], value, 1e-6, name)


def test_a_schedule_is_asked_for_every_step():
    weights, gradients = problem(steps=4)
    found = run(Lamb(WarmupLinearDecay(1e-2, 4, 2)), weights, gradients)
    values = weights
    wanted = {name: np.array(value) for name, value in weights.items()}
    # The spared weights alone tell of the rates: their moments do not depend on where they stand.
    for step, rate in enumerate((0.5e-2, 1e-2, 1e-2, 0.5e-2), start=1):
        before, _ = numpy_lamb(values, gradients[: step - 1], 1.0, spared=("bias",)) if step > 1 else (values, None)
        after, _ = numpy_lamb(values, gradients[:step], 1.0, spared=("bias",))
        wanted["bias"] = wanted["bias"] + rate * (after["bias"] - before["bias"])
    assert_close(found["bias"], wanted["bias"], 1e-6)


def test_kerass_moving_average_follows_the_weights():
    weights, gradients = problem(steps=6)
    optimizer = Lamb(1e-2, use_ema=True, ema_momentum=0.5)
    variables = [keras.Variable(value, dtype="float32", name=name) for name, value in weights.items()]
    average = None
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient[v.name], "float32") for v in variables], variables)
        now = variables[0].numpy()
        average = now if average is None else 0.5 * average + 0.5 * now
    optimizer.finalize_variable_values(variables)
    assert_close(variables[0].numpy(), average, 1e-6)


def test_kerass_accumulation_is_one_step_of_the_mean_gradient():
    weights, gradients = problem(steps=4)
    pairs = gradients[:2], gradients[2:]
    means = [{name: (first[name] + second[name]) / 2 for name in weights} for first, second in pairs]
    found = run(Lamb(1e-2, gradient_accumulation_steps=2, global_clipnorm=1.0), weights, gradients)
    wanted = run(Lamb(1e-2, global_clipnorm=1.0), weights, means)
    for name, value in wanted.items():
        assert_close(found[name], value, 1e-6, name)


def test_a_step_that_overflows_is_left_out():
    weights, gradients = problem(steps=3)
    spoilt = {name: np.full_like(value, np.inf) for name, value in gradients[0].items()}
    optimizer = keras.optimizers.LossScaleOptimizer(Lamb(1e-2), initial_scale=8.0, dynamic_growth_steps=100)
    scaled = [{name: value * 8 for name, value in gradient.items()} for gradient in gradients[:2]]
    later = [{name: value * 4 for name, value in gradients[2].items()}]
    found = run(optimizer, weights, [*scaled, spoilt, *later])
    for name, value in run(Lamb(1e-2), weights, gradients).items():
        assert_close(found[name], value, 1e-6, name)


def test_it_goes_through_its_configuration_with_what_it_spares():
    settings = {"bias_correction": False, "norm_bounds": (0.1, 5.0), "exclude": ("kernel",), "global_clipnorm": 0.5}
    optimizer = Lamb(WarmupLinearDecay(0.2, 10, 4), 0.8, 0.99, 1e-5, 0.1, **settings)
    weights, gradients = problem(steps=3)
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(twin) is Lamb and twin.get_config() == optimizer.get_config()
    again = run(twin, weights, gradients)
    for name, value in run(optimizer, weights, gradients).items():
        np.testing.assert_array_equal(again[name], value)
    assert "kernel" not in optimizer.trust_ratios and "bias" in optimizer.trust_ratios


def test_bounds_out_of_order_are_refused():
    for bounds in ((2.0, 1.0), (0.0, 1.0)):
        with pytest.raises(UserError, match="norm_bounds="):
            Lamb(norm_bounds=bounds)


@pytest.mark.parametrize("make", [Lamb, adamw])
def test_a_saved_model_goes_on_as_it_would_have(make, tmp_path):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, 3)).astype("float32"), random.normal(size=(8, 2)).astype("float32")
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2), keras.layers.LayerNormalization()])
    model.compile(make(0.05, weight_decay=0.3), loss="mse", jit_compile=False)
    model.fit(x, y, epochs=2, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, twin):
        each.fit(x, y, epochs=2, verbose=0, shuffle=False)
    for ours, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_fit_trains_with_it_goes_on_and_shows_its_ratios(tmp_path):
    config = FitConfig(epochs=2, learning_rate=2e-2, optimizer="lamb", precision="float16")
    arguments = (keyword_batches(32), keyword_batches(16))
    history = fit(tiny_classifier(), *arguments, config, tmp_path, **classify())
    assert np.isfinite(history["loss"]).all() and history["loss"][1] < history["loss"][0]
    model = tiny_classifier()
    assert len(fit(model, *arguments, config.replace(epochs=3), tmp_path, **classify())["loss"]) == 3
    ratios = model.optimizer.inner_optimizer.trust_ratios
    assert ratios and not any(path.endswith(("bias", "gamma", "beta")) for path in ratios)
    events = EventAccumulator(str(tmp_path / "logs" / "train"), size_guidance={"tensors": 0}).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("trust_ratio/")]
    assert len(tags) == len(ratios)
    path = next(path for path in ratios if path.endswith("logits/kernel"))
    last = tf.make_ndarray(events.Tensors(f"trust_ratio/{path}")[-1].tensor_proto)
    assert float(last) == pytest.approx(float(ratios[path])) and float(last) != 1.0
