"""The rooms of docs/architecture.md and which way their doors open."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_MODELS_AND_BELOW = {"ops", "layers", "models"}
# room -> the rooms of tfmodels that it may enter, as docs/architecture.md tables them. Every room may enter itself.
ROOMS = {
    "tfmodels/ops": set(),
    "tfmodels/layers": {"ops"},
    "tfmodels/models": {"layers", "ops"},
    "tfmodels/objectives": _MODELS_AND_BELOW,
    "tfmodels/distillation": _MODELS_AND_BELOW,
    "tfmodels/training": _MODELS_AND_BELOW,
    "tfmodels/interop": _MODELS_AND_BELOW,
    "tfmodels/text": set(),
    "tfmodels/metrics": set(),
    "tfmodels/datasets": set(),
}
# Whole packages that stand above the library, and what of the project they may enter.
ABOVE = {
    "serving": {"tfmodels"},
    "pipelines": {"tfmodels", "serving"},
    "benchmarks": {"tfmodels", "serving", "pipelines"},
}
# Leaves that every room may import.
LEAVES = {"clusters", "errors", "files"}
# A package from elsewhere -> the rooms that may import it.
GUARDED = {
    "tensorflow": ("text", "training", "objectives", "datasets", "pipelines", "serving", "benchmarks"),
    "tensorflow_text": ("text", "benchmarks"),
    "keras_nlp": ("text", "benchmarks"),
    "keras_hub": ("text", "benchmarks"),
    "tfx": ("pipelines",),
    "apache_beam": ("pipelines",),
    "tensorflow_transform": ("pipelines",),
    "tensorflow_model_analysis": ("pipelines",),
    "jax": (),
    "torch": ("benchmarks",),
    "transformers": ("benchmarks",),
    "tf_keras": (),
}
# The one exception: `tfmodels doctor` asks TensorFlow which devices it sees.
EXCEPTIONS = {("tfmodels/commands.py", "tensorflow")}


def room_of(path: str) -> str:
    """The room that a file lies in: "tfmodels/ops", "serving", or "tfmodels" for what lies directly there."""
    parts = Path(path).parts
    return "/".join(parts[:2]) if parts[0] == "tfmodels" and len(parts) > 2 else parts[0]


def imports_of(tree):
    """Every imported name with dots, in functions too, and every module named by a string in `import_module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute in this project"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            for argument in node.args:
                if isinstance(argument, ast.Constant):
                    yield argument.value, node.lineno


def offences(path: str, source: str) -> list[str]:
    """What a file of the project imports against the rules, one sentence each."""
    room, found, tree = room_of(path), [], ast.parse(source)
    own = room.split("/")[-1]
    for name, line in imports_of(tree):
        package, *rest = name.split(".")
        where = f"{path}:{line}"
        if package in GUARDED and own not in GUARDED[package] and (path, package) not in EXCEPTIONS:
            found.append(f"{where} imports {package}, which only {', '.join(GUARDED[package]) or 'nobody'} may")
        if name.startswith("tensorflow.keras"):
            found.append(f"{where} imports tf.keras")
        if package in ABOVE:
            if room not in ABOVE or (package != room and package not in ABOVE[room]):
                found.append(f"{where}: {room} may not enter {package}")
        elif package == "tfmodels" and room in ROOMS:
            target = rest[0] if rest else ""
            if target == own or target in LEAVES or target in ROOMS[room]:
                continue
            # `import tfmodels` itself hands out every room.
            found.append(f"{where}: {room} may not enter tfmodels{'.' + target if target else ''}")
        elif package in ("tests", "setup"):
            found.append(f"{where}: {room} may not enter {package}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "keras" and ast.unparse(node.value) in ("tf", "tensorflow"):
            found.append(f"{path}:{node.lineno} uses tf.keras")
    return found


FILES = sorted(
    path.relative_to(ROOT).as_posix() for package in ("tfmodels", *ABOVE) for path in (ROOT / package).rglob("*.py")
)


def test_there_are_files_to_look_at_and_every_room_is_in_the_table():
    assert len(FILES) > 40
    rooms = {room_of(path) for path in FILES}
    assert rooms <= {"tfmodels", *ROOMS, *ABOVE}, f"{rooms - {'tfmodels', *ROOMS, *ABOVE}} are in no table"


@pytest.mark.parametrize("path", FILES)
def test_doors_open_the_right_way(path):
    assert offences(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "path, source, offence",
    [
        ("tfmodels/ops/new.py", "import tensorflow as tf", "imports tensorflow"),
        ("tfmodels/models/new.py", "def f():\n    from tensorflow import nn", "imports tensorflow"),
        ("tfmodels/registry.py", "import tensorflow", "imports tensorflow"),
        ("tfmodels/ops/new.py", "from tfmodels.layers import Projection", "may not enter tfmodels.layers"),
        ("tfmodels/layers/new.py", "from tfmodels import models", "may not enter tfmodels.models"),
        ("tfmodels/layers/new.py", "import tfmodels.training.fit", "may not enter tfmodels.training"),
        ("tfmodels/text/new.py", "from tfmodels.models import Backbone", "may not enter tfmodels.models"),
        ("tfmodels/interop/new.py", "from tfmodels.training import fit", "may not enter tfmodels.training"),
        ("tfmodels/metrics/new.py", "from tfmodels.registry import create_model", "may not enter tfmodels.registry"),
        ("tfmodels/ops/new.py", "import tfmodels", "may not enter tfmodels"),
        ("tfmodels/ops/new.py", "import importlib\nimportlib.import_module('tensorflow')", "imports tensorflow"),
        ("tfmodels/training/new.py", "import serving.export", "may not enter serving"),
        ("serving/new.py", "from pipelines.components import gate", "may not enter pipelines"),
        ("serving/new.py", "import tfx.v1 as tfx", "imports tfx"),
        ("serving/new.py", "from tests.support import to_numpy", "may not enter tests"),
        ("pipelines/new.py", "import tensorflow_text", "imports tensorflow_text"),
        ("tfmodels/training/new.py", "import tensorflow as tf\ntf.keras.layers.Dense(1)", "uses tf.keras"),
        ("tfmodels/training/new.py", "from tensorflow import keras", "imports tf.keras"),
        ("tfmodels/training/new.py", "import tensorflow.keras.layers", "imports tf.keras"),
        ("pipelines/new.py", "import tf_keras", "imports tf_keras"),
    ],
)
def test_a_door_opened_the_wrong_way_is_found(path, source, offence):
    assert any(offence in found for found in offences(path, source)), offences(path, source)


@pytest.mark.parametrize(
    "path, source",
    [
        ("tfmodels/ops/new.py", "from keras import ops\nfrom tfmodels.ops.masks import causal"),
        ("tfmodels/layers/new.py", "from tfmodels.errors import UserError\nfrom tfmodels.ops import attend"),
        ("tfmodels/training/new.py", "import tensorflow as tf\nfrom tfmodels.files import atomic_file"),
        ("tfmodels/commands.py", "from tfmodels import registry"),
        ("pipelines/new.py", "import tfmodels\nfrom serving import export_savedmodel\nimport tfx.v1 as tfx"),
    ],
)
def test_a_door_opened_the_right_way_is_let_be(path, source):
    assert offences(path, source) == []


def loaded_by(statement):
    """The packages that a statement loads, in a fresh process."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return {name.split(".")[0] for name in json.loads(result.stdout)}


HEAVY = {
    "keras",
    "tensorflow",
    "tfx",
    "apache_beam",
    "tensorflow_text",
    "keras_nlp",
    "keras_hub",
    "jax",
    "torch",
    "numpy",
}


@pytest.mark.parametrize(
    "statement", ["import tfmodels", "import tfmodels.cli", "import tfmodels.errors, tfmodels.files"]
)
def test_entering_the_house_loads_nothing_heavy(statement):
    assert loaded_by(statement) & HEAVY == set()
