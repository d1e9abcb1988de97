"""What one run is asked to do. Prefect shows this model as the form of the on-demand deployment."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """The parameters of one run of the line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: list[str] = Field(default_factory=list, description="Stages or globs, e.g. quantize@*; their ancestors run too. Empty: all.")
    set_params: dict[str, str] = Field(
        default_factory=dict,
        description="Overrides of params.yaml, e.g. {'prune.channels50.ratio': '0.6'}. It then runs in a clone, saved as an experiment.",
    )
    jobs: int = Field(default=2, ge=1, le=64, description="How many stages run side by side.")
    on_failure: Literal["keep-going", "fail-fast"] = Field(
        default="keep-going", description="After a failed stage: go on with all that does not need it, or start nothing more."
    )
    force: bool = Field(default=False, description="Run every stage again, also those that are up to date.")
    publish: bool = Field(default=True, description="Release what passed the gate to S3, and push the results for other machines.")
    pull: bool = Field(default=False, description="First fetch from the DVC remote what other machines have computed.")
    isolated: bool = Field(
        default=False, description="Work on the last commit, in a clone, saved as an experiment; the working tree is not touched."
    )
