"""Configs of the pruning methods."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from slimline.params.prune_channels import ChannelsParams
from slimline.params.prune_lottery import LotteryTicketParams
from slimline.params.prune_unstructured import MagnitudeParams, MovementParams, SemiStructuredParams, TaylorParams
from slimline.params.section import Count, EditParams, Strength


PruneParams = Annotated[
    MagnitudeParams | TaylorParams | MovementParams | SemiStructuredParams | ChannelsParams | LotteryTicketParams,
    Field(discriminator="method"),
]
