"""The PyTorch model is the engine's; a run can be stopped, resumed, exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install edgespike[train]")

import edgespike  # noqa: E402
from edgespike.convert import convert  # noqa: E402
from edgespike.convert.quantise import quantise_rows  # noqa: E402
from edgespike.errors import DataError, MissingInputError, UsageError  # noqa: E402
from edgespike.model.config import ModelConfig  # noqa: E402
from training.compare import compare, table  # noqa: E402
from training.dialogues import batch  # noqa: E402
from training.export import export  # noqa: E402
from training.feed import Feed  # noqa: E402
from training.model import SymbolicLight, from_official, official_config  # noqa: E402
from training.recipe import Recipe  # noqa: E402
from training.text import train_tokenizer  # noqa: E402
from training.train import Run, measure, new_model, open_run, train, train_step  # noqa: E402
from training.turns import FOLLOW, WEIGHTS  # noqa: E402

GOLDEN = Path(__file__).parent / "data" / "golden"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/checkpoint.pt"))
RECOMPUTED = ("v_mem", "_cached_mask", "inv_freq")
TINY = Recipe(width=32, layers=2, heads=2, hidden=64, pieces=600, batch=2, length=160, steps=6)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    train_tokenizer(path, pieces=TINY.pieces, lines=5000)
    return path


@pytest.fixture
def new_run(tmp_path: Path, vocabulary: Path) -> Callable[..., Run]:
    """Opens the run of that name, with a tokenizer that is ready."""

    def opened(name: str = "run", **changes: object) -> Run:
        (tmp_path / name).mkdir(exist_ok=True)
        shutil.copy(vocabulary, tmp_path / name)
        return open_run(tmp_path / name, replace(TINY, **changes))

    return opened


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def load(case: str) -> tuple[SymbolicLight, dict[str, np.ndarray]]:
    checkpoint = torch.load(GOLDEN / case / "checkpoint.pt", weights_only=True)
    model = SymbolicLight(from_official(checkpoint["config"]))
    weights = {k: v for k, v in checkpoint["model"].items() if not any(r in k for r in RECOMPUTED)}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert set(missing) <= {"output_head.prior_weight"}
    assert not unexpected
    return model, np.load(GOLDEN / case / "expected.npz")


@pytest.mark.parametrize("case", CASES)
def test_it_computes_the_golden_logits(case: str) -> None:
    model, expected = load(case)
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(expected["tokens"].astype(np.int64))[None])
    np.testing.assert_allclose(logits[0].numpy(), expected["full_logits"], atol=1e-4, rtol=0)


def test_a_golden_checkpoint_can_be_fine_tuned() -> None:
    model, expected = load("small-08b")
    tokens = torch.from_numpy(expected["tokens"].astype(np.int64))[None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        logits, _ = model(tokens)
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], tokens[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_every_parameter_gets_a_gradient() -> None:
    """The surrogates carry it through both kinds of spikes, down to the embedding."""
    model, expected = load("small-08b")
    model(torch.from_numpy(expected["tokens"].astype(np.int64))[None])[0].square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_configuration_survives_the_official_form() -> None:
    config = ModelConfig(vocab_size=99, n_heads=3, embed_dim=48, head_dim=16, window=7, leak=0.9)
    assert from_official(official_config(config)) == config


def test_training_lowers_the_loss_and_writes_a_curve(new_run: Callable[..., Run]) -> None:
    run = new_run(steps=25, warmup=5)
    before = measure(run, "dev", 1).loss
    lines: list[str] = []
    train(run, lines.append)
    assert measure(run, "dev", 1).loss < 0.97 * before
    point = json.loads((run.directory / "curve.jsonl").read_text().splitlines()[-1])
    assert point["step"] == 25
    assert point["tokens"] == 25 * TINY.batch * TINY.length
    assert "dev" in lines[-1]
    assert 0 < len(point["families"]) <= len(WEIGHTS) + len(FOLLOW)


def step(run: Run) -> list[float]:
    """One step; the firing rates."""
    r = run.recipe
    made = batch(r.seed, run.step, "train", run.tokenizer, r.batch, r.length)
    return train_step(run, made)[2]


def test_batches_made_ahead_are_those_of_the_steps(new_run: Callable[..., Run]) -> None:
    run = new_run()
    r = run.recipe
    with Feed(r, run.directory / "tokenizer.model", 3) as feed:
        for number in (3, 4):
            made = batch(r.seed, number, "train", run.tokenizer, r.batch, r.length, r.prompt_weight)
            for one, two in zip(feed.take(), made, strict=True):
                assert np.array_equal(one, two)


def test_a_step_is_taken_from_the_exact_weights_along_the_gradient_of_the_rounded(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    before = {n: p.detach().clone() for n, p in run.model.named_parameters()}
    seen: dict[str, torch.Tensor] = {}
    forward = run.model.forward

    def look(*args: object) -> object:
        seen.update({n: p.detach().clone() for n, p in run.model.named_parameters()})
        return forward(*args)

    monkeypatch.setattr(run.model, "forward", look)
    for group in run.optimizer.param_groups:
        group["weight_decay"] = 0.0
    step(run)
    rate = run.optimizer.param_groups[0]["lr"]
    rounded = 0
    for name, parameter in run.model.named_parameters():
        exact = before[name]
        if exact.dim() == 2:
            units, scale = quantise_rows(exact.numpy())
            stored = torch.from_numpy(units * scale[:, None])
            torch.testing.assert_close(seen[name], stored, rtol=1e-5, atol=1e-8)
            rounded += not torch.equal(stored, exact)
        else:
            assert torch.equal(seen[name], exact)
        # Adam's first step is the rate, whatever the gradient.
        assert float((parameter.detach() - exact).abs().max()) <= 1.01 * rate
    assert rounded > 5


def test_a_resumed_run_ends_as_one_that_never_stopped(new_run: Callable[..., Run]) -> None:
    whole = new_run("whole")
    for _ in range(6):
        step(whole)
    first = new_run("parts")
    for _ in range(3):
        step(first)
    first.save()
    second = new_run("parts")
    assert second.step == 3
    for _ in range(3):
        step(second)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_run_that_is_told_to_stop_saves_between_two_steps(new_run: Callable[..., Run]) -> None:
    run = new_run(steps=50)
    train(run, lambda line: None, stop=lambda: run.step == 2)
    assert run.step == 2
    again = new_run(steps=50)
    assert again.step == 2
    assert again.elapsed_s == run.elapsed_s


GOLDEN_SHAPE = {"width": 64, "layers": 3, "heads": 4, "hidden": 192, "pieces": 512}


@pytest.mark.parametrize("case", ["small-08b", "small-194m"])
def test_a_run_can_begin_with_an_official_checkpoint(tmp_path: Path, case: str) -> None:
    start = GOLDEN / case / "checkpoint.pt"
    train_tokenizer(tmp_path / "tokenizer.model", pieces=512, lines=2000)
    recipe = replace(TINY, **GOLDEN_SHAPE, length=256, steps=15, warmup=5)
    run = open_run(tmp_path, recipe, start=start)
    given = torch.load(start, weights_only=True)["model"]
    assert all(torch.equal(p, given[n]) for n, p in run.model.named_parameters() if n in given)
    before = measure(run, "dev", 1).loss
    train(run, lambda line: None)
    assert measure(run, "dev", 1).loss < before


def test_a_run_can_begin_with_a_container(new_run: Callable[..., Run], tmp_path: Path) -> None:
    """With the weights that it stands for, half a step of the integers off at most."""
    run = new_run(steps=2)
    train(run, lambda line: None)
    export(run.directory, tmp_path / "model.safetensors")
    other = open_run(tmp_path / "on", run.recipe, start=tmp_path / "model.safetensors")
    assert other.tokenizer.size == run.tokenizer.size
    for (name, exact), given in zip(
        run.model.named_parameters(), other.model.parameters(), strict=True
    ):
        step = exact.detach().abs().amax(dim=-1, keepdim=True) / 127 if exact.dim() == 2 else 0.0
        assert ((exact - given).abs() <= 0.51 * step).all(), name
    convert(tmp_path / "run" / "checkpoint.pt", tmp_path / "coarse.safetensors", precision="int4")
    with pytest.raises(DataError, match="too coarse"):
        open_run(tmp_path / "no", run.recipe, start=tmp_path / "coarse.safetensors")


def test_an_export_can_be_blended_with_what_the_run_began_with(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = new_run(steps=2)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    torch.save({"model": before}, tmp_path / "before.pt")
    train(run, lambda line: None)
    export(run.directory, tmp_path / "m.safetensors", blend=tmp_path / "before.pt", share=0.25)
    made = torch.load(run.directory / "checkpoint.pt", weights_only=True)["model"]
    for name, value in run.model.state_dict().items():
        assert torch.allclose(made[name], 0.25 * value + 0.75 * before[name], atol=1e-7), name
    assert json.loads((tmp_path / "m.json").read_text())["share"] == 0.25
    with pytest.raises(DataError, match="other tensors"):
        export(run.directory, tmp_path / "m.safetensors", blend=GOLDEN / CASES[0] / "checkpoint.pt")


def test_an_export_can_be_blended_with_a_container(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = new_run(steps=2)
    train(run, lambda line: None)
    export(run.directory, tmp_path / "whole.safetensors")
    whole = torch.load(run.directory / "checkpoint.pt", weights_only=True)["model"]
    export(
        run.directory, tmp_path / "m.safetensors", blend=tmp_path / "whole.safetensors", share=0.5
    )
    made = torch.load(run.directory / "checkpoint.pt", weights_only=True)["model"]
    for name, value in whole.items():
        step = float(value.abs().max()) / 127
        assert torch.allclose(made[name], value, rtol=0, atol=0.26 * step), name


def test_a_checkpoint_of_another_shape_is_refused(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    recipe = new_run().recipe
    with pytest.raises(DataError, match="another shape"):
        open_run(tmp_path / "run", recipe, start=GOLDEN / "small-08b" / "checkpoint.pt")
    with pytest.raises(MissingInputError, match="no such checkpoint"):
        open_run(tmp_path / "run", recipe, start=tmp_path / "none.pt")


def test_the_rate_warms_up_and_falls_to_a_twentieth() -> None:
    recipe = Recipe(steps=1000, warmup=100, rate=1.0)
    rates = [recipe.rate_at(step, 0.0) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) > 0.9
    assert rates[1000] == pytest.approx(0.05)
    by_time = Recipe(minutes=10)
    assert by_time.progress(10**6, 300.0) == pytest.approx(0.5)


def test_an_exported_run_is_the_same_model_in_the_engine(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = new_run(steps=3)
    train(run, lambda line: None)
    export(tmp_path / "run", tmp_path / "made.safetensors")
    convert(tmp_path / "run" / "checkpoint.pt", tmp_path / "exact.safetensors", precision="fp32")
    model = edgespike.load(tmp_path / "made.safetensors")
    exact = edgespike.load(tmp_path / "exact.safetensors")
    tokens = [1, 14, 50, 300, 77, 599, 20, 20, 41]
    with torch.no_grad():
        logits, _ = run.model(torch.tensor([tokens]))
    said = exact.session().advance(tokens, all_logits=True)
    np.testing.assert_allclose(said, logits[0].numpy(), atol=1e-4, rtol=0)
    assert model.tokenizer.size == TINY.pieces
    record = json.loads((tmp_path / "made.json").read_text())
    assert record["recipe"]["seed"] == TINY.seed
    assert record["curve"][-1]["step"] == record["steps"] == 3


@pytest.mark.parametrize("width", [32, 192])
def test_the_dense_twin_has_the_size_of_the_spiking_model(width: int) -> None:
    recipe = replace(TINY, width=width, hidden=4 * width)
    sizes = [
        sum(p.numel() for p in new_model(replace(recipe, kind=kind)).parameters())
        for kind in ("spiking", "dense")
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.005)


def test_the_dense_twin_learns_by_the_same_code_and_is_not_exported(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = new_run(kind="dense", steps=25, warmup=5)
    before = measure(run, "dev", 1).loss
    train(run, lambda line: None)
    assert measure(run, "dev", 1).loss < 0.97 * before
    with pytest.raises(DataError, match="dense twin"):
        export(run.directory, tmp_path / "made.safetensors")
    with pytest.raises(DataError, match="no kind of model"):
        new_model(replace(TINY, kind="quantum"))


def test_the_twin_looks_only_back() -> None:
    model = new_model(replace(TINY, kind="dense"))
    tokens = torch.randint(0, TINY.pieces, (1, 12))
    with torch.no_grad():
        whole = model(tokens)[0][0, :8]
        part = model(tokens[:, :8])[0][0]
    assert torch.allclose(whole, part, atol=1e-5)


def test_a_penalty_makes_fewer_units_fire(new_run: Callable[..., Run]) -> None:
    rates = []
    for penalty in (0.0, 30.0):
        run = new_run(f"penalty {penalty}", firing_penalty=penalty, rate=5e-3, warmup=1)
        rates.append([sum(step(run)) for _ in range(8)][-1])
    assert rates[1] < 0.9 * rates[0]


def test_a_gap_behind_the_anchors_changes_what_is_far_only() -> None:
    """What lies within reach keeps its distances: without anchors nothing changes at all."""
    tokens = torch.randint(0, TINY.pieces, (1, 20))
    for anchors, same in ((0, True), (4, False)):
        torch.manual_seed(1)
        model = new_model(replace(TINY, anchors=anchors))
        with torch.no_grad():
            here, late = (model(tokens, gap=gap)[0] for gap in (0, 1000))
        assert torch.allclose(here, late, atol=1e-3) is same


def test_variants_are_trained_on_the_same_and_compared(
    tmp_path: Path, vocabulary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given(target: Path, *, pieces: int, seed: int) -> None:
        assert (pieces, seed) == (Recipe().pieces, Recipe().seed)
        shutil.copy(vocabulary, target)

    monkeypatch.setattr("training.compare.train_tokenizer", given)
    names = ["1m", "1m-dense"]
    lines: list[str] = []
    found = compare(tmp_path, lines.append, steps=2, batch=2, only=names)
    assert [each["tokens"] for each in found] == [2 * 2 * Recipe().length] * 2
    assert found[0]["bytes_per_token"] < found[0]["parameters"]
    rows = table(found).splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| 1m", "| 1m-dense"]
    lines.clear()
    assert compare(tmp_path, lines.append, steps=2, batch=2, only=names) == found
    assert not lines, "what is done is only read"
    with pytest.raises(UsageError, match="no variant 9m"):
        compare(tmp_path, lines.append, steps=2, batch=2, only=["9m"])


def test_a_run_may_begin_with_fewer_hidden_units(
    new_run: Callable[..., Run], vocabulary: Path, tmp_path: Path
) -> None:
    """The new ones say nothing yet: the model is the one that it began with."""
    small = new_run()
    torch.save({"model": small.model.state_dict()}, tmp_path / "checkpoint.pt")
    shutil.copy(vocabulary, tmp_path)
    wide = replace(small.recipe, hidden=2 * small.recipe.hidden)
    run = open_run(small.directory.parent / "wide", wide, start=tmp_path / "checkpoint.pt")
    tokens = torch.randint(0, small.recipe.pieces, (2, 12))
    with torch.no_grad():
        before, after = small.model(tokens)[0], run.model(tokens)[0]
    assert torch.allclose(before, after, atol=1e-5)
