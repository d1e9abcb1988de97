"""Configs of the methods that zero single weights."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from slimline.params.schedule import ScheduledParams
from slimline.params.section import Count, EditParams, Fraction, Number, Positive, Recovery, Strength, Training

UNSTRUCTURED = "Smaller only once packed sparse or compressed; never faster on ONNX Runtime or OpenVINO."
LOCAL_FLOOR = "scope local takes the same share of each layer: floor is for the other scopes"


class WeightsParams(ScheduledParams):
    """What the methods that zero single weights share."""

    scope: Literal["global", "local", "sensitivity"] = "global"
    """The lowest of the whole model go, or the same share of each layer, or of each layer the more, the less calibrate saw it mind."""
    floor: Strength = 0.0
    """The share of each layer's weights that stays, in scope global and sensitivity; without it a layer that loses all is an error."""

    @model_validator(mode="after")
    def _floor_is_of_use(self) -> "WeightsParams":
        if self.floor and self.scope == "local":
            raise ValueError(LOCAL_FLOOR)
        return self


class MagnitudeParams(WeightsParams):
    """Zero single weights by magnitude; shapes stay."""

    judgement: ClassVar[str] = UNSTRUCTURED

    method: Literal["magnitude"]
    criterion: Literal["l1", "l2", "random", "lamp"] = "l1"
    """What makes a weight small; lamp weighs it by what is left of its layer; random is a control."""
    fraction: Strength | None = None
    """The share of weights that become zero; or give threshold."""
    threshold: Positive | None = None
    """Weights whose magnitude (l2: its square, lamp: its score from 0 to 1) is below this become zero."""

    @model_validator(mode="after")
    def _one_amount(self) -> "MagnitudeParams":
        if (self.fraction is None) == (self.threshold is None):
            raise ValueError("give either fraction or threshold")
        if self.threshold is not None and (self.criterion == "random" or self.schedule.kind != "one_shot" or self.scope == "sensitivity"):
            raise ValueError("threshold goes with no schedule, with no scope sensitivity and not with criterion random: give fraction")
        if self.criterion == "lamp" and self.scope != "global":
            raise ValueError("criterion lamp ranks all layers together, and within one like l1: leave scope at global")
        _leaves_floor(self.fraction or 0.0, self.floor)
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.fraction == 0

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        amount = f"below {self.threshold:g}" if self.fraction is None else f"the lowest {self.fraction:.0%} ({self.scope})"
        return f"Weights zeroed by {self.criterion} magnitude, {amount}{self.schedule.asked}."


class TaylorParams(WeightsParams):
    """Zero the single weights whose loss changes the loss function least, by its gradient; shapes stay."""

    needs_labels: ClassVar[bool] = True
    judgement: ClassVar[str] = "Behind magnitude on fully trained models until recovery; smaller only once packed, never faster."

    method: Literal["taylor"]
    fraction: Strength
    """The share of weights that become zero."""
    samples: Count = 512
    """How many training samples the gradients are taken on, at most; they are drawn by the seed."""
    batch_size: Count = 8
    """Samples to a gradient: over many their gradients cancel out, so small batches tell more, and take longer."""

    @model_validator(mode="after")
    def _fraction_leaves_floor(self) -> "TaylorParams":
        _leaves_floor(self.fraction, self.floor)
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.fraction == 0

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        return (
            f"Weights zeroed by |w ∂L/∂w| on {self.samples} training samples, the lowest {self.fraction:.0%} "
            f"({self.scope}){self.schedule.asked}."
        )


class SemiStructuredParams(EditParams):
    """Keep n of every m weights along a layer's inputs (2:4); shapes stay."""

    judgement: ClassVar[str] = "No speed on this machine: the zeros are skipped by some GPUs only; smaller once packed or compressed."

    method: Literal["semi_structured"]
    n: Count = 2
    """How many of every m weights stay."""
    m: Annotated[int, Number, Field(ge=2, le=65_536)] = 4
    """The length of a group, along the inputs; layers whose inputs are no multiple of it stay as they are."""
    criterion: Literal["l1", "random"] = "l1"
    """Which of a group stay: the largest; random is a control."""

    @model_validator(mode="after")
    def _n_of_m(self) -> "SemiStructuredParams":
        if self.n > self.m:
            raise ValueError(f"n = {self.n} of m = {self.m} weights cannot stay: n is at most m")
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.n == self.m

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        which = "largest" if self.criterion == "l1" else "randomly chosen"
        return f"Of every {self.m} weights along the inputs the {self.n} {which} stay."


class LayerwiseParams(EditParams):
    """What the methods share that prune single weights layer by layer, by what each reads on the calibration sample."""

    fraction: Strength | None = None
    """The share of each layer's weights that become zero; or give n."""
    n: Count | None = None
    """How many of every m weights along the inputs stay."""
    m: Annotated[int, Number, Field(ge=2, le=65_536)] = 4
    """With n: the length of a group; layers whose inputs are no multiple of it stay as they are."""
    recover: Recovery = Recovery(epochs=0)
    """Training afterwards; zeros stay zero."""

    @model_validator(mode="after")
    def _one_amount(self) -> "LayerwiseParams":
        if (self.fraction is None) == (self.n is None):
            raise ValueError("give either fraction or n (of m)")
        if self.n is not None and self.n > self.m:
            raise ValueError(f"n = {self.n} of m = {self.m} weights cannot stay: n is at most m")
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.fraction == 0 or self.n == self.m

    @property
    def amount(self) -> str:
        """How much is zeroed, in a few words."""
        return f"{self.n}:{self.m}" if self.n is not None else f"by {self.fraction:.0%}"


class WandaParams(LayerwiseParams):
    """Zero the single weights of least magnitude times the norm of their input; shapes stay."""

    judgement: ClassVar[str] = "Little better than magnitude, if at all; smaller only once packed or compressed, never faster."

    method: Literal["wanda"]

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        return f"Weights zeroed {self.amount} of each output by magnitude times the norm of their input."


class SparsegptParams(LayerwiseParams):
    """Zero the single weights whose loss the others of the same output can best make up for, and let them; shapes stay."""

    judgement: ClassVar[str] = "The best without training, for language models above all; smaller only once packed, never faster."

    method: Literal["sparsegpt"]
    damping: Fraction = 0.01
    """What is added to the diagonal of the inputs' second moment, as a share of its mean."""

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        return f"Weights zeroed {self.amount} of each layer by SparseGPT, the others changed to make up for them."


class MovementParams(EditParams):
    """Zero the single weights that training moves towards zero; shapes stay."""

    needs_labels: ClassVar[bool] = True
    judgement: ClassVar[str] = "On a fully trained model magnitude keeps more for less training; smaller only once packed, never faster."

    method: Literal["movement"]
    fraction: Strength
    """The share of weights that become zero."""
    scope: Literal["global", "local"] = "global"
    """Whether the lowest scores of the whole model go, or the same share of each layer's."""
    floor: Strength = 0.0
    """The share of each layer's weights that stays, in scope global; without it a layer that loses all is an error."""
    training: Training = Training(epochs=10)
    """The training in which the weights move and go."""
    warm_up: Strength = 0.1
    """The share of the training before the first weights go."""
    cool_down: Strength = 0.3
    """The share of the training after the last weights went."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "MovementParams":
        if self.warm_up + self.cool_down >= 1:
            raise ValueError(f"warm_up {self.warm_up:g} and cool_down {self.cool_down:g} leave no training in which weights go")
        if self.training.epochs == 0:
            raise ValueError("training.epochs 0 moves no weight: give at least 1")
        if self.floor and self.scope == "local":
            raise ValueError(LOCAL_FLOOR)
        _leaves_floor(self.fraction, self.floor)
        return self

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed."""
        return self.fraction == 0

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence."""
        return (
            f"Weights zeroed by their movement in {self.training.epochs} epochs of training, the lowest {self.fraction:.0%} ({self.scope})."
        )


def _leaves_floor(fraction: float, floor: float) -> None:
    if fraction + floor > 1:
        raise ValueError(f"a floor of {floor:g} leaves less than the fraction {fraction:g} to take: lower one of them")
