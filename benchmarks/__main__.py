"""`python -m benchmarks`: every benchmark, or those named, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.results import from_json, show

ROOT = Path(__file__).resolve().parents[1]
# name -> what it compares
BENCHMARKS = {
    "imports": "the cost of `import tfmodels` over `import keras`",
    "encoder": "BERT-base against KerasHub: forward, training step, and the length mix of real reviews",
    "bigbird": "BigBird at 4,096 tokens against transformers' block-sparse one, and against full attention",
    "pretraining": "BERT's pre-training against KerasHub's, on the same paragraphs",
    "optimizers": "a step of LAMB beside one of Keras's AdamW, in time and memory",
    "training": "training steps in bfloat16 beside float32, and a student's epochs with a cached teacher",
    "recomputation": "a training step that computes blocks again beside one that keeps them, in memory and time",
    "student": "teacher against student through TensorFlow Serving's C++ loader",
    "run": "the figures of the last `make run`",
}
# Alone, only when named: they take minutes and show tables of their own.
_APART = {
    "tries": "what each part of the student's recipe brings, on the last run's teacher (minutes)",
    "objectives": "pre-training objectives at equal compute, by the accuracy of their encoders (an hour)",
    "students": "students of every kind by their teacher and on hard labels alone, on two tasks (long)",
    "privileged": "students of teachers that see what nobody has when the student serves (minutes)",
    "multitask": "one encoder for three tasks beside an encoder for each (minutes)",
    "distance": "DA-Transformer beside other ways to know distances, on three real tasks, five seeds (hours)",
    "reformer": "Reformer's memory by depth, 65,536 tokens, its attention beside transformers' (minutes)",
    "attention": "kinds of attention in time and memory, by the length of the sequence (minutes)",
    "longrange": "kinds of attention by what they recall over a distance (minutes)",
    "little_data": "attention of low rank beside full attention, where there is little to learn from (minutes)",
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "only_list", is_flag=True, help="List the benchmarks.")
@click.option("--quick", is_flag=True, help="Fewer repetitions of smaller things: minutes become seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, by the benchmarks' names.")
@click.option("--check", is_flag=True, help="Exit with 1 if a target is missed.")
def main(names, only_list, quick, as_json, check):
    """Run benchmarks: all of them, or those named.

    A benchmark times two things in turn, so that a busy machine disturbs both alike, and gives the median of their
    ratios, the lowest and the highest pair, the ratio in processor time, and its target. Ratios say how many times
    as long the second thing took.

    \b
    NAMES
      imports   the cost of `import tfmodels` over `import keras`
      encoder   BERT-base against KerasHub: forward, training step, and the length mix of real reviews
      bigbird   BigBird at 4,096 tokens against transformers' block-sparse one, and against full attention
      optimizers a step of LAMB beside one of Keras's AdamW, in time and memory
      recomputation
                a training step that computes blocks again beside one that keeps them, in memory and time
      training  training steps in bfloat16 beside float32, and a student's epochs with a cached teacher
      student   teacher against student through TensorFlow Serving's C++ loader
      run       the figures of the last `make run`
      tries     what each part of the student's recipe brings, on the last run's teacher (minutes; only when named)
      objectives
                pre-training objectives at equal compute, by the accuracy of their encoders (an hour; only when named)
      students  students of every kind by their teacher and on hard labels alone (long; only when named)
      privileged
                students of teachers that see what nobody has when the student serves (minutes; only when named)
      multitask one encoder for three tasks beside an encoder for each (minutes; only when named)
      distance  DA-Transformer beside other ways to know distances, on three real tasks (hours; only when named)
      reformer  Reformer's memory by depth, 65,536 tokens, its attention beside transformers' (only when named)
      attention kinds of attention in time and memory, by the length of the sequence (minutes; only when named)
      longrange kinds of attention by what they recall over a distance (minutes; only when named)
      little_data
                attention of low rank beside full attention on little data (minutes; only when named)

    \b
    EXAMPLES
      python -m benchmarks --quick
      python -m benchmarks encoder --json > encoder.json
      python -m benchmarks.student --teacher exports/teacher --student exports/student

    Each has options of its own: `python -m benchmarks.encoder --help`.
    """  # noqa: D301 - \b is what click reads
    known = BENCHMARKS | _APART
    if only_list:
        for name, line in known.items():
            click.echo(f"{name:12}{line}")
        return
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.UsageError(f"there is no benchmark {unknown[0]!r}: choose from {', '.join(known)}.")
    answers, missed = {}, False
    for name in names or BENCHMARKS:
        if name in _APART:
            missed = (
                bool(subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode) or missed
            )
            continue
        answer = _run(name, quick)
        if answer is None:
            missed = True
            continue
        answers[name] = json.loads(answer)
        results, memory = from_json(answer)
        missed = missed or any(result.reached is False for result in results)
        if not as_json:
            show(results, memory, title=f"[bold]{name}[/]: {BENCHMARKS[name]}")
            click.echo()
    if as_json:
        click.echo(json.dumps(answers, indent=2))
    if check and missed:
        sys.exit(1)


def _run(name: str, quick: bool) -> str | None:
    """The JSON that a benchmark printed; None if it failed, and its own words are on the screen."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *(["--quick"] if quick else [])]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    if process.returncode:
        click.echo(f"benchmark {name} failed", err=True)
        return None
    return process.stdout


# A user's mistake exits with 2, as a wrong option does.
click.ClickException.exit_code = 2

if __name__ == "__main__":
    main()
