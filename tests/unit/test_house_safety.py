"""What no file of the package does: run data as code, or lean on the library that tests it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "kosmos2"
FILES = sorted(PACKAGE.rglob("*.py"))

RUNS_DATA = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
TEST_ONLY = {"transformers", "sentencepiece", "torchvision"}
CALLS = {
    "eval", "exec", "compile", "__import__",
    "torch.load", "torch.hub.load", "torch.serialization.load",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "os.system", "os.popen",
}  # fmt: skip
SETTINGS = {"allow_pickle", "shell", "trust_remote_code"}  # harmless only when plainly False


def faults(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of everything in a file that a file of ours must not do."""
    tree = ast.parse(source)
    full_names = dict(bindings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in full_names_of(node):
                if name.partition(".")[0] in RUNS_DATA | TEST_ONLY or name in CALLS:
                    yield node.lineno, f"import of {name}"
        elif isinstance(node, ast.Call):
            name = dotted(node.func, full_names)
            if name in CALLS:
                yield node.lineno, f"call of {name}"
            if name == "importlib.import_module" and node.args:
                target = getattr(node.args[0], "value", None)
                if str(target).partition(".")[0] in RUNS_DATA | TEST_ONLY:
                    yield node.lineno, f"import of {target}"
            for setting in node.keywords:
                off = isinstance(setting.value, ast.Constant) and setting.value.value is False
                if setting.arg in SETTINGS and not off:
                    yield node.lineno, f"setting of {setting.arg}"


def bindings(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What the names that a file imports stand for: `import torch as t` binds t to torch."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.asname, a.name) for a in node.names if a.asname)
        elif isinstance(node, ast.ImportFrom):
            yield from ((a.asname or a.name, f"{node.module}.{a.name}") for a in node.names)


def full_names_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names]


def dotted(node: ast.expr, full_names: dict[str, str]) -> str:
    """The full name of what is called: "torch.load", or "" for the result of an expression."""
    if isinstance(node, ast.Name):
        return full_names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, full_names)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def test_no_file_runs_data_as_code() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{line}: {what}"
        for file in FILES
        for line, what in faults(file.read_text())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x', weights_only=True)",
        "import torch as t\nt.load('x')",
        "from torch import load as get\nget('x')",
        "from torch import load",
        "eval('1')",
        "exec('1')",
        "import yaml\nyaml.load(f)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import numpy as np\nnp.load(f, allow_pickle=flag)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "load(name, trust_remote_code=True)",
        "def later():\n    import transformers",
        "from transformers.models import kosmos2",
        "import torchvision.ops",
        "import importlib\nimportlib.import_module('sentencepiece')",
        "from importlib import import_module\nimport_module('transformers.models')",
    ],
)
def test_each_forbidden_thing_would_be_seen(source: str) -> None:
    assert list(faults(source))


@pytest.mark.parametrize(
    "source",
    [
        "network.eval()",
        "import re\nre.compile('a')",
        "import numpy as np\nnp.load(f, allow_pickle=False)",
        "import subprocess\nsubprocess.run(['ls'])",
        "import json\njson.load(f)",
        "raise CheckpointError('model.bin is a pickle; torch.load would run it')",
    ],
)
def test_what_is_harmless_is_left_alone(source: str) -> None:
    assert not list(faults(source))


def test_no_file_is_named_after_nothing() -> None:
    """A file called utils.py gathers whatever has no home, and so has no meaning of its own."""
    nameless = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not [str(f) for f in FILES if f.stem in nameless or f.parent.name in nameless]


def test_every_file_says_what_it_is_for() -> None:
    written = [file for file in FILES if file.read_text().strip()]
    unsaid = [str(file) for file in written if not ast.get_docstring(ast.parse(file.read_text()))]
    assert not unsaid, "no docstring at the top of: " + ", ".join(unsaid)
