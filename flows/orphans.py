"""Results of variants that params.yaml no longer has: removed before a run, so that the workspace is what a fresh clone builds.

They stay in DVC's cache: naming the variant again brings them back without work.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from flows.dag import Dag

VARIANT_FOLDERS = ("data/models", "data/compiled", "data/evaluated")
REPORT_FOLDERS = ("reports/metrics", "reports/stages")


def remove_orphans(root: Path, dag: Dag) -> tuple[str, ...]:
    """Remove what no stage of the whole DAG makes, and say so, one line each."""
    made = {out for node in dag.nodes.values() for out in node.outs}
    orphans = [path for path in _results(root) if path.relative_to(root).as_posix() not in made]
    for path in orphans:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return tuple(f"removed {path.relative_to(root)}: no stage makes it now" for path in orphans)


def _results(root: Path) -> Iterator[Path]:
    for folder in VARIANT_FOLDERS:
        yield from sorted((root / folder).glob("[!.]*"))
    for folder in REPORT_FOLDERS:
        yield from sorted(path for path in (root / folder).glob("*/[!.]*") if path.is_file())
