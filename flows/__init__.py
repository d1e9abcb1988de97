"""The line as a Prefect flow: it calls DVC for every stage, and never imports tasks.

Prefect reads its settings when it is imported, so the process is prepared here, before any module of this package imports it.
"""

import os

from flows.environment import prepare

prepare(os.environ)
