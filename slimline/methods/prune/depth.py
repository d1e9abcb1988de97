"""Drop whole residual blocks: what is left of each is its shortcut.

Men et al. 2024, "ShortGPT: layers in large language models are more redundant than you expect" (arXiv 2403.03853); that a residual network
survives the loss of a block: Veit et al. 2016 (arXiv 1605.06431). Other than narrower layers, fewer layers save time at any width.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from slimline.errors import Impossible
from slimline.methods.data import MethodData
from slimline.methods.edited import Curve, Edited, Listing
from slimline.methods.name_patterns import matching
from slimline.methods.prune.output_distance import output_distances
from slimline.methods.prune.residual_blocks import STACKS, block_influence, others_given, residual_blocks, without_blocks
from slimline.methods.recalibrate import recalibrate_batchnorm
from slimline.params import DepthParams


def depth(model: nn.Module, config: DepthParams, *, data: MethodData) -> Edited:
    """Return a copy in evaluation mode without its most dispensable residual blocks.

    `criterion: output_change` is how far the outputs on the calibration sample move, as the objective says it, when the block
    alone is dropped and batch norm recalibrated; `block_influence` looks at the block's own input and output; `random` is chance by
    `data.seed`. At least one block stays. Layers of nn.TransformerEncoder and nn.TransformerDecoder move up by as many names as went
    before them.

    Raises:
        InputError: `keep` names no block.
        StageError: the model has too few residual blocks.
    """
    if config.idle:
        return Edited(copy.deepcopy(model).eval())
    blocks = residual_blocks(model, data.example)
    kept = matching(config.keep, blocks, "prune: keep", "residual block")
    count = _count(len(blocks), len(blocks) - len(kept), config)
    blocks_of = _Blocks(model, others_given(model, blocks, data.example), config, data)
    steps = blocks_of.steps(tuple(name for name in blocks if name not in kept), count)
    dropped = {step.dropped: number for number, step in enumerate(steps, start=1)}
    first = steps[0].scores if steps else {}
    rows = tuple((name, first.get(name, ""), dropped.get(name, "named in keep" if name in kept else "stays")) for name in blocks)
    return Edited(
        without_blocks(model, tuple(dropped), blocks_of.given),
        notes=_renamed(model, tuple(dropped)),
        curves=(_curve(steps, config),) if config.criterion != "random" else (),
        listings=(Listing("Residual blocks", ("block", f"{config.criterion} alone", "dropped as number"), rows),),
        details={"blocks": len(blocks), "dropped": list(dropped)},
    )


@dataclass(frozen=True)
class _Step:
    """One block that went: the scores by which it was chosen."""

    dropped: str
    scores: dict[str, float]


@dataclass(frozen=True)
class _Blocks:
    """A model whose blocks are scored; `given` is what `others_given` says of them."""

    model: nn.Module
    given: Mapping[str, int]
    config: DepthParams
    data: MethodData

    def steps(self, blocks: Sequence[str], count: int) -> list[_Step]:
        """Which blocks go, one after another; of equal scores the later one."""
        steps: list[_Step] = []
        for _ in range(count):
            gone = tuple(step.dropped for step in steps)
            left = [name for name in blocks if name not in gone]
            again = self.config.rescore or not steps
            scores = self._scores(gone, left) if again else {name: steps[-1].scores[name] for name in left}
            steps.append(_Step(min(reversed(left), key=lambda name: scores[name]), scores))
        return steps

    def _scores(self, gone: tuple[str, ...], left: Sequence[str]) -> dict[str, float]:
        """What each block that is left is worth, once those in `gone` are dropped."""
        calibration = self.data.calibration
        if self.config.criterion == "random":
            chance = torch.rand(len(left), generator=torch.Generator().manual_seed(self.data.seed + len(gone)), dtype=torch.float64)
            return dict(zip(left, chance.tolist(), strict=True))
        if self.config.criterion == "block_influence":
            return block_influence(self.model, left, calibration, without={name: self.given[name] for name in gone})
        without = ((*gone, name) for name in left)
        changed = (recalibrate_batchnorm(without_blocks(self.model, names, self.given), calibration) for names in without)
        return dict(zip(left, output_distances(recalibrate_batchnorm(self.model, calibration), changed, self.data), strict=True))


def _count(found: int, free: int, config: DepthParams) -> int:
    """How many blocks are to go."""
    count = config.blocks if config.blocks is not None else max(1, int((config.ratio or 0.0) * free + 0.5))
    most = min(free, found - 1)
    if not found:
        raise Impossible(
            "prune: depth: the model has no residual block (x + f(x)) that could go; use channels or a smaller student instead"
        )
    if count > most:
        raise Impossible(
            f"prune: depth: the model has {found} residual blocks, of which {max(0, most)} can go, not {count}; see blocks, ratio and keep"
        )
    return count


def _renamed(model: nn.Module, dropped: Sequence[str]) -> tuple[str, ...]:
    """What to know of torch's own stacks of layers, which are numbered without gaps."""
    stacks = [f"{name}.layers".lstrip(".") for name, stack in model.named_modules() if isinstance(stack, STACKS)]
    moved = [name for name in stacks if any(block.startswith(f"{name}.") for block in dropped)]
    return tuple(
        f"The layers of {name} behind a dropped one move up: the table of layers compares them by their new number." for name in moved
    )


def _curve(steps: Sequence[_Step], config: DepthParams) -> Curve:
    """The score of each block that went, when it went."""
    points = tuple((float(number), step.scores[step.dropped]) for number, step in enumerate(steps, start=1))
    title = "Change of the outputs by blocks dropped" if config.criterion == "output_change" else "Influence of each block that was dropped"
    return Curve(title, "blocks dropped", config.criterion, {config.criterion: points})
