"""Which earlier model a new student is compared with."""

from tfx.types import standard_artifacts

from pipelines.components.resolvers import LatestBlessedPredecessor


def model(number):
    made = standard_artifacts.Model()
    made.id = number
    return made


def verdict(number, of, blessed):
    made = standard_artifacts.ModelBlessing()
    made.id = number
    made.set_int_custom_property("current_model_id", of)
    made.set_int_custom_property("blessed", blessed)
    return made


def resolve(models, verdicts, candidate):
    given = {"model": models, "model_blessing": verdicts, "candidate": [model(candidate)]}
    resolved = LatestBlessedPredecessor().resolve_artifacts(None, given)
    assert [made.id for made in resolved["candidate"]] == [candidate]
    return [made.id for made in resolved["model"]]


def test_the_first_model_has_no_predecessor():
    assert resolve([model(1)], [], candidate=1) == []


def test_the_latest_blessed_model_is_the_predecessor():
    verdicts = [verdict(11, of=1, blessed=1), verdict(12, of=2, blessed=1)]
    assert resolve([model(1), model(3), model(2)], verdicts, candidate=3) == [2]


def test_a_model_is_not_compared_with_itself():
    verdicts = [verdict(11, of=1, blessed=1), verdict(12, of=2, blessed=1)]
    assert resolve([model(1), model(2)], verdicts, candidate=2) == [1]


def test_one_of_two_evaluators_is_not_enough():
    verdicts = [
        verdict(11, of=1, blessed=1),
        verdict(12, of=1, blessed=1),
        verdict(13, of=2, blessed=1),
        verdict(14, of=2, blessed=0),
    ]
    assert resolve([model(1), model(2), model(3)], verdicts, candidate=3) == [1]
