"""params.yaml as frozen models: unknown keys are errors, and all mistakes are raised together."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field, ValidationError

from slimline.errors import InputError, ParamsError
from slimline.params.distill import DistillParams, HiddenStatesParams, ScratchParams, SequenceParams, SoftTargetsParams, StudentTraining
from slimline.params.explained import explained
from slimline.params.factorize import CpParams, FactorizeParams, LowRankParams, SpatialSvdParams, SvdParams, TuckerParams
from slimline.params.factorized_training import FactorizedTrainingParams
from slimline.params.graph import TEACHER, graph_problems, name_problems
from slimline.params.prune import PruneParams
from slimline.params.prune_blocks import DepthParams, HeadsParams
from slimline.params.prune_channels import ChannelsParams
from slimline.params.prune_lottery import LotteryTicketParams
from slimline.params.prune_regularised import GroupLassoParams, HardConcreteParams, L1RegularisedParams, NetworkSlimmingParams
from slimline.params.prune_unstructured import (
    MagnitudeParams,
    MovementParams,
    SemiStructuredParams,
    SparsegptParams,
    TaylorParams,
    WandaParams,
)
from slimline.params.quantize import (
    AdaroundParams,
    DynamicParams,
    HalfParams,
    MixedParams,
    QatParams,
    QuantizeParams,
    SmoothquantParams,
    StaticParams,
)
from slimline.params.quantize_weights import AwqParams, GptqParams, HqqParams, WeightOnlyParams
from slimline.params.section import EditParams, Number, Recovery, Section, Text, Training, VariantParams
from slimline.params.sections import (
    CalibrateParams,
    DataParams,
    DeployParams,
    EvaluateParams,
    GateParams,
    ModelParams,
    PublishParams,
    Target,
    TeacherParams,
)
from slimline.params.yaml_file import read_yaml

__all__ = [
    "CONFIGS",
    "TARGETS",
    "TEACHER",
    "VARIANT_SECTIONS",
    "AdaroundParams",
    "AwqParams",
    "CalibrateParams",
    "ChannelsParams",
    "CpParams",
    "DataParams",
    "DepthParams",
    "DynamicParams",
    "EditParams",
    "EvaluateParams",
    "FactorizedTrainingParams",
    "GateParams",
    "GptqParams",
    "GroupLassoParams",
    "HalfParams",
    "HardConcreteParams",
    "HeadsParams",
    "HiddenStatesParams",
    "HqqParams",
    "L1RegularisedParams",
    "LotteryTicketParams",
    "LowRankParams",
    "MagnitudeParams",
    "MixedParams",
    "ModelParams",
    "MovementParams",
    "NetworkSlimmingParams",
    "Params",
    "PublishParams",
    "QatParams",
    "QuantizeParams",
    "Recovery",
    "ScratchParams",
    "SemiStructuredParams",
    "SequenceParams",
    "SmoothquantParams",
    "SoftTargetsParams",
    "SparsegptParams",
    "SpatialSvdParams",
    "StaticParams",
    "StudentTraining",
    "SvdParams",
    "TaylorParams",
    "TeacherParams",
    "Training",
    "TuckerParams",
    "VariantParams",
    "WandaParams",
    "WeightOnlyParams",
]

CONFIGS: dict[str, dict[str, type[VariantParams]]] = {
    "prune": {
        "magnitude": MagnitudeParams,
        "taylor": TaylorParams,
        "movement": MovementParams,
        "semi_structured": SemiStructuredParams,
        "wanda": WandaParams,
        "sparsegpt": SparsegptParams,
        "channels": ChannelsParams,
        "heads": HeadsParams,
        "depth": DepthParams,
        "lottery_ticket": LotteryTicketParams,
        "l1_regularised": L1RegularisedParams,
        "network_slimming": NetworkSlimmingParams,
        "group_lasso": GroupLassoParams,
        "hard_concrete": HardConcreteParams,
    },
    "quantize": {
        "static": StaticParams,
        "adaround": AdaroundParams,
        "qat": QatParams,
        "mixed": MixedParams,
        "dynamic": DynamicParams,
        "half": HalfParams,
        "weight_only": WeightOnlyParams,
        "hqq": HqqParams,
        "gptq": GptqParams,
        "awq": AwqParams,
        "smoothquant": SmoothquantParams,
    },
    "factorize": {
        "svd": SvdParams,
        "spatial_svd": SpatialSvdParams,
        "tucker": TuckerParams,
        "cp": CpParams,
        "factorized_training": FactorizedTrainingParams,
    },
    "distill": {
        "soft_targets": SoftTargetsParams,
        "hidden_states": HiddenStatesParams,
        "sequence": SequenceParams,
        "scratch": ScratchParams,
    },
}
VARIANT_SECTIONS = tuple(CONFIGS)
TARGETS: tuple[str, ...] = get_args(Target)


class Params(Section):
    """A whole run: the workload, every variant, where they are deployed and what they must show."""

    workload: Annotated[Text, Field(max_length=200)]
    seed: Annotated[int, Number, Field(ge=0, lt=2**32)] = 0
    data: DataParams = DataParams()
    model: ModelParams = ModelParams()
    teacher: TeacherParams = TeacherParams()
    calibrate: CalibrateParams = CalibrateParams()
    prune: dict[str, PruneParams] = Field(default_factory=dict)
    quantize: dict[str, QuantizeParams] = Field(default_factory=dict)
    factorize: dict[str, FactorizeParams] = Field(default_factory=dict)
    distill: dict[str, DistillParams] = Field(default_factory=dict)
    deploy: DeployParams
    evaluate: EvaluateParams = EvaluateParams()
    gate: GateParams = GateParams()
    publish: PublishParams = PublishParams()

    @property
    def variants(self) -> dict[str, tuple[str, VariantParams]]:
        """Every variant but the teacher: name -> (stage, config)."""
        return {name: (section, config) for section in VARIANT_SECTIONS for name, config in getattr(self, section).items()}

    def lineage(self, variant: str) -> tuple[str, ...]:
        """The variant and its sources, back to the teacher."""
        names = [variant]
        while names[-1] != TEACHER:
            names.append(self.variants[names[-1]][1].source)
        return tuple(names)

    @classmethod
    def parse(cls, raw: Any, *, origin: str = "params.yaml") -> "Params":
        """Build from plain data.

        Raises:
            ParamsError: with one line for each mistake.
        """
        if not isinstance(raw, Mapping):
            raise ParamsError([f"{origin}: holds no mapping of sections; see the README for an example"])
        problems = list(name_problems(raw, VARIANT_SECTIONS)) if _sections_are_maps(raw) else []
        try:
            params = cls.model_validate(raw)
        except ValidationError as error:
            raise ParamsError([*problems, *explained(error, origin, cls, CONFIGS)]) from None
        problems += graph_problems(params)
        if problems:
            raise ParamsError(problems)
        return params

    @classmethod
    def load(cls, path: Path = Path("params.yaml")) -> "Params":
        """Read a file.

        Raises:
            ParamsError: the file is missing, is no YAML, or holds mistakes (all of them are named).
        """
        try:
            raw = read_yaml(path)
        except FileNotFoundError:
            raise ParamsError([f"{path}: no such file; run slimline inside a project folder (one with dvc.yaml)"]) from None
        except InputError as error:
            raise ParamsError([str(error)]) from None
        return cls.parse(raw, origin=path.name)


def params_sha256(path: Path) -> str:
    """The checksum of the file's bytes, by which a run is known."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sections_are_maps(raw: Mapping[str, Any]) -> bool:
    return all(isinstance(raw.get(section) or {}, Mapping) for section in VARIANT_SECTIONS)
