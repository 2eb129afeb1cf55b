import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.support.processes import python_environment
from tfmodels.cli import _COMMANDS, main
from tfmodels.registry import list_models

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


def run(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("command", [name for name in _COMMANDS if name != "run"])
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output and len(result.output) > 120


def test_list_shows_what_matches():
    output = run("list", "bert_b*").output
    assert "bert_base" in output and "109,482,240" in output and "bert_tiny" not in output


def test_list_and_describe_know_every_model():
    names = list_models()
    listed = run("list").output
    assert all(f"{name} " in listed for name in names)
    for name in names:
        assert name in run("describe", name).output


def test_list_says_when_nothing_matches():
    result = run("list", "gpt*")
    assert result.exit_code == 2 and "no model matches 'gpt*'" in result.output


def test_describe_gives_the_configuration_as_json():
    facts = json.loads(run("describe", "bert_tiny", "--json").output)
    assert facts["parameters"] == 4_385_920 and facts["config"]["num_layers"] == 2


def test_a_misspelt_model_is_answered_with_the_nearest_name():
    result = run("describe", "bert_bas")
    assert result.exit_code == 2 and "did you mean 'bert_base'?" in result.output and "Traceback" not in result.output


def test_the_attention_guide_shows_every_kind_with_its_cost_and_advice():
    from tfmodels.models import AttentionKind

    result = run("attention-guide")
    assert result.exit_code == 0, result.output
    for name, kind in AttentionKind.kinds().items():
        assert name in result.output and kind.guide.paper in result.output
    # All presets of one kind only where it is asked for.
    assert "minilm_l6" not in result.output and "minilm_l6" in run("attention-guide", "FullAttention").output


def test_the_attention_guide_tells_all_of_one_kind():
    shown = run("attention-guide", "LocalAttention").output
    assert "chunk_length=64" in shown and "causal:    either" in shown and "positions: absolute" in shown
    assert "reformer_enwik8" in shown
    result = run("attention-guide", "LocalAtention")
    assert result.exit_code == 2 and "did you mean 'LocalAttention'?" in result.output
    kinds = {fact["kind"]: fact for fact in json.loads(run("attention-guide", "--json").output)}
    assert kinds["Linformer"]["longest"] == "fixed" and kinds["LSHAttention"]["longest"] == "none"
    assert kinds["FullAttention"]["masks"] == kinds["FullAttention"]["positions"] == "any"
    assert kinds["External"]["causal"] == "no" and "bigbird_base" in kinds["BigBirdAttention"]["presets"]


def test_the_attention_guide_adds_what_was_measured(tmp_path):
    figures = {"seconds": {"4096": 2.0}, "times_full": {"4096": 0.25}, "mebibytes": {"4096": 64.0}}
    figures |= {"time_slope": 1.02, "memory_slope": 0.98}
    full = {**figures, "mebibytes": {"4096": 512.0}}
    records = {
        name: dict.fromkeys(("forward", "training"), values)
        for name, values in (("FullAttention", full), ("LocalAttention", figures))
    }
    (tmp_path / "attention.json").write_text(json.dumps(records))
    facts = json.loads(run("attention-guide", "--json", "--records", str(tmp_path)).output)
    measured = {fact["kind"]: fact["measured"]["training"] for fact in facts if "measured" in fact}
    assert set(measured) == {"FullAttention", "LocalAttention"}
    assert measured["LocalAttention"]["memory_times_full"] == 0.125
    assert measured["LocalAttention"]["times_full"] == 0.25
    shown = run("attention-guide", "LocalAttention", "--records", str(tmp_path)).output
    assert "2 s (0.25 x), 64 MiB (0.12 x), 1.02 0.98" in shown
    assert "4,096 tokens" in run("attention-guide", "--records", str(tmp_path)).output
    result = run("attention-guide", "--records", str(tmp_path / "none"))
    assert result.exit_code == 2 and "run `python -m benchmarks.attention" in result.output


def test_catalogue_prints_every_row_as_json():
    assert len(json.loads(run("catalogue", "--json").output)) == 82


def test_catalogue_filters_by_status():
    rows = json.loads(run("catalogue", "--json", "--status", "done").output)
    assert rows and {row["status"] for row in rows} == {"done"}


def test_catalogue_shows_a_line_a_row_and_a_row_whole():
    lines = run("catalogue", "--status", "done").output.splitlines()
    assert any(line.split() == ["A4", "Reformer", "done", "parity,", "oracle,", "invariants"] for line in lines)
    assert lines[-1].endswith("0 partly, 0 planned")
    whole = run("catalogue", "A4").output
    assert "arXiv:2001.04451" in whole and "tests/ops/test_lsh.py" in whole and "tests/models/test_bert" not in whole
    result = run("catalogue", "A99")
    assert result.exit_code == 2 and "the catalogue has no row 'A99'" in result.output


def test_convert_goes_both_ways(tmp_path):
    import keras
    import numpy as np

    import tfmodels

    model = tfmodels.create_model("bert_tiny", num_layers=1, vocabulary_size=50, hidden_dim=8, intermediate_dim=12)
    model.save(tmp_path / "a.keras")
    assert run("convert", str(tmp_path / "a.keras"), str(tmp_path / "hf")).exit_code == 0
    assert run("convert", str(tmp_path / "hf"), str(tmp_path / "b.keras")).exit_code == 0
    back = keras.saving.load_model(tmp_path / "b.keras")
    for ours, theirs in zip(model.weights, back.weights):
        np.testing.assert_array_equal(ours, theirs)


def test_convert_refuses_two_of_a_kind(tmp_path):
    (tmp_path / "a.keras").touch()
    result = run("convert", str(tmp_path / "a.keras"), str(tmp_path / "b.keras"))
    assert result.exit_code == 2 and "in either order" in result.output
    assert not (tmp_path / "b.keras").exists()


def test_doctor_names_what_is_there():
    output = run("doctor").output
    assert "tensorflow-text" in output and "glibc" in output


@pytest.mark.parametrize("package", ["tfmodels.cli", "benchmarks"])
@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0")])
def test_commands_have_onednn_unless_told_otherwise(package, given, expected):
    code = f"import os, sys, {package}; assert 'tensorflow' not in sys.modules; print(os.environ['{ONEDNN}'])"
    environment = {name: value for name, value in python_environment().items() if name != ONEDNN}
    environment |= {ONEDNN: given} if given else {}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected
