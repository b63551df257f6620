"""What of a model file is in memory: a budget before the map, letting go, locking."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from engine_models import random_weights, write_model

import edgespike
from edgespike.errors import UnavailableError
from edgespike.model import filemap
from edgespike.model.config import ModelConfig
from edgespike.model.container import open_container
from edgespike.model.tensors import EMBEDDING

CONFIG = ModelConfig(
    vocab_size=20_000, embed_dim=64, n_layers=1, n_heads=4, head_dim=16, intermediate_dim=100,
    window=9, anchors=2, active_vocab=20_000,
)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filemap") / "m.safetensors"
    return write_model(path, CONFIG, random_weights(CONFIG), "int8")


def status_kib(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise AssertionError(key)


def test_the_budget_is_checked_before_anything_is_mapped(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = []
    original = filemap.FileMap.__init__
    monkeypatch.setattr(
        filemap.FileMap, "__init__", lambda self, *a: (mapped.append(1), original(self, *a))[1]
    )
    with pytest.raises(UnavailableError, match=r"the board allows 64: .* memory_mb"):
        edgespike.load(path, budget=64 << 20)
    assert mapped == []
    edgespike.load(path, budget=128 << 20)
    assert mapped == [1]


def test_what_is_let_go_reads_the_same(path: Path) -> None:
    container = open_container(path, verify=False)
    before = container.array(EMBEDDING).copy()
    held = status_kib("RssFile")
    container.forget(EMBEDDING)
    assert status_kib("RssFile") < held - before.nbytes // 1024 // 2
    assert (container.array(EMBEDDING) == before).all()


def test_a_locked_model_stays_or_the_refusal_says_what_to_do(path: Path) -> None:
    """As nobody, who may lock nothing."""
    script = (
        "import os, resource, sys\n"
        "from edgespike.errors import UnavailableError\n"
        "from edgespike.model.container import open_container\n"
        "container = open_container(sys.argv[1], verify=False)\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        "if os.geteuid() == 0:\n"
        "    os.setresuid(65534, 65534, 65534)\n"
        "try:\n"
        "    container.file_map.lock()\n"
        "except UnavailableError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert "can't lock the model's" in run.stdout
    assert "(0 KiB are allowed); set LimitMEMLOCK=infinity" in run.stdout


def test_locked_pages_are_not_let_go(path: Path) -> None:
    container = open_container(path, verify=False)
    before = status_kib("VmLck")
    try:
        container.file_map.lock()
    except UnavailableError:
        pytest.skip("this user may not lock so much memory")
    assert status_kib("VmLck") - before >= path.stat().st_size // 1024
    container.forget(EMBEDDING)
    assert (container.array(EMBEDDING)[:3] == container.array(EMBEDDING)[:3]).all()


def test_huge_pages_are_asked_for_or_the_refusal_says_what_to_do(path: Path) -> None:
    supported = Path("/sys/kernel/mm/transparent_hugepage").exists()
    with nullcontext() if supported else pytest.raises(UnavailableError, match="huge_pages: false"):
        edgespike.load(path, huge_pages=True)
