"""Which weights an optimiser spares: those whose names say that they are no matrices."""

# Normalisations' scales and shifts, and biases.
NORMS_AND_BIASES = ("bias", "gamma", "beta")


class Exclusions:
    """Gives a Keras optimiser a list of names to spare, which goes through its configuration.

    Keras takes such names by `exclude_from_weight_decay`, and forgets them where an optimiser is saved.

    Args:
        exclude: Weights whose name holds one of these are spared. A weight's name is the last part of its path.
    """

    def __init__(self, *args, exclude=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.exclude = tuple(exclude)
        self.exclude_from_weight_decay(var_names=self.exclude)

    def build(self, variables):
        """Makes the slots, and asks for every weight once: TensorFlow's own variables are named by their whole path."""
        super().build(variables)
        for variable in variables:
            self._use_weight_decay(variable)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "exclude": list(self.exclude)}
