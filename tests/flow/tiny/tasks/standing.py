"""The report over what stands: the dummy's summary, with what is missing as the flow gave it."""

import json
import sys
from pathlib import Path

from tasks.dummy import summary

if __name__ == "__main__":
    missing = json.loads(Path(sys.argv[1]).read_text())
    Path("reports/summary.json").write_text(json.dumps(summary() | {"missing": missing}))
