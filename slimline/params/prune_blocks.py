"""Configs of pruning attention heads, the width of perceptrons, and whole residual blocks."""

from typing import ClassVar, Literal

from pydantic import model_validator

from slimline.params.section import Count, EditParams, Names, Steps, Strength


class HeadsParams(EditParams):
    """Remove whole attention heads, and neurons of the perceptrons between them."""

    judgement: ClassVar[str] = (
        "For transformers: fewer parameters and MACs; half of the heads are a sixth of a usual layer, so take mlp_ratio with it."
    )
    changes_shape: ClassVar[bool] = True

    method: Literal["heads"]
    criterion: Literal["output_change", "activation", "l2", "taylor", "random"] = "output_change"
    """What makes a head small: how far the outputs move without it (neurons go by l2), what it adds to the layer that reads it
    (activation: one run of the calibration sample), its weights, the loss, or chance (a control)."""
    grouped: Literal["groups", "queries"] = "groups"
    """Where several query heads share keys and values: a key/value head goes with its queries, or as many query heads of each."""
    refit: bool = False
    """Whether the layers that read what goes are fitted anew, by least squares on the calibration sample, to what is left."""
    scope: Literal["local", "global"] = "local"
    """The same share of each layer, or the least of the whole model; one head of each attention stays."""
    fraction: Strength
    """The share of attention heads that go."""
    mlp_ratio: Strength = 0.0
    """The share of hidden neurons that go from each pair of Linear layers outside attention."""
    round_to: Count = 8
    """What is left of a hidden layer is a multiple of this many neurons; kernels like 8 and 16."""
    keep: Names = ()
    """Names of attention modules and Linear layers that stay whole, * for any part of a name."""
    samples: Count = 256
    """Training samples that criterion taylor takes gradients of."""

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.fraction == 0 and self.mlp_ratio == 0

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        neurons = f" and {self.mlp_ratio:.0%} of the hidden neurons" if self.mlp_ratio else ""
        return f"{self.fraction:.0%} of the attention heads{neurons} of least {self.criterion} importance removed ({self.scope})."


class DepthParams(EditParams):
    """Drop whole residual blocks, of which the shortcut alone is left."""

    judgement: ClassVar[str] = "Faster on every target and at every width; few blocks can go, and each costs more than the one before."
    changes_shape: ClassVar[bool] = True

    method: Literal["depth"]
    criterion: Literal["output_change", "block_influence", "random"] = "output_change"
    """What makes a block dispensable: how far the outputs move without it, how little it turns its input, or chance (a control)."""
    blocks: Steps | None = None
    """How many blocks go; or give ratio."""
    ratio: Strength | None = None
    """The share of the blocks that could go which do, rounded to the nearest, and at least one."""
    rescore: bool = True
    """Whether the others are scored anew after each block that goes."""
    keep: Names = ()
    """Names of blocks that stay, * for any part of a name."""

    @model_validator(mode="after")
    def _one_amount(self) -> "DepthParams":
        if (self.blocks is None) == (self.ratio is None):
            raise ValueError("give either blocks or ratio")
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return not (self.blocks or self.ratio)

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        amount = f"{self.ratio:.0%} of the residual blocks" if self.blocks is None else f"{self.blocks} residual blocks"
        how = {"output_change": "that move the outputs least", "block_influence": "of least influence", "random": "by chance"}
        return f"Dropped {amount} {how[self.criterion]}, {'scored anew after each' if self.rescore else 'all scored once'}."
