"""Hostile answers of an S3 store to everything that Slimline asks one, and secrets in its settings: one line each, no traceback, no secret.

    python benchmarks/faults/store.py --seed 0 --tries 300

Each operation runs against each kind of answer of hostile_store.py, in an order that the seed gives, as many as --tries.
"""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from hostile_store import ALIAS_BODIES, EVERYTHING, hostile_store
from tries import MEGABYTE, SLIMLINE, Try, all_tried

from slimline.storage import client as client_module
from slimline.storage.aliases import Author, Standing, advance, list_aliases, read_alias
from slimline.storage.client import Store, connect
from slimline.storage.objects import check_writes, download, require_bucket, upload
from slimline.storage.releases import fetch_release, list_releases, read_release

BASE, IDENTITY = "releases/digits", "a" * 20
SECRET = "S3cretPassw0rd"
KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
MAY_END_WELL = (
    "an alias that",
    "a release.json that",
    "404 of the key",
    "412",
    "409",
    "no keys",
    "an alias of",
    "a key with",
    "a huge",
    "no time",
)
"""Kinds that some operations rightly do not mind; none may end well with any other."""
Operation = Callable[[Store, Path], object]
OPERATIONS: dict[str, Operation] = {
    "look": lambda store, _: require_bucket(store),
    "list": lambda store, _: (list_releases(store, BASE), list_aliases(store, BASE)),
    "read an alias": lambda store, _: read_alias(store, BASE, "latest"),
    "read a release": lambda store, _: read_release(store, BASE, IDENTITY),
    "move an alias": lambda store, _: advance(
        store, BASE, "latest", Standing(release=IDENTITY, variant="a", target="b", releases={"a-b": IDENTITY}), Author(who="a try")
    ),
    "download": lambda store, folder: download(store, "x", folder / "x"),
    "upload": lambda store, _: upload(store, "x", Path(__file__)),
    "probe": lambda store, _: check_writes(store),
    "fetch a release": lambda store, folder: fetch_release(f"s3://{store.bucket}/{BASE}/aliases/latest.json", folder / "cache"),
}


def run(operation: str, kind: str, folder: Path) -> None:
    """One operation against one kind of answer, in a fork."""
    client_module.READ_TIMEOUT_S, client_module.CONNECT_TIMEOUT_S = 1, 1
    with hostile_store(kind) as endpoint:
        os.environ.update(KEYS, AWS_ENDPOINT_URL=endpoint)
        OPERATIONS[operation](connect("slimline"), folder)


def answers(folder: Path, seed: int, tries: int) -> Iterator[Try]:
    """Operations and kinds, shuffled; no process may take 200 MB more or a minute."""
    every = [(operation, kind) for operation in OPERATIONS for kind in EVERYTHING]
    random.Random(seed).shuffle(every)
    for number, (operation, kind) in enumerate(every[:tries]):
        own = folder / str(number)
        own.mkdir()
        family = "altered objects" if any(kind.endswith(f"that is {body}") for body in ALIAS_BODIES) else "answers"
        codes = (0, 1, 2) if kind.startswith(MAY_END_WELL) else (1, 2)
        yield Try(
            family, f"{operation}: {kind}", partial(run, operation, kind, own), cwd=own, codes=codes, secrets=(SECRET,), lines=1,
            memory_bytes=200 * MEGABYTE,
        )  # fmt: skip


def settings(folder: Path) -> Iterator[Try]:
    """Secrets and nonsense in the settings, told by the commands that read them."""
    project = Path(__file__).parents[2]
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).write_text((project / name).read_text(encoding="utf-8"), encoding="utf-8")
    places = ("127.0.0.1:1", "localhost:1/path", "no-such-host.invalid", "[::1", "127.0.0.1:99999999")
    endpoints = [f"http://tester:{SECRET}@{place}" for place in places]
    endpoints += [
        f"http://127.0.0.1:1/?token={SECRET}",
        f"http://{SECRET}@127.0.0.1:1",
        f"http://127.0.0.1:1#{SECRET}",
        f"tester:{SECRET}@host",
    ]
    for command in (("releases",), ("s3",), ("history",), ("publish",)):
        for endpoint in endpoints:
            yield Try("secrets", f"{command[0]}: {endpoint}", [*SLIMLINE, *command], cwd=folder, codes=(1, 2), secrets=(SECRET,), lines=1,
                      environment={**KEYS, "AWS_ENDPOINT_URL": endpoint})  # fmt: skip
    proxy = {"HTTP_PROXY": f"http://tester:{SECRET}@127.0.0.1:1", "AWS_ENDPOINT_URL": "http://store.invalid:9"}
    yield Try(
        "secrets", "a proxy's", [*SLIMLINE, "releases"], cwd=folder, codes=(1,), secrets=(SECRET,), lines=1, environment={**KEYS, **proxy}
    )


def main() -> int:
    """Run the tries and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, default=300)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "project").mkdir()
        every = [*settings(folder / "project"), *answers(folder, chosen.seed, chosen.tries)]
        return all_tried(every, heading=f"hostile stores, seed {chosen.seed}")


if __name__ == "__main__":
    sys.exit(main())
