"""Stage `prune`: remove weights or channels of a variant, then train it to recover.

in      data/models/<source>, data/prepared/{train,validation}.parquet
out     data/models/<variant>
params  workload, seed, gate.metric, prune.<variant>
"""

from torch import Tensor, nn

from slimline.methods import get_method
from slimline.methods.recalibrate import recalibrate_batchnorm
from slimline.params import ChannelsParams, MagnitudeParams
from slimline.stage import Stage, stage_main
from slimline.workloads.prepared import load_split
from tasks.variant import Outcome, layer_table, load_origin, recover, require_shrunk, save_outcome, training


def run(model: nn.Module, config: ChannelsParams | MagnitudeParams, example_input: Tensor, inputs: Tensor, seed: int) -> nn.Module:
    """The pruned model, its batch norm statistics measured anew on `inputs`; at strength 0 a copy."""
    pruned: nn.Module = get_method("prune", config.method)(model, config, example_input=example_input, seed=seed)
    return pruned if is_idle(config) else recalibrate_batchnorm(pruned, inputs)


def is_idle(config: ChannelsParams | MagnitudeParams) -> bool:
    """Whether the config asks for nothing to be removed."""
    return (config.ratio if isinstance(config, ChannelsParams) else config.fraction) == 0


def asked(config: ChannelsParams | MagnitudeParams) -> str:
    """The config in a sentence."""
    if isinstance(config, ChannelsParams):
        widths = f"widths in multiples of {config.round_to}"
        return f"Channels of least {config.norm} importance removed at ratio {config.ratio:g} ({config.scope}), {widths}."
    amount = f"below {config.threshold:g}" if config.fraction is None else f"the lowest {config.fraction:.0%}"
    return f"Weights zeroed by {config.norm} magnitude, {amount} ({config.scope})."


def main(stage: Stage) -> None:
    """Read the source, prune it, check that it shrank, train it with mask and shape kept, save."""
    origin, config, train = load_origin(stage), stage.config, load_split(stage.workload, "train")
    pruned = run(origin.source.model, config, stage.workload.example_input(), train.inputs, stage.params.seed)
    if not is_idle(config):
        require_shrunk(stage, origin.source.model, pruned)
    model, history = recover(pruned, config.recover, training(stage, origin, train))
    trained = (
        f"{len(history.epochs)} epochs of recovery training that kept every zero and shape" if history.epochs else "no recovery training"
    )
    recovered = f"Batch norm recalibrated, then {trained}."
    summary = (asked(config), "Strength 0: nothing was removed." if is_idle(config) else recovered)
    save_outcome(stage, origin, Outcome(model, summary, history, tables=(layer_table(origin.source.model, model),)))


if __name__ == "__main__":
    stage_main("prune", main, __doc__, per="variant")
