"""Stage `machine`: the kind of machine that this is, which the stage `time` depends on.

in      the machine
out     data/machine.json, in no cache: every machine writes its own

Each run writes it first (`slimline.measure.machine.record`); this stage does where `dvc repro` alone runs and the file is missing.
"""

import logging
import sys
from pathlib import Path

from slimline.measure.machine import machine_id, record

log = logging.getLogger(__name__)


def main() -> None:
    """Write the fingerprint."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    found = record(Path())
    log.info("machine: %s: %s, %d cores", machine_id(found), found["cpu"], found["cores"])


if __name__ == "__main__":
    main()
