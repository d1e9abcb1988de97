"""Configs of the pruning methods."""

from typing import Annotated

from pydantic import Field

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

PruneParams = Annotated[
    MagnitudeParams
    | TaylorParams
    | MovementParams
    | SemiStructuredParams
    | WandaParams
    | SparsegptParams
    | ChannelsParams
    | HeadsParams
    | DepthParams
    | LotteryTicketParams
    | L1RegularisedParams
    | NetworkSlimmingParams
    | GroupLassoParams
    | HardConcreteParams,
    Field(discriminator="method"),
]
