"""What one run is asked to do. Prefect shows this model as the form of the on-demand deployment."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from slimline.params.files import USUAL, params_files
from slimline.params.overrides import flow
from slimline.project import find_project


def offer_files(schema: dict[str, Any]) -> None:
    """The form lists the params files that the project has."""
    schema["enum"] = list(params_files(find_project()))


def written(overrides: Any) -> Any:
    """Values of JSON as `--set` writes them; text is YAML already."""
    if not isinstance(overrides, dict):
        return overrides
    return {key: value if isinstance(value, str) else flow(value) for key, value in overrides.items()}


VALUE = {"anyOf": [{"type": kind} for kind in ("string", "number", "boolean", "array", "object", "null")]}
SECRETS = {r"^publish(\.|$)": {"not": {"pattern": "[@?#]"}}}
"""Addresses with a password: Prefect refuses them before its database has them."""
Overrides = Annotated[
    dict[str, str],
    BeforeValidator(written),
    WithJsonSchema({"type": "object", "additionalProperties": VALUE, "patternProperties": SECRETS}, mode="validation"),
]

Budget = Annotated[
    str,
    Field(
        pattern=r"^(\d{1,4}h)?(\d{1,5}m)?(\d{1,6}s)?$",
        description="A span such as 2h or 1h30m: what cannot be judged within it is not begun. Empty: no bound.",
    ),
]
Share = Annotated[
    bool, Field(description="Compute no stage that another machine computes or has computed: leases and results in the store.")
]


class Options(BaseModel):
    """The parameters of one run of the line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: list[str] = Field(default_factory=list, description="Stages or globs, e.g. quantize@*; their ancestors run too. Empty: all.")
    params_file: str = Field(
        default=USUAL, json_schema_extra=offer_files, description="Which whole run: params.yaml, or one of params/ in a clone of its own."
    )
    set_params: Overrides = Field(
        default_factory=dict,
        description="Overrides of params.yaml, e.g. {'prune.channels50.ratio': 0.6}. It then runs in a clone, saved as an experiment.",
    )
    jobs: int = Field(default=2, ge=1, le=64, description="How many stages run side by side.")
    on_failure: Literal["keep-going", "fail-fast"] = Field(
        default="keep-going", description="After a failed stage: go on with all that does not need it, or start nothing more."
    )
    force: bool = Field(default=False, description="Run every stage again, also those that are up to date.")
    publish: bool = Field(default=True, description="Release what passed the gate to S3, and push the results for other machines.")
    pull: bool = Field(default=False, description="First fetch from the DVC remote what other machines have computed.")
    budget: Budget = ""
    share: Share = False
    memory_gib: int = Field(
        default=0, ge=0, le=65536, description="What the largest stage took where the run was sent from; a machine with less refuses it."
    )
    isolated: bool = Field(
        default=False, description="Work on the last commit, in a clone, saved as an experiment; the working tree is not touched."
    )
