"""The clients: the same answers over both protocols, batches of any size, errors in a sentence."""

import numpy as np
import pytest

from serving import GrpcClient, RestClient, StatusError
from serving.client import _batches
from serving.tensors import as_strings
from tfmodels.errors import UserError


def test_answers_equal_the_keras_model(client, exported):
    texts = ["good film", "bad", "", "\u4e0d\u9519"]
    outputs = client.predict(texts)
    assert list(outputs) == ["logits", "probabilities"]
    for name, expected in exported.answers(texts).items():
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], expected, atol=1e-6)


def test_texts_may_be_named(client, exported):
    expected = exported.answers(["good"])["logits"]
    np.testing.assert_allclose(client.predict({"text": ["good"]})["logits"], expected, atol=1e-6)


def test_status_and_metadata(client):
    (status,) = client.status()
    assert (status.version, status.state_name) == (1, "AVAILABLE")
    assert str(client.metadata().inputs["text"]) == "string[None]"
    assert str(client.metadata().outputs["logits"]) == "float32[None, 2]"


def test_no_text_is_the_users_mistake(client):
    with pytest.raises(UserError, match="at least one text"):
        client.predict([])


def test_a_wrong_name_is_an_error_of_the_server(client):
    with pytest.raises(StatusError, match=r"there is no input 'words'|Missing named input: text"):
        client.predict({"words": ["good"]})


@pytest.mark.parametrize("kind", [GrpcClient, RestClient])
def test_no_server_is_told_with_what_to_do(kind):
    with pytest.raises(UserError, match="start one with `tfmodels serve DIR`"):
        kind("127.0.0.1:9", "tiny").predict(["good"])


@pytest.mark.parametrize("kind", [GrpcClient, RestClient])
def test_unknown_models_versions_and_signatures_are_named(kind, server):
    address = server.grpc_address if kind is GrpcClient else server.rest_url
    for name, options in [("other", {}), ("tiny", {"version": 9}), ("tiny", {"signature": "classify"})]:
        with pytest.raises(StatusError):
            kind(address, name, **options).predict(["good"])
    with pytest.raises(UserError, match="not both"):
        kind(address, "tiny", version=1, label="stable")


def test_batches_are_bounded_in_rows_and_bytes():
    def sizes(lengths, batch_size):
        arrays = {"text": as_strings([b"x" * length for length in lengths])}
        batches = list(_batches(arrays, batch_size))
        assert np.concatenate([batch["text"] for batch in batches]).tolist() == arrays["text"].tolist()
        return [len(batch["text"]) for batch in batches]

    assert sizes([1] * 7, 3) == [3, 3, 1]
    assert sizes([1] * 6, 3) == [3, 3]
    assert sizes([3_000_000] * 3, 10) == [1, 1, 1]
    assert sizes([1_000_000] * 9, 10) == [4, 4, 1]
    assert sizes([9_000_000, 1, 1], 10) == [1, 2]
