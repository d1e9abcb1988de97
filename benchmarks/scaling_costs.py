"""What sharing costs on this machine, measured: a stage that is computed, one that is restored, the store's and Prefect's requests.

    python benchmarks/scaling_costs.py                 # two minutes; writes results/scaling-costs.json, which scaling_simulation.py reads

Two clones of the tests' tiny project share on a real store and a real server of Prefect; what a stage takes beside its own work is what the
line costs. The embedded store is asked by many at once, as the holders of leases do.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import psutil
from several_machines import LINE

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from slimline.params import PublishParams  # noqa: E402
from slimline.storage.client import Store, connect  # noqa: E402
from slimline.storage.objects import read, write_if  # noqa: E402
from slimline.storage.server import store_environment  # noqa: E402
from tests.flow.running import Project, prefect_api, sharing_project  # noqa: E402

COSTS = PROJECT / "benchmarks/results/scaling-costs.json"
WORK_S = {"teacher": 0.2, "p50": 0.2, "q8": 0.2, "report": 0.1}
"""What the stages of the tiny project sleep (tests/flow/tiny/dvc.yaml.txt)."""
CLIENTS, ASKED_S = 8, 5.0


@dataclass(frozen=True)
class Costs:
    """Seconds of one client, and requests a second of all that a server answers."""

    computed_s: float
    restored_s: float
    prefect_stage_s: float
    store_request_s: float
    store_requests_a_second: float


def stages(project: Project) -> dict[str, float]:
    """Seconds of each stage of a run that shares, waits for the store included."""
    code, _, shown = project.run("--no-publish", "--share", "--jobs", "1")
    if code:
        raise SystemExit(f"the tiny project's run ended with {code}:\n{shown}")
    return {found["stage"]: float(found["seconds"]) for found in map(LINE.match, shown.splitlines()) if found}


def shared(folder: Path, store: Mapping[str, str]) -> tuple[float, float, float]:
    """Seconds of a computed stage beside its work, of a restored one, and of Prefect's server for a stage."""
    with prefect_api(folder) as api:
        server = [psutil.Process(one.pid) for one in psutil.Process().children(recursive=True) if "prefect" in " ".join(one.cmdline())]
        before = _cpu_s(server)
        computed = stages(sharing_project(folder / "first", api, store))
        restored = stages(sharing_project(folder / "second", api, store))
        server_s = (_cpu_s(server) - before) / (len(computed) + len(restored))
    return mean(seconds - WORK_S[stage.rpartition("@")[2]] for stage, seconds in computed.items()), mean(restored.values()), server_s


def asked(store: Store) -> tuple[float, float]:
    """Seconds of a request of one client, and how many a second many clients get: reads and conditional writes in turn, as of leases."""

    def ask(number: int) -> int:
        key, count, until = f"leases/cost-{number}.json", 0, time.monotonic() + ASKED_S
        while time.monotonic() < until:
            standing = read(store, key)
            write_if(store, key, str(count).encode(), standing.etag if standing else None)
            count += 2
        return count

    alone = ask(0)
    with ThreadPoolExecutor(CLIENTS) as pool:
        together = sum(pool.map(ask, range(CLIENTS)))
    return ASKED_S / alone, together / ASKED_S


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def main() -> int:
    """Measure and write."""
    with tempfile.TemporaryDirectory(prefix="scaling-costs-") as name:
        folder, publish = Path(name), PublishParams()
        with store_environment(folder / "store", publish) as store:
            computed_s, restored_s, prefect_stage_s = shared(folder, store)
            request_s, requests = asked(connect(publish.bucket, {**os.environ, **store}))
    costs = Costs(computed_s, restored_s, prefect_stage_s, request_s, requests)
    COSTS.write_text(json.dumps({name: round(value, 4) for name, value in asdict(costs).items()}, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(COSTS.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
