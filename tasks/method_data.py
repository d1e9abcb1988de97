"""What the stages hand to a method: the splits, how they are judged, and statistics."""

from collections.abc import Iterator

from torch import nn

from slimline.calibration.draws import other_draws
from slimline.calibration.statistics import CalibrationStatistics, collect_statistics, load_statistics
from slimline.data.batch import Batch
from slimline.data.prepared import load_batch, load_split, load_table
from slimline.data.samples import head
from slimline.methods.data import MethodData
from slimline.params import TEACHER
from slimline.stage import Stage
from slimline.training.device import device_of
from tasks.outcome import Origin
from tasks.variant import CALIBRATION, training_data


def method_data(stage: Stage, origin: Origin) -> MethodData:
    """The splits, the objective and calibration, as the methods take them; no training rows where none are declared."""
    config, source, make = stage.params.calibrate, origin.source.model, stage.workload.samples
    calibration = load_batch(make, "calibration", config.samples)
    train = load_split(make, "train") if stage.config.trains else head(origin.validation, 0)

    def collect(model: nn.Module) -> CalibrationStatistics:
        """The stage calibrate measured the teacher; any other model is measured here."""
        if model is source and stage.config.source == TEACHER:
            return load_statistics(CALIBRATION)
        return collect_statistics(model, calibration, config.batch_size, device_of(config.device))

    signature = origin.teacher.manifest.signature
    more = training_data(stage, origin, train).settings
    return MethodData(calibration=calibration, example=origin.example, signature=signature, collect=collect, **more)


def other_samples(stage: Stage) -> Iterator[Batch]:
    """Other calibration samples than the one that is used, from train and calibration."""
    tables = [load_table(split) for split in ("train", "calibration")]
    return other_draws(tables, stage.workload.samples, stage.params.calibrate, stage.params.seed)
