"""What every layer of the library shares: registration, and settings that serialise by themselves."""

import inspect

import keras

from tfmodels.errors import UserError


class Layer(keras.layers.Layer):
    """A Keras layer whose constructor arguments, kept as attributes of the same name, are its configuration.

    Arguments that are layers are serialised and restored with it.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("tfmodels")(cls)

    def get_config(self):
        """The constructor's arguments, from the attributes that carry their names."""
        config = super().get_config()
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if name == "self" or parameter.kind is inspect.Parameter.VAR_KEYWORD:
                continue
            value = getattr(self, name)
            is_part = isinstance(value, keras.Layer | keras.initializers.Initializer)
            config[name] = keras.saving.serialize_keras_object(value) if is_part else value
        return config

    @classmethod
    def from_config(cls, config):
        """A layer from `get_config`'s dictionary."""
        return cls(**{name: _restore(value) for name, value in config.items()})


def _restore(value):
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    return value


def check_whole(least, **numbers):
    """Looks at settings that are whole numbers.

    Args:
        least: What they are at least.
        **numbers: The settings by their names.

    Raises:
        UserError: One is none.
    """
    for name, number in numbers.items():
        if not isinstance(number, int) or number < least:
            raise UserError(f"{name}={number!r} is no whole number from {least}: choose one.")


def truncated_normal():
    """BERT's initialiser: a normal of standard deviation 0.02, cut at two deviations (arXiv:1810.04805)."""
    return keras.initializers.TruncatedNormal(stddev=0.02)
