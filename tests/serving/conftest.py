"""A tiny BERT classifier of texts and one of pairs, exported once, and a server on the first."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest

from serving import GrpcClient, ModelServer, RestClient
from tests.serving.support import Exported, make_exported


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Exported:
    """A classifier of single texts, exported as version 1."""
    return make_exported(tmp_path_factory.mktemp("texts") / "tiny" / "1", seed=1)


@pytest.fixture(scope="session")
def exported_pairs(tmp_path_factory) -> Exported:
    """A classifier of pairs of texts."""
    return make_exported(tmp_path_factory.mktemp("pairs") / "pairs" / "1", seed=2, pair=True)


@pytest.fixture(scope="session")
def server(exported):
    """A server on `exported`, for tests that leave it as it is."""
    with ModelServer(exported.path.parent, "tiny", max_request_bytes=4 * 2**20) as running:
        yield running


@pytest.fixture(params=["grpc", "rest"])
def client(request, server):
    """A client of `server`, over each protocol in turn."""
    kind, address = {"grpc": (GrpcClient, server.grpc_address), "rest": (RestClient, server.rest_url)}[request.param]
    with kind(address, "tiny") as connected:
        yield connected
