"""The table of kinds of attention in a tiny setting: what it measures, remembers and makes of it."""

import json

import numpy as np
import pytest

from benchmarks import attention, processes
from benchmarks.kinds import KINDS, kind_of
from tfmodels.errors import UserError
from tfmodels.models import AttentionKind


def test_every_kind_has_settings_for_every_length():
    assert set(KINDS) == set(AttentionKind.kinds())
    for name, make in KINDS.items():
        assert isinstance(make(64, 16), AttentionKind.kinds()[name])


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_takes_its_steps(name):
    steps = attention._steps(name, 64)
    assert set(steps) == set(attention._WAYS)
    assert np.isfinite([step(32) for step in steps.values()]).all()


def test_times_are_taken_in_a_process_that_keeps_its_memory():
    assert attention._ENVIRONMENTS["time"] is processes.KEEPS_MEMORY
    for name, value in processes.KEEPS_MEMORY.items():
        assert processes.in_a_process("os.getenv", name, environment=processes.KEEPS_MEMORY) == value
        assert processes.in_a_process("os.getenv", name) is None


def test_memory_is_asked_of_processes_alone_that_give_it_back(monkeypatch):
    assert attention._ENVIRONMENTS["memory"] is processes.GIVES_BACK
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    with pytest.raises(RuntimeError, match="keeps what is freed"):
        processes.memory_of(lambda: None)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    peak, result = processes.memory_of(lambda: len(b"0" * 2**26))
    assert result == 2**26 and 60 < peak < 200


def test_slopes_are_the_powers_of_the_length():
    figures = {size: 3e-6 * size**1.5 for size in (512, 2048, 4096, 16384)}
    assert attention.slope(figures) == pytest.approx(1.5)
    assert attention.slope({512: 7.0, **{size: 5.0 * size for size in (2048, 8192)}}) == pytest.approx(1.0)
    assert attention.slope({512: 1.0, 2048: 2.0}) is None


def test_what_a_length_will_take_follows_from_the_last_two():
    assert attention._expected([], 4096) == 0
    assert attention._expected([(1024, 3.0)], 2048) == pytest.approx(12)
    assert attention._expected([(1024, np.inf)], 2048) == np.inf
    assert attention._expected([(512, 1.0), (1024, 4.0)], 2048) == pytest.approx(16)


def test_one_layer_is_measured_and_remembered(tmp_path, monkeypatch, capsys):
    """In processes of their own, as always."""
    arguments = {"kind": ("FullAttention",), "lengths": "512", "quick": True, "output": str(tmp_path)}
    attention.measure(**arguments)
    shown = capsys.readouterr().out
    assert "forward: seconds" in shown and "FullAttention" in shown and "training: MiB at the peak" in shown
    record = json.loads((tmp_path / "attention.json").read_text())["FullAttention"]
    assert record["attention"] == {"kind": "FullAttention", "causal": False}
    for way in ("forward", "training"):
        assert record[way]["seconds"]["512"] > 0 and record[way]["times_full"] == {"512": 1.0}
    # The scores of four heads alone are 4 MiB; training keeps them too.
    assert 4 < record["forward"]["mebibytes"]["512"] < record["training"]["mebibytes"]["512"] < 200
    for picture in ("time", "memory"):
        assert (tmp_path / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    # Nothing is measured again.
    monkeypatch.setattr(attention, "in_a_process", lambda *_, **__: pytest.fail("measured again"))
    attention.measure(**arguments)


def made_up(folder, name, power, memory_power):
    for size in (1024, 2048, 4096):
        full = 1e-8 * size**2
        own = {"seconds": 1e-6 * size**power, "median": 1.0, "rounds": 1}
        times = {way: {**own, "full_seconds": full, "times_full": own["seconds"] / full} for way in attention._WAYS}
        attention._write(folder, "time", name, size, times)
        memory = dict.fromkeys(attention._WAYS, 0.001 * size**memory_power)
        attention._write(folder, "memory", name, size, memory)


def test_targets_are_those_of_kinds_below_the_square(tmp_path):
    made_up(tmp_path, "FullAttention", 2, 2)
    made_up(tmp_path, "LocalAttention", 1.1, 1.3)
    results = attention.measure(kind=("LocalAttention",), lengths="1024,2048,4096", output=str(tmp_path))
    full = [result for result in results if result.what.startswith("Full")]
    local = {result.what: result for result in results if result.what.startswith("Local")}
    assert full and all(result.reached is None for result in full)
    assert local["LocalAttention, training: time grows by this power of T"].reached is True
    assert local["LocalAttention, training: memory grows by this power of T"].reached is False
    assert local["LocalAttention, forward: times as fast as full at 2,048"].reached is True


def test_mistakes_are_told():
    with pytest.raises(UserError, match="no kind of attention 'LocalAtention': did you mean 'LocalAttention'"):
        attention.measure(kind=("LocalAtention",))
    with pytest.raises(UserError, match="give them as 512,1024"):
        attention.measure(lengths="512,many")
    assert kind_of("LocalAttention", 512).chunk_length == 64
