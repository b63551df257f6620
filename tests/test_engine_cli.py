"""generate, bench and warmup, as they are called."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from engine_models import random_weights, write_model
from test_session import CONFIG
from tokenizers_for_tests import small_tokenizer

import edgespike
from edgespike.bench.speed import weight_bytes_per_token
from edgespike.cli import main
from edgespike.convert.synth import synth
from edgespike.grounding import Grounds


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("cli") / "m.safetensors"
    return str(
        write_model(target, CONFIG, random_weights(CONFIG, seed=5), "int8", small_tokenizer())
    )


def test_generate_prints_the_continuation(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "the kitchen", "--model", path, "-n", "12"]) == 0
    shown = capsys.readouterr().out
    pieces = edgespike.load(path).generate("the kitchen", max_tokens=12, stop_tokens=[2])
    assert shown == "".join(piece.text for piece in pieces) + "\n"


def test_generate_reads_standard_input_and_reports_as_json(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the kitchen")))
    assert main(["generate", "-", "--model", path, "-n", "5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["tokens"]) == 5
    assert facts["finish_reason"] == "length"
    assert 0 < facts["first_token_ms"] <= facts["total_ms"]


def test_generate_takes_and_prints_ids(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "1 17, 4", "--ids", "--model", path, "-n", "6"]) == 0
    ids = [int(word) for word in capsys.readouterr().out.split()]
    pieces = edgespike.load(path).generate([1, 17, 4], max_tokens=6)
    assert ids == [piece.token for piece in pieces if piece.token is not None]


def test_generate_keeps_to_the_numbers_of_the_text(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "boiler 91.2 rising", "--model", path, "-n", "60", "--temperature", "9"]
    said = []
    for more in ([], ["--grounded"]):
        assert main([*command, *more]) == 0
        said.append(capsys.readouterr().out)
    free, grounded = (Grounds(["boiler 91.2 rising"]).check(text) for text in said)
    assert free, "a model that invents nothing proves nothing"
    assert not grounded


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["generate", "one two", "--ids"], 64, "--ids needs whole numbers"),
        (["generate", "1 2", "--ids", "--grounded"], 64, "--grounded needs text"),
        (["generate", "99999", "--ids"], 64, "outside the vocabulary"),
        (["generate", "x", "--temperature", "-1"], 64, "temperature is -1.0"),
        (["generate", "x", "--isa", "sse9"], 64, "choose one of native, avx2, generic"),
        (["generate", "x", "--seed", "-1"], 64, "seed is -1"),
        (["bench", "--threads", "1000"], 64, "threads is 1000"),
    ],
)
def test_wrong_use_is_one_line_and_a_status(
    path: str,
    arguments: list[str],
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*arguments, "--model", path]) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_model_is_one_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "x", "--model", "nowhere.safetensors"]) == 66
    assert "nowhere.safetensors" in capsys.readouterr().err


def test_bench_reports_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "tiny.safetensors"
    synth(target, "tiny")
    arguments = ["bench", "--model", str(target), "--decode", "8", "--prefill", "40"]
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["decode_tokens_per_s"] > 0
    assert facts["prefill_tokens_per_s"] > 0
    assert facts["bandwidth_share"] > 0
    assert facts["resident_bytes"] <= facts["peak_resident_bytes"]
    assert main(arguments) == 0
    table = capsys.readouterr().out
    for word in ("decode", "prefill", "bandwidth", "firing rate", "resident"):
        assert word in table


def test_weight_traffic_follows_the_spikes(tmp_path: Path) -> None:
    """Counted by hand from the firing rates; everything is read in the row-major layout."""
    for precision, size in [("int8", 1.0), ("int4", 1.0), ("fp32", 4.0), ("fp32-rowmajor", 4.0)]:
        path = tmp_path / precision
        synth(path, "tiny", precision)  # type: ignore[arg-type]
        session = edgespike.load(path).session()
        session.advance(list(range(64)))
        config, rates = session.model.config, session.spike_rates
        D, F, L = config.embed_dim, config.intermediate_dim, config.n_layers
        dense = L * (4 * D * D + F * D) + config.vocab_size * D + config.prior_dim * D
        dense += config.vocab_size * (64 if precision == "int4" else config.prior_dim)  # padded
        dense = (dense / 2 if precision == "int4" else dense) + D
        fired = sum(r * D * D for r in [rates["encoder"], *rates["layers"][:-1]])
        fired += sum(r * F * D for r in rates["feed_forward"])
        if precision == "fp32-rowmajor":
            fired = L * (D * D + F * D)
        vectors = weight_bytes_per_token(session) - size * (dense + fired)
        assert 0 < vectors < 0.2 * size * dense


def test_after_warmup_a_model_compiles_nothing(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["warmup"]) == 0
    assert "ready in" in capsys.readouterr().out
    from edgespike.kernels.step import advance

    before = len(advance.signatures)
    edgespike.load(path, threads=2).session().advance([1, 2, 3])
    assert len(advance.signatures) == before == 1


def run(command: str) -> subprocess.CompletedProcess[str]:
    """A command line, with `edgespike` in it, in a shell of its own."""
    return subprocess.run(
        ["bash", "-c", command.replace("edgespike", f"{sys.executable} -m edgespike")],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["edgespike profiles", "edgespike config init"])
def test_output_that_can_not_be_written_is_one_line_and_a_status(command: str) -> None:
    full = run(f"{command} >/dev/full")
    assert full.returncode == 74
    assert full.stderr == "edgespike: [Errno 28] No space left on device\n"
    assert run(f"{command} >&-").stderr == ""
    assert run(f"{command} | head -c 0; exit ${{PIPESTATUS[0]}}").stderr == ""


def test_without_a_place_for_kernels_they_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "below-a-file")
    names = ["HOME", "NUMBA_CACHE_DIR", "CACHE_DIRECTORY", "XDG_CACHE_HOME"]
    places = dict.fromkeys(names, nowhere)
    code = "from edgespike.kernels import compiler; print(compiler.cache_folder().is_dir())"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | places | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "True\n"
    assert "set CACHE_DIRECTORY" in ended.stderr
    assert os.listdir(tmp_path) == ["file"]


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warmup", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["isa"] == "native"
    assert main(["profiles", "tasmota", "--json"]) == 0
    assert "topics" in json.loads(capsys.readouterr().out)
