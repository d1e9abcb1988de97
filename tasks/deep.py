"""The look before training in the foreground, for `slimline check --deep` and `slimline init`: no stage, it leaves nothing behind.

in      data/prepared
out     standard output: the trials as JSON, whether they work or not

    python -m tasks.deep [--variants]       --variants: nothing is compiled for the targets
"""

import json
import sys
from dataclasses import asdict

from slimline.commands.deep import ONLY_VARIANTS
from slimline.stage import Stage, stage_main
from tasks.look import looked


def main(stage: Stage) -> None:
    """Try all of it, and print what came of each trial."""
    found = looked(stage, compiles=ONLY_VARIANTS not in sys.argv)
    sys.stdout.write(json.dumps([asdict(trial) for trial in found]) + "\n")


if __name__ == "__main__":
    stage_main("look", main, __doc__, argv=[])
