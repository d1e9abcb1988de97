"""Stage `factorize`: put two thin layers in the place of wide ones, then optionally train the variant to recover.

in      data/models/<source>, data/calibration, data/prepared/{train,validation,calibration}.parquet
out     data/models/<variant>
params  workload, seed, calibrate, gate.metric, factorize.<variant>
"""

from torch import Tensor, nn

from slimline.calibration.statistics import CalibrationStatistics
from slimline.methods import get_method
from slimline.methods.recalibrate import recalibrate_batchnorm
from slimline.params import SvdParams
from slimline.stage import Stage, stage_main
from slimline.workloads.prepared import load_split
from tasks.variant import Outcome, layer_table, load_origin, recover, require_shrunk, save_outcome, source_statistics, training


def run(model: nn.Module, config: SvdParams, statistics: CalibrationStatistics, inputs: Tensor) -> nn.Module:
    """The model factorized by its calibration statistics, batch norm measured anew on `inputs`; at energy 1 a copy."""
    factorized: nn.Module = get_method("factorize", config.method)(model, config, statistics=statistics)
    return factorized if config.energy == 1 else recalibrate_batchnorm(factorized, inputs)


def asked(config: SvdParams) -> str:
    """The config in a sentence."""
    if config.energy is not None:
        return f"Ranks that keep {config.energy:.1%} of each layer's output energy on the calibration sample."
    return f"Rank {config.rank}." if config.rank is not None else f"Ranks that leave {config.parameter_ratio:.0%} of each layer's weights."


def main(stage: Stage) -> None:
    """Read the source, factorize it, check that it shrank, train it if asked to, save."""
    origin, config, train = load_origin(stage), stage.config, load_split(stage.workload, "train")
    factorized = run(origin.source.model, config, source_statistics(stage, origin), train.inputs)
    if config.energy != 1:
        require_shrunk(stage, origin.source.model, factorized)
    model, history = recover(factorized, config.recover, training(stage, origin, train))
    table = layer_table(origin.source.model, model)
    pairs = sum(" + " in str(row[2]) for row in table.rows)
    done = f"{pairs} of {len(table.rows)} layers became two; the others would not have had fewer parameters, or are no plain matrices."
    recovered = f"Then {len(history.epochs)} epochs of recovery training." if history.epochs else "No recovery training."
    details = {"factorized_layers": pairs}
    save_outcome(stage, origin, Outcome(model, (asked(config), done, recovered), history, tables=(table,), details=details))


if __name__ == "__main__":
    stage_main("factorize", main, __doc__, per="variant")
