"""Train the Continuous Thought Machine of model.py on parity or digits: minutes on one CPU core.

python examples/ctm/train.py --task parity --seconds 240

The loss is the paper's: for each sample the mean of the loss at the tick where it is least and at the tick where the
machine is most certain. Nothing says when to be certain; that is learnt. The learning rate rises over a warm-up and
then falls as a cosine over the budget. A budget in seconds trains as far as the computer gets in it; with --iterations
the same seed gives the same machine.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from model import Config, ContinuousThoughtMachine, answer, choices, save
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

HERE = Path(__file__).parent
LENGTH = 8


@dataclass(frozen=True)
class Data:
    """x: samples first. y: classes, (samples, positions)."""

    x: Tensor
    y: Tensor
    x_eval: Tensor
    y_eval: Tensor
    disturb: Callable[[Tensor], Tensor] = lambda x: x
    """Applied to every training batch."""


@dataclass(frozen=True)
class Recipe:
    """How one task is trained."""

    config: Config
    data: Callable[[], Data]
    rate: float
    batch: int = 64
    warmup: int = 100
    """Iterations over which the learning rate rises."""
    weight_decay: float = 0.0
    smoothing: float = 0.0
    """Label smoothing: what it keeps of certainty in one class."""


# -- tasks -------------------------------------------------------------------------------------------------------------


def parity() -> Data:
    """All sequences of +1 and -1; y is at each position whether an odd number of -1 stood up to there. An eighth of
    the sequences is held out."""
    x = torch.tensor(list(itertools.product((1.0, -1.0), repeat=LENGTH)))
    y = ((x < 0).cumsum(dim=1) % 2).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held, seen = order[: len(x) // 8], order[len(x) // 8 :]
    return Data(x[seen], y[seen], x[held], y[held])


PATCH, STRIDE = 4, 2
AFF, SHIFT = 0.08, 0.2
CENTRES = 9
"""Overlapping patches of 4x4 pixels in an 8x8 image: 3x3 of them."""


def tokens(images: Tensor) -> Tensor:
    """Images (B, 1, 8, 8) -> (B, 25, 3, 3): a token is a patch of 16 pixels and a one-hot code of its place.

    The place is data here, so that the machine needs no positional embedding of its own."""
    patches = F.unfold(images, PATCH, stride=STRIDE)
    places = torch.eye(CENTRES).expand(len(images), -1, -1)
    return torch.cat((patches, places), dim=1).unflatten(2, (3, 3))


def images_of(x: Tensor) -> Tensor:
    """What `tokens` was made from: each pixel is the mean over the patches that hold it."""
    patches = x[:, : PATCH**2].flatten(2)
    held = F.fold(torch.ones_like(patches), 8, PATCH, stride=STRIDE)
    return F.fold(patches, 8, PATCH, stride=STRIDE) / held


def moved(x: Tensor) -> Tensor:
    """The digits turned, scaled, sheared and shifted a little, each in its own way."""
    images = images_of(x)
    turn = torch.eye(2) + AFF * torch.randn(len(x), 2, 2)
    shift = SHIFT * (2 * torch.rand(len(x), 2, 1) - 1)
    grid = F.affine_grid(torch.cat((turn, shift), dim=2), list(images.shape), align_corners=False)
    return tokens(F.grid_sample(images, grid, align_corners=False))


def digits() -> Data:
    """scikit-learn's digits as tokens."""
    (x, y), (x_eval, y_eval) = (_stored(HERE / f"digits-{part}.npz") for part in ("calibration", "eval"))
    return Data(x, y, x_eval, y_eval, moved)


def _stored(path: Path) -> tuple[Tensor, Tensor]:
    with np.load(path) as arrays:
        x = torch.tensor(arrays["x"] * arrays["x_scale"]).float()
        return x, torch.tensor(arrays["y"]).long().reshape(len(x), -1)


RECIPES = {
    "parity": Recipe(
        Config(
            task="parity",
            out_dims=2 * LENGTH,
            prediction_reshaper=(LENGTH, 2),
            iterations=12,
            d_model=64,
            n_synch_out=32,
            n_synch_action=32,
            backbone_type="parity_backbone",
            positional_embedding_type="custom-rotational-1d",
        ),
        parity,
        rate=3e-3,
        weight_decay=0.02,
        smoothing=0.01,
    ),
    "digits": Recipe(
        Config(
            task="digits",
            out_dims=10,
            iterations=10,
            d_model=96,
            d_input=48,
            n_synch_out=64,
            n_synch_action=64,
            channels=PATCH**2 + CENTRES,
            img_size="3x3",
        ),
        digits,
        rate=3e-3,
        weight_decay=0.02,
    ),
}


# -- training ----------------------------------------------------------------------------------------------------------


def loss_of(logits: Tensor, certainties: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
    """logits (B, out_dims, T), certainties (B, T), y (B, positions) -> a number.

    The mean over the samples and over two ticks: where the loss is least, and where the machine is most certain."""
    per_class = choices(logits, recipe.config.prediction_reshaper).transpose(1, 2)  # (B, classes, positions, T)
    targets = y.unsqueeze(-1).expand(-1, -1, logits.shape[-1])
    losses = F.cross_entropy(per_class, targets, reduction="none", label_smoothing=recipe.smoothing).mean(dim=1)
    certain = certainties.argmax(dim=1, keepdim=True)
    return (losses.min(dim=1).values + losses.gather(1, certain).squeeze(1)).mean() / 2


@torch.no_grad()
def accuracy(model: ContinuousThoughtMachine, x: Tensor, y: Tensor) -> float:
    """The share of samples whose answer, at their most certain tick, is right at every position."""
    model.eval()
    logits, certainties = model(x)
    return float((answer(logits, certainties, model.config.prediction_reshaper) == y).all(dim=1).float().mean())


def train(
    recipe: Recipe, seconds: float, iterations: int | None, report: Callable[[str], None] = print
) -> tuple[ContinuousThoughtMachine, int, list[float]]:
    """Train until the budget is spent: a number of iterations if given, else seconds. Returns the machine, the
    iterations done and the loss of each."""
    data = recipe.data()
    model = ContinuousThoughtMachine(recipe.config)  # seeds torch
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    losses: list[float] = []
    start = said = time.monotonic()
    while True:
        now = time.monotonic()
        spent = len(losses) / iterations if iterations else (now - start) / seconds
        if spent >= 1:
            return model, len(losses), losses
        rate = recipe.rate * min(1.0, (len(losses) + 1) / recipe.warmup) * (1 + float(np.cos(np.pi * spent))) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate

        model.train()
        batch = torch.randint(len(data.x), (recipe.batch,))
        loss = loss_of(*model(data.disturb(data.x[batch])), data.y[batch], recipe)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())

        if now - said > 10:
            said = now
            held = accuracy(model, data.x_eval, data.y_eval)
            mean = float(np.mean(losses[-100:]))
            report(f"{spent:4.0%}  iteration {len(losses):5d}  loss {mean:.3f}  held out {held:.1%}  rate {rate:.1e}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(RECIPES), default="parity")
    parser.add_argument("--seconds", type=float, default=240, help="budget of wall-clock time")
    parser.add_argument("--iterations", type=int, help="budget of iterations, instead of seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="the checkpoint to write (default: <task>.pt beside this file)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    recipe = RECIPES[options.task]
    recipe = replace(recipe, config=replace(recipe.config, seed=options.seed))
    model, done, losses = train(recipe, options.seconds, options.iterations)
    data = recipe.data()
    seen, held = accuracy(model, data.x, data.y), accuracy(model, data.x_eval, data.y_eval)
    out = options.out or HERE / f"{options.task}.pt"
    save(out, model, done, train_losses=losses[:: max(1, len(losses) // 100)], train_accuracy=seen, test_accuracy=held)
    size = sum(p.numel() for p in model.parameters())
    print(f"{out}: {size} parameters, {done} iterations; right at every position: {seen:.1%} seen, {held:.1%} held out")


if __name__ == "__main__":
    main()
