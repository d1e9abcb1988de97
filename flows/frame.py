"""What every flow does around its work: look after the API meanwhile, tell how it ended, and give Prefect the state."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed

from flows import engine
from flows.api import kept_up
from flows.bisected import Bisected
from flows.environment import mark_as_parent
from flows.events import tell
from flows.processes import own_identity
from flows.results import Outcome
from flows.searched import Searched
from flows.server import started_here
from flows.service_record import running_api_url
from slimline.project import find_project

MAX_TASKS = 128


def ended(work: Callable[[Path], Outcome | Searched | Bisected]) -> Any:
    """The state of a flow whose work on the project has ended so."""
    engine.start_over()
    mark_as_parent(os.environ, *own_identity())
    project, api_url = find_project(), PREFECT_API_URL.value()
    with kept_up(api_url, project, is_ours=api_url in (*started_here, running_api_url(project))):
        outcome = work(project)
        tell(outcome)
    return Completed(message=outcome.message) if outcome.exit_code == 0 else Failed(message=outcome.message)
