"""The line as a Prefect flow: it calls DVC for every stage, and never imports tasks.

Prefect reads its settings when it is imported, so the process is prepared here, before any module of this package imports it.
"""

import os
import sys

from flows.environment import prepare
from slimline.errors import SlimlineError

try:
    prepare(os.environ)
except SlimlineError as error:
    sys.stderr.writelines(f"error: {line}\n" for line in str(error).splitlines())
    raise SystemExit(error.exit_code) from None
