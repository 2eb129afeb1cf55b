"""Which earlier model a new one is compared with."""

from __future__ import annotations

from tfx.dsl.components.common.resolver import ResolverStrategy


class LatestBlessedPredecessor(ResolverStrategy):
    """Resolves the latest model, other than the candidate, that every Evaluator has blessed.

    TFX's own `LatestBlessedModelStrategy` differs in two ways that matter here. It takes a model for blessed when one
    of several Evaluators has blessed it, so that quality could wear away from push to push. And it resolves the
    candidate itself when a finished pipeline runs again, which would miss the cache and evaluate everything anew.

    Channels of the Resolver: `model`, `model_blessing` and `candidate`, the new model.
    """

    def resolve_artifacts(self, store, input_dict):
        """Resolves `model` and `model_blessing` to at most one artifact each; `candidate` stays as it is."""
        candidates = {model.id for model in input_dict["candidate"]}
        verdicts = {}
        for blessing in input_dict["model_blessing"]:
            verdicts.setdefault(blessing.get_int_custom_property("current_model_id"), []).append(blessing)
        resolved = {"model": [], "model_blessing": [], "candidate": input_dict["candidate"]}
        for model in sorted(input_dict["model"], key=lambda model: model.id, reverse=True):
            blessings = verdicts.get(model.id, [])
            blessed = blessings and all(blessing.get_int_custom_property("blessed") == 1 for blessing in blessings)
            if blessed and model.id not in candidates:
                return resolved | {"model": [model], "model_blessing": [max(blessings, key=lambda b: b.id)]}
        return resolved
