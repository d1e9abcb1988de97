"""A training's epochs as lines of the stage's log."""

import logging

from slimline.progress import epoch_line
from slimline.training.fit import OnEpoch
from slimline.training.history import Epoch

log = logging.getLogger(__name__)


def announced(who: str) -> OnEpoch:
    """What `fit` tells of its epochs, in the name of a variant."""

    def announce(epoch: Epoch, total: int) -> None:
        log.info("%s", epoch_line(who, epoch.number, total, epoch.loss, epoch.metric))

    return announce
