"""params.yaml as frozen models: unknown keys are errors, and all mistakes are raised together."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Discriminator, Field, InstanceOf, SerializeAsAny, Tag, ValidationError

from slimline.errors import InputError, ParamsError
from slimline.params.distill import DistillParams, DkdParams, ScratchParams, SequenceParams, SoftTargetsParams
from slimline.params.distill_features import AttentionTransferParams, HiddenStatesParams, HintsParams, RelationalParams
from slimline.params.distill_peers import AssistantParams, MutualParams, SelfParams
from slimline.params.explained import explained
from slimline.params.factorize import CpParams, FactorizeParams, LowRankParams, SpatialSvdParams, SvdParams, TuckerParams
from slimline.params.factorized_training import FactorizedTrainingParams
from slimline.params.graph import TEACHER, graph_problems, name_problems
from slimline.params.own import is_own, own_config, with_own_configs
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
from slimline.params.search import SearchParams, search_problems
from slimline.params.section import EditParams, Number, Recovery, Section, Text, Training, VariantParams
from slimline.params.sections import (
    CacheParams,
    CalibrateParams,
    DataParams,
    DeployParams,
    EvaluateParams,
    GateParams,
    HarnessParams,
    ModelParams,
    PublishParams,
    TeacherParams,
    TeachParams,
)
from slimline.params.student import StudentTraining
from slimline.params.yaml_file import read_yaml
from slimline.targets import Target

__all__ = [
    "CONFIGS",
    "TARGETS",
    "TEACHER",
    "VARIANT_SECTIONS",
    "AdaroundParams",
    "AssistantParams",
    "AttentionTransferParams",
    "AwqParams",
    "CacheParams",
    "CalibrateParams",
    "ChannelsParams",
    "CpParams",
    "DataParams",
    "DepthParams",
    "DkdParams",
    "DynamicParams",
    "EditParams",
    "EvaluateParams",
    "FactorizedTrainingParams",
    "GateParams",
    "GptqParams",
    "GroupLassoParams",
    "HalfParams",
    "HardConcreteParams",
    "HarnessParams",
    "HeadsParams",
    "HiddenStatesParams",
    "HintsParams",
    "HqqParams",
    "L1RegularisedParams",
    "LotteryTicketParams",
    "LowRankParams",
    "MagnitudeParams",
    "MixedParams",
    "ModelParams",
    "MovementParams",
    "MutualParams",
    "NetworkSlimmingParams",
    "Params",
    "PublishParams",
    "QatParams",
    "QuantizeParams",
    "Recovery",
    "RelationalParams",
    "ScratchParams",
    "SearchParams",
    "SelfParams",
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
    "TeachParams",
    "TeacherParams",
    "Training",
    "TuckerParams",
    "VariantParams",
    "WandaParams",
    "WeightOnlyParams",
    "config_class",
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
        "dkd": DkdParams,
        "hidden_states": HiddenStatesParams,
        "hints": HintsParams,
        "attention_transfer": AttentionTransferParams,
        "relational": RelationalParams,
        "mutual": MutualParams,
        "self": SelfParams,
        "assistant": AssistantParams,
        "sequence": SequenceParams,
        "scratch": ScratchParams,
    },
}
VARIANT_SECTIONS = tuple(CONFIGS)
TARGETS: tuple[str, ...] = get_args(Target)


def config_class(stage: str, method: str, root: Path = Path()) -> type[VariantParams]:
    """The config of a method, be it one of ours or `methods/file.py:function`.

    Raises:
        MethodError: one of your own that cannot be had.
    """
    return own_config(method, root) if is_own(method) else CONFIGS[stage][method]


def _origin(entry: Any) -> str:
    """Whether a variant's entry is that of a method of ours, or the config that a method of one's own has been given already."""
    return "own" if isinstance(entry, VariantParams) and is_own(entry.method) else "listed"


PruneEntry = Annotated[
    Annotated[PruneParams, Tag("listed")] | Annotated[SerializeAsAny[InstanceOf[EditParams]], Tag("own")], Discriminator(_origin)
]
QuantizeEntry = Annotated[
    Annotated[QuantizeParams, Tag("listed")] | Annotated[SerializeAsAny[InstanceOf[VariantParams]], Tag("own")], Discriminator(_origin)
]
FactorizeEntry = Annotated[
    Annotated[FactorizeParams, Tag("listed")] | Annotated[SerializeAsAny[InstanceOf[EditParams]], Tag("own")], Discriminator(_origin)
]
DistillEntry = Annotated[
    Annotated[DistillParams, Tag("listed")] | Annotated[SerializeAsAny[InstanceOf[StudentTraining]], Tag("own")], Discriminator(_origin)
]


class Params(Section):
    """A whole run: the workload, every variant, where they are deployed and what they must show."""

    workload: Annotated[Text, Field(max_length=200)]
    seed: Annotated[int, Number, Field(ge=0, lt=2**32)] = 0
    data: DataParams = DataParams()
    model: ModelParams = ModelParams()
    teacher: TeacherParams = TeacherParams()
    calibrate: CalibrateParams = CalibrateParams()
    prune: dict[str, PruneEntry] = Field(default_factory=dict)
    quantize: dict[str, QuantizeEntry] = Field(default_factory=dict)
    factorize: dict[str, FactorizeEntry] = Field(default_factory=dict)
    distill: dict[str, DistillEntry] = Field(default_factory=dict)
    teach: dict[str, TeachParams] = Field(default_factory=dict)
    deploy: DeployParams
    cache: dict[str, CacheParams] = Field(default_factory=dict)
    harness: dict[str, HarnessParams] = Field(default_factory=dict)
    evaluate: EvaluateParams = EvaluateParams()
    gate: GateParams = GateParams()
    publish: PublishParams = PublishParams()
    search: SearchParams | None = None

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
    def parse(cls, raw: Any, *, origin: str = "params.yaml", root: Path = Path()) -> "Params":
        """Build from plain data; files of own methods are looked for below `root`.

        Raises:
            ParamsError: with one line for each mistake.
        """
        if not isinstance(raw, Mapping):
            raise ParamsError([f"{origin}: holds no mapping of sections; see the README for an example"])
        problems = list(name_problems(raw, VARIANT_SECTIONS)) if _sections_are_maps(raw) else []
        content, wrong = with_own_configs(raw, origin, root)
        problems += wrong
        try:
            params = cls.model_validate(content)
        except ValidationError as error:
            raise ParamsError([*problems, *explained(error, origin, cls, CONFIGS)]) from None
        problems += graph_problems(params)
        problems += search_problems(params.search, params.variants, CONFIGS, root) if params.search else ()
        if problems:
            raise ParamsError(problems)
        return params

    @classmethod
    def load(cls, path: Path = Path("params.yaml"), root: Path | None = None) -> "Params":
        """Read a file of the project in the folder `root`; without it, of the folder that it is in.

        Raises:
            ParamsError: the file is missing, is no YAML, or holds mistakes (all of them are named).
        """
        try:
            raw = read_yaml(path)
        except FileNotFoundError:
            raise ParamsError([f"{path}: no such file; run slimline inside a project folder (one with dvc.yaml)"]) from None
        except InputError as error:
            raise ParamsError([str(error)]) from None
        return cls.parse(raw, origin=path.name, root=root or path.parent)


def params_sha256(path: Path) -> str:
    """The checksum of the file's bytes, by which a run is known."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sections_are_maps(raw: Mapping[str, Any]) -> bool:
    return all(isinstance(raw.get(section) or {}, Mapping) for section in VARIANT_SECTIONS)
