"""The benchmarks run at tiny shapes and say what they measured: structure, no timings."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import (
    engine,
    grounding,
    growth,
    lookup,
    machine,
    peer,
    plan,
    plots,
    startup,
    targets,
)
from benchmarks.__main__ import main
from benchmarks.energy import Meter
from benchmarks.processes import Findings, Job, JobError, median, run, run_interleaved, spread
from edgespike.convert.synth import SHAPES

WINDOW = SHAPES["tiny"].window


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny INT8 model that fires at the published rates."""
    path = str(tmp_path_factory.mktemp("benchmarks") / "tiny.safetensors")
    engine.synth(path, "tiny", "int8")
    return path


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What a run of a part leaves behind, and where."""
    folder = tmp_path_factory.mktemp("run")
    arguments = ["--quick", "--rounds", "1", "--no-avx2", "--only", "decode-1", "depth"]
    assert main([*arguments, "--work", str(folder / "work"), "--out", str(folder)]) == 0
    return folder, json.loads((folder / "results.json").read_text())


def peer_or_skip() -> None:
    """Skip, saying why, where llama.cpp isn't installed."""
    try:
        peer.versions()
    except ImportError as error:
        pytest.skip(str(error))


def write_counter(root: Path, energy: int, limit: int = 1000) -> None:
    """A RAPL package with a part that must not be counted twice."""
    for name in ("intel-rapl:0", "intel-rapl:0:0"):
        (root / name).mkdir(exist_ok=True)
        (root / name / "energy_uj").write_text(f"{energy}\n")
        (root / name / "max_energy_range_uj").write_text(f"{limit}\n")


def test_energy_counts_packages_once_and_survives_a_wrap(tmp_path: Path) -> None:
    write_counter(tmp_path, 900)
    meter = Meter(tmp_path)
    write_counter(tmp_path, 950)
    assert meter.joules() == pytest.approx(50e-6)
    write_counter(tmp_path, 100)
    assert meter.joules() == pytest.approx(200e-6)
    assert meter.per_token(2) == pytest.approx(100e-6)


def test_without_counters_energy_is_unknown_and_says_why(tmp_path: Path) -> None:
    meter = Meter(tmp_path)
    assert meter.per_token(1) is None
    assert meter.problem is not None
    assert "no RAPL counters" in meter.problem


def test_medians_and_spreads_keep_the_structure() -> None:
    rounds = [{"a": {"x": n}, "b": [n, 2 * n], "c": "name", "d": None} for n in (1.0, 5.0, 2.0)]
    assert median(rounds) == {"a": {"x": 2.0}, "b": [2.0, 4.0], "c": "name", "d": None}
    assert spread(rounds)["a"]["x"] == 2.0


def test_a_job_runs_in_another_process_and_gives_its_result(model: str) -> None:
    found = run(
        Job("x", "benchmarks.engine:decode", {"model": model, "threads": 1, "tokens": 3}, 1)
    )
    assert found["tokens_per_s"] > 0
    assert found["first_token_s"] is None


def test_a_failing_job_says_why_in_one_line_and_is_not_repeated() -> None:
    job = Job("x", "benchmarks.engine:prefill", {"model": "absent", "threads": 1, "lengths": [1]})
    with pytest.raises(JobError, match="absent") as caught:
        run(job)
    assert "\n" not in str(caught.value)
    said: list[str] = []
    findings = Findings()
    run_interleaved([Job("y", "benchmarks.absent:task", rounds=3)], findings, said.append)
    assert len(said) == 1
    assert "No module named" in findings.failed["y"]


def test_a_job_that_hangs_is_ended() -> None:
    with pytest.raises(JobError, match="more than"):
        run(Job("x", "subprocess:run", {"args": ["sleep", "600"]}, timeout_s=0.5))


def test_jobs_take_turns() -> None:
    said: list[str] = []
    jobs = [Job(name, "benchmarks.startup:import_time", rounds=2) for name in ("a", "b")]
    findings = Findings()
    run_interleaved(jobs, findings, said.append)
    assert [line.split()[0] for line in said] == ["a", "b", "a", "b"]
    assert all(len(found) == 2 for found in findings.samples.values())


def test_prefill_reports_each_length_and_fills_the_window(model: str) -> None:
    found = engine.prefill(model, 1, [4, 40], tail=5)
    assert set(found["tokens_per_s"]) == {"4", "40"}
    assert found["position"] == 45
    assert 0 < found["private_bytes"] <= found["resident_bytes"] <= found["peak_bytes"]


def test_bytes_grow_with_depth_up_to_the_window(model: str) -> None:
    found = engine.depth(model, [0, WINDOW // 2, 2 * WINDOW, 4 * WINDOW], 2, 1)
    empty, half, full, beyond = found["bytes_per_token"].values()
    assert empty < half < full == beyond
    assert len(found["tokens_per_s"]) == 4


def test_bytes_grow_with_the_firing_rate_that_was_asked_for(model: str) -> None:
    low, high = (engine.firing(model, rate, 64) for rate in (0.02, 0.4))
    assert low["rate"] == pytest.approx(0.02, abs=0.02)
    assert high["rate"] == pytest.approx(0.4, abs=0.08)
    assert low["bytes_per_token"] < high["bytes_per_token"]


def test_firing_leaves_the_file_as_it_is(model: str) -> None:
    before = Path(model).read_bytes()
    engine.firing(model, 0.3, 4)
    assert Path(model).read_bytes() == before


def test_steps_and_sessions_are_timed_for_every_size(model: str) -> None:
    assert set(engine.steps(model, [1, 4], 1)["milliseconds"]) == {"1", "4"}
    one, four = (engine.sessions(model, count, 2) for count in (1, 4))
    assert one["bytes_each"] == four["bytes_each"] > 0


def test_drafts_leave_the_text_as_it_is_and_both_ways_are_timed(model: str) -> None:
    found = lookup.lookup(model, 2)
    assert found["identical_text"]
    assert found["answers"] == 2
    assert min(found[key] for key in ("speedup", "drafts", "nothing_to_copy", "choices")) > 0


def test_enforcing_costs_a_share_of_a_token() -> None:
    found = grounding.grounding(answers=4, repeats=1)
    assert (found["answers"], found["refused"]) == (4, 0)
    assert found["cost"] > -1


def test_sensors_and_prompts_are_costed() -> None:
    found = growth.sensors(20, 100, 448, 1)
    assert found["channels"] == 20
    assert min(found[key] for key in ("message_us", "events_per_s", "picture_ms")) > 0


def test_a_prompt_names_the_sensors_in_it_and_those_left_out() -> None:
    sensing = growth.new_sensing(20)
    growth.fill(sensing, 20)
    prompt = growth.render(growth.look(sensing), 448)
    assert len(prompt.ids) <= 448
    # Some of all 20 channels: what stands in no line is named as left out.
    assert 0 < len(prompt.used) < 20
    assert len({*prompt.used, *prompt.left_out}) == 20


def test_events_are_taken_in_while_decoding(model: str) -> None:
    found = growth.events(model, [1000], 0.05, 20, 1)
    assert found["achieved_per_s"]["1000"] > 0
    assert found["slowdown"]["1000"] < 1


def test_the_first_answer_about_40_sensors(model: str) -> None:
    found = startup.prompt(model, 40, 448)
    assert 40 < found["prompt_tokens"] <= 448
    assert found["milliseconds"] > found["render_ms"] > 0


def test_the_peers_have_the_published_sizes() -> None:
    def weights(name: str) -> float:
        sizes = [size for _, size in peer._tensors(peer.SHAPES[name]) if len(size) == 2]
        return sum(rows * columns for rows, columns in sizes) * 34 / 32

    assert weights("TinyLlama-1.1B") == pytest.approx(1.17e9, rel=0.01)
    assert weights("Falcon3-1B") == pytest.approx(1.78e9, rel=0.01)


def test_the_peer_decodes_a_file_that_we_wrote(tmp_path: Path) -> None:
    peer_or_skip()
    path = str(tmp_path / "tiny.gguf")
    facts = peer.write(path, "tiny")
    assert 0 < facts["bytes_per_token"] < facts["bytes"] == Path(path).stat().st_size
    assert peer.decode(path, 1, 4, depth=12)["tokens_per_s"] > 0
    assert peer.prefill(path, 1, [16])["tokens_per_s"]["16"] > 0


def test_a_run_keeps_facts_samples_and_no_path(document: tuple[Path, dict[str, Any]]) -> None:
    folder, found = document
    assert found["failed"] == {}
    assert found["machine"]["cores"] >= 1
    for job in ("bandwidth/1", "decode/int8/1", "decode/fp32/1", "decode/fp32-rowmajor/1"):
        assert len(found["results"][job]["samples"]) >= 1
    text = json.dumps(found)
    assert str(folder) not in text
    assert sys.executable not in text
    traffic = {p: targets.value(found, f"decode/{p}/1", "bytes_per_token") for p in
               ("int8", "fp32", "fp32-rowmajor")}  # fmt: skip
    assert traffic["int8"] < traffic["fp32"] < traffic["fp32-rowmajor"]  # type: ignore[operator]


def test_what_was_left_out_is_named(document: tuple[Path, dict[str, Any]]) -> None:
    _, found = document
    verdicts = {target["name"]: target["verdict"] for target in found["targets"]}
    assert verdicts["daemon start to ready"] == "not measured"
    assert ("llama.cpp" in found["skipped"]) == (found["peers"] == {})


def test_a_run_can_be_shown_again(
    document: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = document
    assert main(["--show", str(folder / "results.json")]) == 0
    shown = capsys.readouterr().out
    for words in ("fp32-rowmajor", "share of read bandwidth", "decode tok/s by tokens before"):
        assert words in shown


def test_plots_are_drawn(document: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    problem = plots.available()
    if problem:
        pytest.skip(problem)
    written = plots.draw(document[1], tmp_path)
    assert {"ladder.png", "threads.png", "depth.png"} <= {path.name for path in written}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_a_target_that_was_not_measured_is_not_missed() -> None:
    assert targets.Target("x", None, 1, 2).verdict == "not measured"
    assert [targets.Target("x", v, 1, 2).verdict for v in (0.5, 1, 2)] == ["missed", "must", "aim"]
    assert targets.Target("x", 1.2, 1.35, 1.15, most=True).verdict == "must"


def test_no_target_is_judged_by_what_was_disturbed() -> None:
    assert targets.Target("x", 9, 1, 2, disturbed=True).verdict == "disturbed"
    found = {
        "results": {},
        "peers": {},
        "settings": {"prefill": 512, "window": 512},
        "disturbed": {"lookup": 0.9, "decode/int8/1": 0.5},
    }
    hit = {target.name for target in targets.targets(found) if target.disturbed}
    assert "sensor answers vs token by token" in hit
    assert "int8 vs fp32-rowmajor" in hit
    assert "step of 4 positions vs 1" not in hit


def test_foreign_processor_time_is_noticed() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        findings = Findings()
        job = Job("y", "subprocess:call", {"args": ["sleep", "1"]})
        run_interleaved([job], findings, lambda _: None)
    finally:
        busy.kill()
        busy.wait()
    assert findings.others["y"] > 0.15


def test_ratios_are_taken_round_by_round() -> None:
    def job(*speeds: float) -> dict[str, Any]:
        return {"samples": [{"s": speed} for speed in speeds]}

    found = {"results": {"a": job(20, 40, 10), "b": job(10, 20, 5)}}
    assert targets.ratio(found, ("a", "s"), ("b", "s")) == 2
    assert targets.ratio(found, ("a", "s"), ("absent", "s")) is None


def test_every_job_of_a_full_run_names_a_task_that_exists() -> None:
    models = {name: Path(f"{name}.safetensors") for name in plan.precisions()}
    made = plan.Plan(plan.FULL, models, (plan.Peer("p", Path("p.gguf")),))
    jobs = [job for _, group in plan.groups(made) for job in group]
    assert len({job.name for job in jobs}) == len(jobs)
    for job in jobs:
        module, _, task = job.task.partition(":")
        arguments = set(job.arguments) - {"from_start"}
        code = getattr(importlib.import_module(module), task).__code__
        assert arguments <= set(code.co_varnames[: code.co_argcount]), job.name


def test_a_machine_is_named_after_its_processor() -> None:
    facts = {"cpu": "Intel(R) Core(TM) i7-1 CPU @ 1.80GHz", "cores": 4}
    assert machine.slug(facts) == "intel-core-i7-1-4-cores"
