"""The sections of params.yaml that are not variants."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from slimline.params.section import (
    LONGEST_NAME,
    Amount,
    BatchSize,
    Count,
    Device,
    Fraction,
    Names,
    Number,
    Positive,
    Section,
    Text,
    Threads,
    Training,
)
from slimline.targets import Target

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class DataParams(Section):
    """How samples are cut (train gets what the others leave), and the least share that a group, such as a class, may have in a split."""

    path: Text = "workloads"
    """The folder or file that the samples come from, or s3://BUCKET/PREFIX: the stage `data` runs again when it changes. Of a workload of
    your own, its folder."""
    target: Text | None = None
    """`workload: table` or `text`: the column to be told from the others; of `images` with a table, the column of the classes."""
    text: Text | None = None
    """`workload: text` and `causal-lm`: the column that holds the texts."""
    window: Annotated[int, Number, Field(ge=16, le=131_072)] = 256
    """`workload: causal-lm`: tokens of a sample; documents are cut into windows of so many."""
    table: Text | None = None
    """`workload: images`: a .csv or .parquet file in the folder with a row a picture, in place of a folder a class."""
    image: Text | None = None
    """`workload: images` with a table: the column that holds the pictures' paths, from the folder on."""
    task: Literal["classification", "regression"] | None = None
    """`workload: table` or `text`: what is asked; by the target's values where nothing is said."""
    drop: Names = ()
    """`workload: table`: columns that are left out."""
    image_size: Annotated[int, Number, Field(ge=8, le=1024)] | None = None
    """`workload: images`: the side that pictures are scaled to; by their own sizes where nothing is said."""
    test_fraction: Fraction = 0.3
    validation_fraction: Fraction = 0.1
    calibration_samples: Count = 256
    min_class_share: Fraction = 0.01


class TeacherParams(Training):
    """Where the teacher comes from: trained here, or fetched as safetensors with its sha256."""

    source: Annotated[Text, Field(pattern=r"^(train|file:.+|s3://[^/]+/.+|hf:.+)$")] = "train"
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _fetched_is_checked(self) -> "TeacherParams":
        if self.source != "train" and self.sha256 is None:
            raise ValueError("a fetched teacher needs sha256, the checksum of its safetensors file")
        return self


class ModelParams(Section):
    """The net of a workload without code: a bundled architecture, `hf:DIRECTORY` or `hf:org/name@REVISION` (Hugging Face), or
    `path/to/file.py:builder`, a function that builds one.

    A builder is called with `preprocessing` (what makes the inputs), `outputs` (how many numbers the net gives) and `config`. Of a Hugging
    Face directory, `config` changes settings of its config.json.
    """

    architecture: Text = "default"
    path: Text = "workloads"
    """The file or folder that the net comes from: the stages `data` and `teacher` run again when it changes. Of `hf:DIRECTORY` the same."""
    config: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _directory_is_watched(self) -> "ModelParams":
        place = self.architecture.removeprefix("hf:")
        if place != self.architecture and "@" not in place and place.rstrip("/") != self.path.rstrip("/"):
            raise ValueError(
                f"architecture: {self.architecture} needs `path: {place}` beside it, which DVC watches (path is {self.path!r})"
            )
        return self


class CalibrateParams(Section):
    """How much of the calibration split runs through the teacher."""

    samples: Count = 256
    batch_size: BatchSize = 64
    draws: Annotated[int, Number, Field(ge=1, le=100)] = 5
    """Over how many draws of the sample static int8 is judged on validation: the shipped one and others; 1 for that one alone."""
    sensitivity_samples: Annotated[int, Number, Field(ge=0, le=1_000_000)] = 512
    """Samples of validation that every layer, changed alone in four ways, is judged on; 0 tries none (hundreds of layers)."""
    device: Device = "auto"


class DeployParams(Section):
    """Every listed variant is compiled for every listed target."""

    variants: Annotated[Names, Field(min_length=1)]
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]


class TeachParams(Section):
    """A variant that teaches, by its name: what it gives for training and validation samples is kept once, for all of its students."""

    threads: Threads = 1
    device: Device = "auto"


class CacheParams(Section):
    """Of a language model: a deployed variant that is tried with caches on a target; the entry is called VARIANT-TARGET."""

    variant: Text
    target: Target


class HarnessParams(Section):
    """Of a language model: a deployed variant that answers the tasks of lm-evaluation-harness in a folder; called VARIANT-TARGET."""

    variant: Text
    target: Target
    tasks: Text
    """The folder of task files (*.yaml) and their data; the stage `harness` runs again when it changes."""
    limit: Count | None = None
    """So many documents of each task, the first ones; all where nothing is said."""


class EvaluateParams(Section):
    """How quality and speed are measured.

    `pairs` counts samples of baseline and variant that are compared, `launches` the fresh processes of each model that they are spread
    over (more where the gate's confidence needs more), `batch_size` is the larger of the two batch sizes. Where inputs differ in length,
    models are also timed at `lengths`; the gate judges the speed of a sample's own length.
    """

    batch_size: Annotated[int, Number, Field(ge=2, le=4096)] = 32
    pairs: Annotated[int, Number, Field(ge=10, le=10_000)] = 50
    launches: Annotated[int, Number, Field(ge=2, le=100)] = 8
    threads: Threads = 1
    resamples: Annotated[int, Number, Field(ge=200, le=100_000)] = 2000
    lengths: Annotated[tuple[Count, ...], Field(max_length=16)] | None = None
    """Sizes of the axes that vary, at which one sample is timed too; unset: the median of test and the longest of all. [] times none."""


class GateParams(Section):
    """What a variant must show, with `confidence`, to be accepted."""

    metric: Annotated[Text, Field(max_length=LONGEST_NAME)] = "accuracy"
    """A metric of the workload's objective."""
    max_drop: Positive = 0.01
    """By how much the metric may be worse than the teacher's, in its own unit (0.01 of a share is one percentage point)."""
    max_relative_drop: Fraction | None = None
    """In place of max_drop: by which share of the teacher's figure it may be worse."""
    min_size_ratio: Amount = 1.0
    min_speed_ratio: Amount = 1.0
    confidence: Annotated[float, Number, Field(gt=0.5, lt=1)] = 0.95
    familywise: bool = False
    """Whether the confidence is that of all verdicts of a run together (Holm) instead of each alone."""
    judged_before: Annotated[int, Number, Field(ge=0, le=1_000_000)] = 0
    """Pairs of a variant and a target that the same test split judged before this run: they stay counted among those judged together."""

    @model_validator(mode="after")
    def _one_margin(self) -> "GateParams":
        if self.max_relative_drop is not None and "max_drop" in self.model_fields_set:
            raise ValueError("max_drop and max_relative_drop are two margins for the same drop: give one of them")
        return self


class PublishParams(Section):
    """Where accepted variants go. Without `endpoint_url` and AWS settings the embedded server is used."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = "slimline"
    alias: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=LONGEST_NAME)] = "latest"
    endpoint_url: str | None = None
    quota_bytes: Annotated[int, Number, Field(ge=1_000_000, le=10**18)] | None = None
    """What the bucket may hold; an alert goes out when nine tenths of it are used. Unset: nothing is counted."""
