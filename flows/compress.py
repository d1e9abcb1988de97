"""The flow that `python -m flows.compress` and the deployments of prefect.yaml run; `--help` shows the command's flags."""

import os
from typing import Any

from prefect import flow
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import engine
from flows.api import kept_up
from flows.environment import mark_as_parent
from flows.events import tell
from flows.line import run_line
from flows.options import Options
from flows.processes import own_identity
from flows.server import started_here
from flows.services import running_api_url
from slimline.project import find_project

MAX_TASKS = 128


@flow(name="compress", task_runner=ThreadPoolTaskRunner(max_workers=MAX_TASKS), persist_result=False)
def compress(options: Options = Options()) -> Any:  # noqa: B008 - a frozen model, and Prefect shows its defaults in the form
    """Make every variant, measure it, report, and release what passed the gate. DVC alone decides what has to run."""
    engine.start_over()
    mark_as_parent(os.environ, *own_identity())
    project, api_url = find_project(), PREFECT_API_URL.value()
    with kept_up(api_url, project, is_ours=api_url in (*started_here, running_api_url(project))):
        outcome = run_line(project, options)
        tell(outcome)
    return Completed(message=outcome.message) if outcome.exit_code == 0 else Failed(message=outcome.message)


if __name__ == "__main__":
    from flows.command import main

    main(compress)
