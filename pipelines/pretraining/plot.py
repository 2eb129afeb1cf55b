"""The picture of a pre-training run: learning curves beside the baselines."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.pretraining.recipes import recipe
from tfmodels.files import atomic_file


def draw_curves(results: dict, path: os.PathLike | str) -> None:
    """Draws the loss of every epoch, on training and held-out predictions, as PNG; stages follow each other.

    Args:
        results: What the job writes to results.json.
        path: The picture's file.
    """
    from matplotlib.figure import Figure

    stages = (*results["earlier_stages"].values(), results["history"])
    figure_name = recipe(results["objective"]).figure
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for prefix, label in (("", "training"), ("val_", "held out")):
        values = [value for history in stages for value in history[f"{prefix}{figure_name}"]]
        axes.plot(range(1, len(values) + 1), values, marker="o", label=label)
    for style, (name, loss) in zip(("--", ":", "-."), results["judgement"]["baselines"].items()):
        axes.axhline(loss, color="0.5", linestyle=style, label=f"{name} model, held out")
    axes.set(xlabel="epoch", ylabel="nats a prediction", title=f"{results['objective']}, {results['preset']}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    with atomic_file(Path(path)) as partial:
        figure.savefig(partial, format="png", dpi=120)
