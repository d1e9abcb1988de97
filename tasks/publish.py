"""Publish what the last run accepted to S3. No stage of the DAG: it acts on the world, and again changes nothing.

in      reports/summary.json, data/compiled, reports/stages/evaluate
out     s3://<bucket>/releases/<workload>/…, reports/releases.json
params  publish
"""

import argparse
import logging
import sys
from pathlib import Path

from slimline.artifact.border import told_of_the_disk
from slimline.errors import SlimlineError
from slimline.params import Params
from slimline.storage.publish import Publication, publish_project

log = logging.getLogger(__name__)


def run(root: Path, params: Params) -> Publication:
    """Publish the run that reports/summary.json of `root` describes; same errors as `publish_project`."""
    return publish_project(root, params.publish, log.info)


def main(argv: list[str] | None = None) -> None:
    """Publish the project in the current folder; exit codes 0, 2 (input or store refused), 3 (nothing passed), 1."""
    argparse.ArgumentParser(
        prog="python -m tasks.publish", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        with told_of_the_disk("reports"):
            run(Path.cwd(), Params.load())
    except SlimlineError as error:
        sys.stderr.writelines(f"error: {line}\n" for line in str(error).splitlines())
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
