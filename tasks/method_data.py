"""The samples, losses and measurements that a stage hands to its method: the only way from the workload to a method."""

from torch import nn

from slimline.calibration.statistics import CalibrationStatistics, collect_statistics, load_statistics
from slimline.data.samples import Samples
from slimline.methods.data import MethodData
from slimline.params import TEACHER
from slimline.stage import Stage
from slimline.workloads.prepared import load_split
from tasks.variant import CALIBRATION, Origin, training


def method_data(stage: Stage, origin: Origin) -> MethodData:
    """The splits, the workload's loss and metric, and calibration, as the methods take them; no training rows where none are declared."""
    config, source = stage.params.calibrate, origin.source.model
    samples = load_split(stage.workload, "calibration")
    calibration = samples.inputs[: config.samples]
    train = load_split(stage.workload, "train") if stage.config.trains else Samples(samples.inputs[:0], samples.targets[:0])

    def collect(model: nn.Module) -> CalibrationStatistics:
        """The stage calibrate measured the teacher; any other model is measured here."""
        if model is source and stage.config.source == TEACHER:
            return load_statistics(CALIBRATION)
        return collect_statistics(model, calibration, config.batch_size)

    return MethodData(
        calibration=calibration,
        collect=collect,
        example_input=stage.workload.example_input(),
        **training(stage, origin, train),
    )
