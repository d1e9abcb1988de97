"""The flow that `python -m flows.compress` and the deployments of prefect.yaml run; `--help` shows the command's flags."""

from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.frame import MAX_TASKS, ended
from flows.line import run_line
from flows.options import Options


@flow(name="compress", task_runner=ThreadPoolTaskRunner(max_workers=MAX_TASKS), persist_result=False)
def compress(options: Options = Options()) -> Any:  # noqa: B008 - a frozen model, and Prefect shows its defaults in the form
    """Make every variant, measure it, report, and release what passed the gate. DVC alone decides what has to run."""
    return ended(lambda project: run_line(project, options))


if __name__ == "__main__":
    from flows.command import main

    main(compress)
