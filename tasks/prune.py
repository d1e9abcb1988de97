"""Stage `prune`: remove weights or channels of a variant, then train it to recover.

in      data/models/<source>, data/prepared/{train,validation}.parquet
out     data/models/<variant>
params  workload, seed, gate.metric, prune.<variant>
"""

from typing import Any

from torch import Tensor, nn

from slimline.methods import get_method
from slimline.methods.fit import FitHistory
from slimline.methods.recalibrate import recalibrate_batchnorm
from slimline.params import ChannelsParams, MagnitudeParams
from slimline.stage import Stage, stage_main
from slimline.workloads.prepared import load_split
from tasks.variant import Outcome, layer_table, load_origin, recover, require_shrunk, save_outcome, training


def run(
    model: nn.Module, config: ChannelsParams | MagnitudeParams, example_input: Tensor, settings: dict[str, Any]
) -> tuple[nn.Module, FitHistory]:
    """Prune, measure the batch norm statistics anew, train with mask or shape kept."""
    prune = get_method("prune", config.method)
    pruned = prune(model, config, example_input=example_input, seed=settings["seed"])
    pruned = recalibrate_batchnorm(pruned, settings["train"].inputs)
    return recover(pruned, config.recover, settings)


def is_idle(config: ChannelsParams | MagnitudeParams) -> bool:
    """Whether the config asks for nothing to be removed."""
    return (config.ratio if isinstance(config, ChannelsParams) else config.fraction) == 0


def asked(config: ChannelsParams | MagnitudeParams) -> str:
    """The config in a sentence."""
    if isinstance(config, ChannelsParams):
        return f"Channels of least {config.norm} importance removed at ratio {config.ratio:g} ({config.scope}), widths in multiples of {config.round_to}."
    amount = f"below {config.threshold:g}" if config.fraction is None else f"the lowest {config.fraction:.0%}"
    return f"Weights zeroed by {config.norm} magnitude, {amount} ({config.scope})."


def main(stage: Stage) -> None:
    """Read the source, prune and recover it, check that it shrank, save."""
    origin, config = load_origin(stage), stage.config
    settings = training(stage, origin, load_split(stage.workload, "train"))
    model, history = run(origin.source.model, config, stage.workload.example_input(), settings)
    if not is_idle(config):
        require_shrunk(stage, origin.source.model, model)
    idle = ("Strength 0: the model is its source.",) if is_idle(config) and not history.epochs else ()
    recovered = f"Batch norm recalibrated, then {len(history.epochs)} epochs of recovery training that kept every zero and shape."
    outcome = Outcome(model, (asked(config), recovered, *idle), history, tables=(layer_table(origin.source.model, model),))
    save_outcome(stage, origin, outcome)


if __name__ == "__main__":
    stage_main("prune", main, __doc__, per="variant")
