"""The training loop: resumable, on CPU or GPU, with a progress line and a curve on disk."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from edgespike.errors import DataError
from edgespike.tokenizer import Tokenizer
from training.dialogues import Batch, dialogues, packed
from training.feed import Feed
from training.model import SymbolicLight
from training.recipe import Recipe
from training.scenes import Split
from training.start import VOCABULARY, begin_with, read_start
from training.text import extend_tokenizer, train_tokenizer
from training.twin import DenseTwin

Log = Callable[[str], None]
Ids = NDArray[np.int64]

DEV_BATCHES = 8


@dataclass
class Run:
    """A directory with the tokenizer, the state to resume from and the curve of a training run."""

    directory: Path
    recipe: Recipe
    model: SymbolicLight | DenseTwin
    optimizer: torch.optim.Optimizer
    tokenizer: Tokenizer
    device: torch.device
    step: int = 0
    tokens: int = 0
    elapsed_s: float = 0.0

    @property
    def state_file(self) -> Path:
        return self.directory / "state.pt"

    @property
    def curve_file(self) -> Path:
        return self.directory / "curve.jsonl"

    def save(self) -> None:
        """Replaces the state file as a whole, so that a stop at any moment leaves a good one."""
        state = {
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "tokens": self.tokens,
            "elapsed_s": self.elapsed_s,
        }
        partial = self.state_file.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.state_file)


def open_run(
    directory: Path, recipe: Recipe, *, start: Path | None = None, device: str = "cpu"
) -> Run:
    """Starts a run in `directory`, or resumes the one that is there.

    A new run begins with the weights of `start`, if it is given: an official checkpoint, whose
    `tokenizer.model` lies beside it or in `directory`, or a container. Its shape must be the
    recipe's (MissingInputError, DataError), but for fewer hidden units: the model gets more of them
    that say nothing yet. Marks that the tokenizer lacks become its last pieces.

    A resumed run keeps its recipe; `steps`, `minutes`, `batch`, `rate` and `prompt_weight` are
    those given now.
    """
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = directory / VOCABULARY
    state: dict[str, Any] | None = None
    if (directory / "state.pt").exists():
        state = torch.load(directory / "state.pt", map_location=device, weights_only=True)
        recipe = replace(
            Recipe(**state["recipe"]),
            steps=recipe.steps,
            minutes=recipe.minutes,
            batch=recipe.batch,
            rate=recipe.rate,
            prompt_weight=recipe.prompt_weight,
        )
    given = read_start(start) if start is not None and state is None else None
    if not vocabulary.exists() and given is not None and given.tokenizer is not None:
        extend_tokenizer(given.tokenizer, vocabulary)
    if not vocabulary.exists():
        train_tokenizer(vocabulary, pieces=recipe.pieces, seed=recipe.seed)
    tokenizer = Tokenizer.from_file(vocabulary)
    recipe = replace(recipe, pieces=tokenizer.size)
    torch.manual_seed(recipe.seed)
    model = new_model(recipe).to(device)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": recipe.decay},
            {"params": others, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
        fused=True,
    )
    run = Run(directory, recipe, model, optimizer, tokenizer, torch.device(device))
    if given is not None:
        begin_with(model, given)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        run.step, run.tokens, run.elapsed_s = state["step"], state["tokens"], state["elapsed_s"]
    return run


def new_model(recipe: Recipe) -> SymbolicLight | DenseTwin:
    """A model with the weights that it begins with. Raises DataError for an unknown kind."""
    match recipe.kind:
        case "spiking":
            return SymbolicLight(recipe.model(), recipe.surrogate)
        case "dense":
            return DenseTwin(recipe.model())
    raise DataError(f"{recipe.kind!r} is no kind of model: choose spiking or dense")


@cache
def _has_bf16(device: torch.device) -> bool:
    """Whether `device` computes in bf16; processors that don't emulate it, at a twentieth of the
    speed of fp32.
    """
    if device.type != "cpu":
        return True
    flags = Path("/proc/cpuinfo")
    return flags.exists() and not {"avx512_bf16", "bf16"}.isdisjoint(flags.read_text().split())


def _losses(
    run: Run, tokens: Ids, targets: Ids, counted: NDArray[np.bool_], gap: int = 0
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Loss [n] and hits [n] (the most likely token is the right one) where `counted`, and rates."""
    at = torch.from_numpy(counted).to(run.device)
    with torch.autocast(run.device.type, torch.bfloat16, enabled=_has_bf16(run.device)):
        logits, rates = run.model(torch.from_numpy(tokens).to(run.device), at, gap)
    right = torch.from_numpy(targets).to(run.device)[at]
    losses = cross_entropy(logits.float(), right, reduction="none")
    return losses, logits.argmax(-1) == right, rates


@torch.no_grad()
def _rounded(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """Rounds all matrices as int8 stores them (`edgespike.convert.quantise`), so that the gradient
    is that of the model that will run; returns what they were, which the step is taken from.
    """
    exact = [(p, p.detach().clone()) for p in model.parameters() if p.dim() == 2]
    for parameter, value in exact:
        scale = value.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
        parameter.copy_(torch.round(value / scale) * scale)
    return exact


def train_step(run: Run, given: Batch) -> tuple[float, float, list[float]]:
    """One optimiser step; returns the weighted loss per token, gradient norm and firing rates."""
    r = run.recipe
    tokens, targets, weights = given
    for group in run.optimizer.param_groups:
        group["lr"] = r.rate_at(run.step, run.elapsed_s)
    # Half the time as late in a long session, where the anchors are far from all the rest.
    rng = random.Random(f"{r.seed}/{run.step}/gap")
    gap = int(2 ** rng.uniform(0, 13)) if rng.random() < 0.5 else 0
    exact = _rounded(run.model)
    losses, _, rates = _losses(run, tokens, targets, weights > 0, gap)
    weight = torch.from_numpy(weights[weights > 0]).to(run.device)
    loss = (losses * weight).sum() / weight.sum()
    if r.firing_penalty and rates:
        loss = loss + r.firing_penalty * torch.stack(rates).mean()
    run.optimizer.zero_grad()
    loss.backward()
    for parameter, value in exact:
        parameter.data.copy_(value)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.optimizer.step()
    run.step += 1
    run.tokens += tokens.size
    return loss.item(), norm.item(), [rate.item() for rate in rates]


@dataclass
class Measured:
    """Loss per answer token, and answers in all and right, by family."""

    loss: float
    asked: Counter[str]
    right: Counter[str]

    @property
    def accuracy(self) -> float:
        return self.right.total() / self.asked.total()

    def by_family(self) -> dict[str, float]:
        return {f: round(self.right[f] / n, 3) for f, n in sorted(self.asked.items())}


@torch.no_grad()
def measure(run: Run, split: Split, batches: int) -> Measured:
    """How many answers greedy decoding would give word for word, kept to statements.

    An answer comes out word for word when each of its choices is the most likely token after the
    right beginning: one pass over the dialogue tells.
    """
    run.model.eval()
    r = run.recipe
    asked, good = Counter[str](), Counter[str]()
    loss = count = 0.0
    for index in range(batches):
        rows = dialogues(r.seed, index, split, run.tokenizer, r.batch, r.length)
        tokens, targets, weights = packed(rows, r.length)
        answer, choice = weights > 0, weights == 1.0
        losses, hits, _ = _losses(run, tokens, targets, answer)
        loss += float(losses.sum())
        count += len(losses)
        hit = np.zeros(answer.shape, bool)
        hit[answer] = hits.cpu().numpy()
        for row, each in enumerate(rows):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], answer[row].astype(int), [0]])))
            for (start, end), family in zip(edges.reshape(-1, 2), each.families, strict=True):
                asked[family] += 1
                good[family] += int(hit[row, start:end][choice[row, start:end]].all())
    run.model.train()
    return Measured(loss / count, asked, good)


def train(
    run: Run,
    log: Log,
    *,
    stop: Callable[[], bool] = lambda: False,
    save_every_s: float = 120.0,
    measure_every_s: float = 240.0,
) -> None:
    """Trains until the plan is done or `stop` says so between two steps; saves on the way and then.

    A run that is killed resumes from its last save.
    """
    r = run.recipe
    saved = measured = shown = time.monotonic()
    smooth: float | None = None
    rates: list[float] = []
    with Feed(r, run.directory / VOCABULARY, run.step) as feed:
        while r.progress(run.step, run.elapsed_s) < 1.0 and not stop():
            began = time.monotonic()
            given = feed.take()
            waited = time.monotonic() - began
            loss, norm, rates = train_step(run, given)
            now = time.monotonic()
            run.elapsed_s += now - began
            smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
            if now - shown >= 15:
                shown = now
                speed = r.batch * r.length / (now - began)
                log(
                    f"step {run.step:6d}  {100 * r.progress(run.step, run.elapsed_s):5.1f} %  "
                    f"loss {smooth:.4f}  grad {norm:.2f}  {speed:.0f} tokens/s  "
                    f"waited {100 * waited / (now - began):.0f} %  "
                    f"firing {_percent(rates)} %"
                )
            if now - measured >= measure_every_s:
                _record(run, smooth, rates, log)
                measured = time.monotonic()
            if now - saved >= save_every_s:
                saved = now
                run.save()
    if smooth is not None:
        _record(run, smooth, rates, log)
    run.save()


def _percent(rates: list[float]) -> str:
    """Encoder, last layer's input and last feed-forward layer; nothing for a dense model."""
    return "/".join(f"{100 * rate:.1f}" for rate in (*rates[:1], *rates[-2:]))


def _record(run: Run, loss: float, rates: list[float], log: Log) -> None:
    """Adds a point to the curve."""
    dev = measure(run, "dev", DEV_BATCHES)
    point = {
        "step": run.step,
        "tokens": run.tokens,
        "minutes": round(run.elapsed_s / 60, 2),
        "train_loss": round(loss, 4),
        "dev_answer_loss": round(dev.loss, 4),
        "dev_accuracy": round(dev.accuracy, 4),
        "firing": [round(rate, 4) for rate in rates],
        "families": dev.by_family(),
    }
    with run.curve_file.open("a", encoding="utf-8") as file:
        file.write(json.dumps(point) + "\n")
    log(
        f"dev: answers {100 * dev.accuracy:.1f} % right, loss {dev.loss:.4f}, {run.tokens:,} tokens"
    )
