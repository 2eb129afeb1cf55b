"""The commands: what they print, and how they end."""

import json
import re
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from serving import GrpcClient, ModelServer
from serving.warmup import WARMUP_FILE
from tests.serving.support import publish
from tfmodels.cli import main


def run(*arguments, status=0, **options):
    """Runs `tfmodels ...` and returns what it printed."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], **options)
    assert result.exit_code == status, result.output
    return result.output


@pytest.mark.parametrize("command", ["check-export", "serve", "predict"])
def test_help_teaches(command):
    output = run(command, "--help")
    assert "Example" in output
    assert f"tfmodels {command}" in output
    # Each option says what it does.
    assert not re.search(r"^  --[-a-z]+( [A-Z]+)?$\n  -", output, re.MULTILINE)


def test_check_export_says_what_was_found(exported):
    output = run("check-export", exported.path, "--text", "good film")
    assert "This export can be served." in output
    assert "texts a second" in output


def test_check_export_gives_json(exported):
    assert json.loads(run("check-export", exported.path, "--json"))["passed"] is True


def test_check_export_fails_with_the_reasons(exported, tmp_path):
    path = publish(exported.path, tmp_path, 1)
    (path / WARMUP_FILE).write_bytes(b"damaged")
    output = run("check-export", path, status=1)
    assert "changed after the export" in output
    assert "Do not serve this export." in output


def test_check_export_shows_brackets_as_they_are(exported, tmp_path):
    path = publish(exported.path, tmp_path, 1)
    (path / "model_card.json").write_text(json.dumps({"sha256": {"assets/[/b].txt": ""}}))
    assert "The file assets/[/b].txt of the model card is missing" in run("check-export", path, status=1)


def test_check_export_of_nothing_is_one_sentence(tmp_path):
    output = run("check-export", tmp_path, status=2)
    assert "Traceback" not in output
    assert "holds no saved_model.pb" in output


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_predict_prints_a_table(server, exported, protocol):
    address = server.grpc_address if protocol == "grpc" else server.rest_url
    labels = exported.path / "assets" / "labels.txt"
    texts = ["good film", "bad [bold]plot"]
    output = run(
        "predict",
        f"--{protocol}",
        address,
        "--model",
        "tiny",
        "--labels",
        labels,
        "--text",
        texts[0],
        "--text",
        texts[1],
    )
    probabilities = exported.answers(texts)["probabilities"]
    for text, row in zip(texts, probabilities):
        (line,) = [line for line in output.splitlines() if text in line]
        assert ["negative", "positive"][row.argmax()] in line
        assert f"{row.max():.4f}" in line


def test_predict_reads_a_file_and_gives_json(server, exported, tmp_path):
    (tmp_path / "texts.txt").write_bytes("good film\n\nb\u00e4d\n".encode())
    output = run(
        "predict", "--grpc", server.grpc_address, "--model", "tiny", "--file", tmp_path / "texts.txt", "--json"
    )
    rows = [json.loads(line) for line in output.splitlines()]
    assert [row["text"] for row in rows] == ["good film", "", "b\u00e4d"]
    expected = exported.answers(["good film", "", "b\u00e4d"])["logits"]
    for row, logits in zip(rows, expected):
        assert row["logits"] == pytest.approx(logits.tolist(), abs=1e-5)


def test_predict_splits_lines_for_models_of_pairs_alone(server, exported_pairs, tmp_path):
    (tmp_path / "pairs.tsv").write_text("good film\tbad plot\n")
    with ModelServer(exported_pairs.path.parent, "pairs") as of_pairs:
        arguments = ["--grpc", of_pairs.grpc_address, "--model", "pairs", "--file", tmp_path / "pairs.tsv", "--json"]
        assert json.loads(run("predict", *arguments))["text"] == ["good film", "bad plot"]
    arguments = ["--grpc", server.grpc_address, "--model", "tiny", "--file", tmp_path / "pairs.tsv", "--json"]
    assert json.loads(run("predict", *arguments))["text"] == "good film\tbad plot"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "Give a text"),
        (["--text", "a", "--grpc", "x:1", "--rest", "http://x"], "not both"),
        (["--text", "a", "--text-pair", "b", "--text-pair", "c"], "one for each"),
        (["--text", "a", "--grpc", "127.0.0.1:9"], "No server answers"),
        (["--text", "a", "--rest", "ftp://x"], "no HTTP address"),
    ],
)
def test_predict_tells_mistakes_in_a_sentence(arguments, sentence):
    output = run("predict", *arguments, status=2)
    assert "Traceback" not in output
    assert sentence in " ".join(output.split())


def test_predict_tells_what_the_server_refuses(server):
    output = run("predict", "--grpc", server.grpc_address, "--model", "other", "--text", "good", status=2)
    assert "The server refuses: NOT_FOUND" in output


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serve_runs_until_it_is_stopped(exported, tmp_path, stop):
    publish(exported.path, tmp_path / "reviews", 1)
    command = [sys.executable, "-c", "from tfmodels.cli import main; main()"]
    command += ["serve", str(tmp_path / "reviews"), "--port", "0", "--rest-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        lines = iter(process.stdout.readline, "")
        address = next(match[1] for line in lines if (match := re.search(r"gRPC\s+(\S+)", line)))
        with GrpcClient(address, "reviews") as client:
            assert client.predict(["good"])["logits"].shape == (1, 2)
        process.send_signal(stop)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


def test_serve_tells_mistakes_in_a_sentence(tmp_path):
    assert "holds no exported version" in " ".join(run("serve", tmp_path, status=2).split())
    assert "write it like --label stable=3" in run("serve", tmp_path, "--label", "stable", status=2)
