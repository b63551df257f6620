"""The tree keeps its own rules: imports point one way, and each heavy library has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "edgespike"

# From the bottom up: a module may import those before it, and its own group.
LAYERS = [
    "errors", "topics", "units", "messages", "settings", "profiles", "config",
    "telemetry",
    "sensing", "prompting", "tokenizer", "grounding", "model", "kernels", "engine",
    "agent", "convert", "evaluate", "bench", "doctor", "deploy", "cli",
]  # fmt: skip
# Groups on the same level, which may not import each other, but for what the demo and the commands
# of the top need.
HOMES = {
    "numba": ["edgespike/kernels/"],
    "llvmlite": ["edgespike/kernels/"],
    "paho": ["edgespike/agent/"],
    "iotcore": ["edgespike/agent/"],
    "torch": ["training/"],
}
SOURCES = sorted(PACKAGE.rglob("*.py")) + sorted((ROOT / "training").rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def group(module: str) -> str:
    """`edgespike.model.config` -> `model`."""
    return module.split(".")[1]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_imports_point_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[0] in ("__init__", "__main__"):
        return  # the public face, which imports lazily
    own = LAYERS.index(parts[0])
    for name in imports(path):
        if name.startswith("edgespike.") and group(name) in LAYERS:
            assert LAYERS.index(group(name)) <= own, f"{path.name} imports {name}"


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_has_one_home(library: str) -> None:
    for path in SOURCES:
        if library in {name.split(".")[0] for name in imports(path)}:
            place = path.relative_to(ROOT).as_posix()
            assert any(place.startswith(home) for home in HOMES[library]), place


def test_every_top_level_module_has_its_layer() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py"}
    found |= {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert found - {"__init__", "__main__"} <= set(LAYERS)


def test_no_module_is_longer_than_five_hundred_lines() -> None:
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 500, path


def test_importing_the_package_and_building_the_command_line_load_nothing_heavy() -> None:
    code = (
        "import sys, edgespike, edgespike.cli; edgespike.cli.build_parser();"
        "heavy = {'numpy', 'numba', 'paho', 'yaml', 'structlog', 'sentencepiece', 'rich',"
        " 'sqlite3', 'iotcore', 'torch'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_log_loads_no_rich_and_leaves_it_to_others() -> None:
    code = (
        "import sys, edgespike.telemetry as t; loaded = 'rich' in sys.modules;"
        "import rich.table; print(loaded, t.structlog.dev.rich)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False None"
