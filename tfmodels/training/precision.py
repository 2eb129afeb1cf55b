"""Which numbers to compute in."""

import keras

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def policy_for(precision: str) -> keras.dtype_policies.DTypePolicy:
    """The Keras policy that keeps variables in float32 and computes in `precision`.

    Raises:
        ValueError: The precision is not float32, bfloat16 or float16.
    """
    if precision not in _POLICIES:
        raise ValueError(f"precision {precision!r} is unknown: choose one of {', '.join(_POLICIES)}.")
    return keras.dtype_policies.get(_POLICIES[precision])
