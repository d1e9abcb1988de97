"""The strict, frozen ground that every section of params.yaml stands on."""

import inspect
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _no_truth(value: object) -> object:
    """YAML's `yes` and `true` are no numbers, though Python takes them for 1."""
    if isinstance(value, bool):
        raise ValueError("give a number, not true or false")  # noqa: TRY004 - pydantic collects only ValueError
    return value


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a text has no line break and no other control character")
    return text


LONGEST_NAME, LONGEST_TEXT, MOST_NAMES = 64, 500, 1000
Number = BeforeValidator(_no_truth)
Text = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT), AfterValidator(_printable)]
Names = Annotated[tuple[Text, ...], Field(max_length=MOST_NAMES)]
Fraction = Annotated[float, Number, Field(gt=0, lt=1)]
"""A share strictly between 0 and 1."""
Strength = Annotated[float, Number, Field(ge=0, lt=1)]
"""A share from 0 (leaves the model as it is) up to, not including, 1."""
Share = Annotated[float, Number, Field(gt=0, le=1)]
"""A share above 0, at most all."""
Count = Annotated[int, Number, Field(ge=1, le=10_000_000)]
Positive = Annotated[float, Number, Field(gt=0, le=1e6)]
Amount = Annotated[float, Number, Field(ge=0, le=1e6)]
"""How much of something, 0 for nothing of it."""
Epochs = Annotated[int, Number, Field(ge=0, le=100_000)]
Steps = Annotated[int, Number, Field(ge=0, le=1_000_000)]
Threads = Annotated[int, Number, Field(ge=1, le=1024)]
"""As many as the largest machines have; more only fight for the cores."""
BatchSize = Annotated[int, Number, Field(ge=1, le=65_536)]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
Pack = Literal["none", "sparse", "entropy"]
"""How weights are stored: as they are, as a bit mask and the non-zero values, or entropy-coded."""


class Section(BaseModel):
    """A part of params.yaml: frozen, and an unknown key is an error. The text below a field is what `slimline methods NAME` says of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Training(Section):
    """How a model is trained or recovered: AdamW, warm-up and cosine schedule, best epoch on validation kept.

    `patience` ends the training after so many epochs without a better one; without it all epochs run.
    """

    epochs: Epochs = 5
    """The most epochs that it is trained for; 0 leaves the model as it is."""
    steps: Count | None = None
    """So many steps in all, where the data are too many to be gone through: each of the epochs is then an equal part of them."""
    batch_size: BatchSize = 64
    """Samples a step."""
    learning_rate: Positive = 0.002
    """The highest, after the warm-up."""
    weight_decay: Amount = 0.01
    """AdamW's decoupled decay."""
    patience: Count | None = None
    """Stop after so many epochs without a lower validation loss."""
    threads: Threads = 1
    """CPU threads of the training; another number gives other last bits."""
    device: Device = "auto"
    """Where it is trained: cpu, cuda, or auto, a GPU where there is one. On a GPU other bytes come out, and the manifest says so."""
    precision: Precision = "float32"
    """bfloat16 computes under autocast, which a GPU or a CPU with AMX does faster; the weights themselves stay float32."""


class LowRankTraining(Training):
    """Training of every weight, or of low-rank updates alone that are merged afterwards (LoRA, arXiv:2106.09685)."""

    lora_rank: Count | None = None
    """The rank of the updates; without it every weight is trained itself, as is one that an update of this rank makes no smaller."""
    lora_alpha: Positive | None = None
    """An update counts lora_alpha / lora_rank times; as much as lora_rank where it is not given."""
    lora_with: tuple[Literal["biases", "norms"], ...] = ("biases", "norms")
    """What is trained itself beside the updates: biases, and the scales and shifts of batch and layer norms."""

    @model_validator(mode="after")
    def _alpha_of_something(self) -> "LowRankTraining":
        if self.lora_rank is None and (given := sorted(self.model_fields_set & {"lora_alpha", "lora_with", "lora_grid", "lora_group"})):
            raise ValueError(f"{' and '.join(given)} tell how updates of lora_rank are trained: give lora_rank too")
        return self


class Recovery(LowRankTraining):
    """Training after a lossy step."""

    lora_grid: Literal["int4", "int8"] | None = None
    """Weights with their updates lie on such a grid in every step, and in the end: weight_only of as many bits then loses nothing."""
    lora_group: Literal[32, 64, 128] = 64
    """How many weights share a scale of that grid; give weight_only the same group_size."""


class VariantParams(Section):
    """One variant: which variant it starts from, and which method makes it.

    Each method's config declares what the method is like, so that `slimline check` needs no torch:
    `needs_data` (its stage reads training or calibration samples), `needs_labels` (the method itself reads labels of the
    training split; training afterwards does so anyway), `trains` (reads the training split), `changes_shape` (layers get other shapes),
    `may_follow` (the stages whose variants it may start from) and `impossible_on` (target -> why). One of your own may name the knob
    that is 0 where nothing is changed, `strength_field`: the contract then holds it to that.
    """

    needs_data: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    changes_shape: ClassVar[bool] = False
    may_follow: ClassVar[frozenset[str]] = frozenset({"teacher", "prune", "factorize", "distill"})
    impossible_on: ClassVar[Mapping[str, str]] = {}
    judgement: ClassVar[str] = ""
    strength_field: ClassVar[str] = ""

    source: Text
    """The variant that it starts from: teacher, or any other name."""
    method: Text
    """Which method makes it."""

    @property
    def idle(self) -> bool:
        """Whether the config asks for nothing to be changed (strength 0)."""
        return False

    def refused_by(self, target: str) -> str | None:
        """Why a target cannot take this variant; None where it can. A config overrides it where one of its options decides."""
        return self.impossible_on.get(target)


class EditParams(VariantParams):
    """A variant that a method prunes or factorizes, with training afterwards."""

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    recover: Recovery = Recovery()
    """Training afterwards; zeros stay zero, shapes stay as they are."""
    pack: Pack = "none"
    """sparse stores a bit mask and the non-zero values, entropy compresses them too; smaller to ship (target eager), not faster."""

    @property
    def asked(self) -> str:
        """What the config asks for, in a sentence for the page; unless it says, how its class is described."""
        return (inspect.getdoc(type(self)) or type(self).__name__).splitlines()[0]
