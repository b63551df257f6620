"""convert, synth, inspect and verify, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_files import GOLDEN, data_start, write_container

from edgespike.cli import main
from edgespike.model.container import open_container

SOURCE = str(GOLDEN / "small-194m" / "checkpoint.pt")


def test_convert_then_inspect_then_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "m.safetensors")
    assert main(["convert", SOURCE, target, "--precision", "fp32"]) == 0
    assert (
        capsys.readouterr().out == f"{target}: fp32, {Path(target).stat().st_size / 1e6:.1f} MB\n"
    )
    assert main(["inspect", target]) == 0
    shown = capsys.readouterr().out
    assert "blocks.*.tcam.sparse_attn.q_proj.weight (3)" in shown
    assert "input-major" in shown
    assert main(["inspect", target, "--tensors"]) == 0
    assert "blocks.2.tcam.sparse_attn.q_proj.weight" in capsys.readouterr().out
    assert main(["verify", target]) == 0
    assert capsys.readouterr().out.startswith(f"{target}: whole; ")


def test_json_output_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "m.safetensors")
    assert main(["convert", SOURCE, target, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["target"], made["precision"], made["ignored"]) == (target, "int8", [])
    assert main(["inspect", target, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["config"] == made["config"]
    assert {"name", "dtype", "shape", "offset", "nbytes", "layout"} == set(facts["tensors"][0])
    assert main(["verify", target, "--json"]) == 0
    whole = {"file": target, "whole": True, "tensors": len(facts["tensors"])}
    assert json.loads(capsys.readouterr().out) == whole


def test_synth_names_its_file_after_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["synth", "--shape", "tiny", "--precision", "fp32-rowmajor"]) == 0
    container = open_container("synth-tiny-fp32-rowmajor.safetensors")
    assert container.json("firing")["encoder"] == 0.046
    assert main(["inspect", "synth-tiny-fp32-rowmajor.safetensors"]) == 0
    assert '"encoder": 0.046' in capsys.readouterr().out


def test_damage_is_one_line_on_stderr_and_65(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_container(tmp_path / "m.safetensors")
    raw = bytearray(path.read_bytes())
    raw[data_start(path)] ^= 1
    path.write_bytes(raw)
    assert main(["verify", str(path)]) == 65
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"edgespike: {path}: tensor spike_encoder.frontend.text_embedding.weight")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["verify", "absent.safetensors"], 66),
        (["inspect", "absent.safetensors"], 66),
        (["convert", "absent.pt", "m"], 66),
        (["convert", SOURCE], 64),
        (["convert", SOURCE, "m", "--precision", "int3"], 64),
        (["convert", SOURCE, "absent/m"], 66),
        (["convert", __file__, "m"], 65),
        (["synth", "m", "--seed", "-1"], 64),
        (["synth", "m", "--shape", "7b"], 64),
    ],
)
def test_mistakes_end_with_the_code_of_sysexits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    assert capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["convert", "synth", "inspect", "verify"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"example:\n  edgespike {command}" in shown
    assert "%%" not in shown
