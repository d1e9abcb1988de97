"""The report over what stands, where a stage of the line has failed: no stage of the DAG, for its pages lack what could not be judged.

in      a JSON file, [{"variant", "target" or null, "stage", "reason"}, …]: what is missing; reports/metrics and data/evaluated of the rest
out     as the stage `report`, whose place in dvc.lock is left as it is: the next whole run makes its pages anew

    python -m tasks.standing MISSING.json
"""

import sys
from pathlib import Path

from slimline.artifact.json_file import read_json
from slimline.report.summary import Missing
from slimline.stage import Stage, stage_main
from tasks import report


def main(stage: Stage) -> None:
    """Judge what stands and name what is missing."""
    report.main(stage, tuple(Missing(**one) for one in read_json(Path(sys.argv[1]))))


if __name__ == "__main__":
    stage_main("report", main, __doc__, argv=[])
