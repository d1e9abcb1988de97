"""benchmarks/peers.py: its params are such that the line takes them, and who is ahead is told from figures."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from slimline.params import Params


@pytest.fixture
def module(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a file of benchmarks/peers, which see those of benchmarks beside them."""
    monkeypatch.syspath_prepend(str(project / "benchmarks"))
    monkeypatch.syspath_prepend(str(project / "benchmarks/peers"))
    return import_module


def row(variant: str, drop: float, size_bytes: int, speed: float, *, peer: bool = False, noise: float = 0.02) -> dict[str, Any]:
    """As the benchmark has it, at both batch sizes alike."""
    return {
        "variant": variant,
        "target": "onnxruntime",
        "peer": peer,
        "drop": {"value": drop, "ci": [drop - 0.004, drop + 0.004], "unit": "fraction", "metric": "accuracy"},
        "size_bytes": size_bytes,
        "speed_ratio": {batch: {"value": speed} for batch in ("batch_1", "batch_32")},
        "noise_floor": {batch: {"value": noise} for batch in ("batch_1", "batch_32")},
    }


@pytest.mark.parametrize("name", ["digits", "cnn11m", "emoji", "series", "table", "encoder", "language"])
def test_every_workload_has_params_that_the_line_takes(module: Any, name: str) -> None:
    workloads = module("bench_workloads")
    setting = workloads.SETTINGS[name]
    params = Params.parse(workloads.params_of(setting, 2))
    assert params.seed == 2
    assert {one for names in setting.ours.values() for one in names} <= set(params.variants)
    assert set(setting.peers) <= set(module("environments").PEERS)


def test_every_peer_has_its_script(module: Any, project: Path) -> None:
    for peer in module("environments").PEERS.values():
        assert (project / f"benchmarks/peers/tools/{peer.script}.py").is_file()


def test_a_point_that_is_nowhere_better_is_dominated(module: Any) -> None:
    standing = module("frontier").standing
    ours = [row("int8", 0.001, 1000, 4.0), row("small", 0.02, 100, 9.0)]
    assert standing(row("peer", 0.001, 1000, 4.05, peer=True), ours) == "dominated by int8 on onnxruntime"
    assert standing(row("peer", 0.03, 2000, 3.0, peer=True), ours).startswith("dominated by int8 on onnxruntime, small")


def test_what_is_ahead_says_in_what_and_by_how_much(module: Any) -> None:
    told = module("frontier").standing(row("peer", 0.0, 900, 6.0, peer=True), [row("int8", 0.001, 1000, 4.0)])
    assert told == (
        "ahead of int8 on onnxruntime by bytes (900 against 1,000); speed at batch 1 (6.00x against 4.00x of eager); "
        "speed at batch 32 (6.00x against 4.00x of eager)"
    )


def test_a_drop_that_the_samples_do_not_tell_apart_is_no_lead(module: Any) -> None:
    standing = module("frontier").standing
    assert standing(row("peer", 0.0, 1000, 4.0, peer=True), [row("int8", 0.003, 1000, 4.0)]).startswith("dominated")
    assert standing(row("peer", 0.0, 1000, 4.0, peer=True), [row("int8", 0.005, 1000, 4.0)]).startswith("ahead")


def test_what_was_not_timed_dominates_nothing_that_was(module: Any) -> None:
    standing, ours = module("frontier").standing, row("int8", 0.0, 1000, 4.0)
    untimed = {key: value for key, value in ours.items() if key != "speed_ratio"}
    told = standing(row("peer", 0.0, 1000, 4.0, peer=True), [untimed])
    assert told == "ahead of int8 on onnxruntime by speed at batch 1 (not timed); speed at batch 32 (not timed)"
    assert standing({**untimed, "peer": True}, [untimed, ours]).startswith("dominated by int8 on onnxruntime")


def test_seeds_become_one_row_with_an_interval_over_them(module: Any) -> None:
    seeds = [{"rows": [row("int8", drop, 1000, 4.0)]} for drop in (0.0, 0.01, 0.02)]
    (one,) = module("frontier").aggregated(seeds)
    low, high = one["drop"]["ci"]
    assert one["drop"]["value"] == pytest.approx(0.01)
    assert high - 0.01 == pytest.approx(0.01 - low) == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-3)
    (failed,) = module("frontier").aggregated([{"rows": [{"variant": "x", "target": "t", "peer": True, "refused": "no"}]}])
    assert module("frontier").standing(failed, [one]) == "made nothing"


def test_seeds_stand_together_each_with_its_machine(module: Any) -> None:
    results = module("results")
    machine = {"cpu": "one", "isa": ["avx2"], "cores": 2, "versions": {"torch": "2"}}
    seeds = [{"seed": number, "rows": [number]} for number in range(3)]
    here = [seed | {"machine": machine} for seed in seeds]
    first = results.measured_on(machine, seeds[:1], None)
    both = results.measured_on(machine, [seeds[2], seeds[1]], first)
    assert both["seeds"] == here
    assert results.measured_on(machine, [{"seed": 1, "rows": ["anew"]}], both)["seeds"][1]["rows"] == ["anew"]
    assert first["date"] == results.today()
    old = first | {"date": "2026-01-01"}
    assert results.measured_on(machine, seeds[1:], old) == old | {"seeds": here}
    assert results.measured_on(machine, seeds[:1], old)["date"] == results.today()
    other = machine | {"cpu": "other", "isa": ["avx512_vnni"]}
    mixed = results.measured_on(other, seeds[1:], {"date": "2026-01-01", "machine": machine, "seeds": seeds[:1]})
    assert mixed["seeds"] == [here[0], *(seed | {"machine": other} for seed in seeds[1:])]
    assert results.where(mixed) == (
        "2026-01-01, one (AVX2 alone), 2 cores; seed 1 on other (avx512_vnni), 2 cores; seed 2 on other (avx512_vnni), 2 cores"
    )
    assert results.measured_on(other | {"versions": {"torch": "3"}}, seeds[1:], first)["seeds"][0]["seed"] == 1


def test_the_readme_shows_what_the_newest_results_say(module: Any, project: Path) -> None:
    headline = module("headline")
    newest = module("results").newest(project / "benchmarks/results")
    assert headline.block(json.loads(newest.read_text())["workloads"], f"{newest.stem}.md") in (project / "README.md").read_text()


def test_a_kept_result_is_of_its_own_variant_and_no_other(module: Any, tmp_path: Path) -> None:
    kept, measuring = module("kept"), module("measuring")
    (tmp_path / "net.py").write_text("WIDTH = 1\n")

    def of(**changed: Any) -> str:
        raw = {"seed": 0, "prune": {"half": {"ratio": 0.5}}, "quantize": {"int8": {"source": "half"}, "other": {"source": "teacher"}}}
        return str(kept.stage_checksum(raw | changed, ("int8", "half", "teacher"), tmp_path))

    cost, first = measuring.Cost(1.0, 2.0, 3), of()
    kept.keep_cost(tmp_path / "int8.json", first, cost)
    assert kept.kept_cost(tmp_path / "int8.json", first) == cost
    assert of(quantize={"int8": {"source": "half"}, "other": {"source": "half"}}, deploy={"targets": []}) == first
    assert of(prune={"half": {"ratio": 0.6}}) != first
    assert of(seed=1) != first
    (tmp_path / "net.py").write_text("WIDTH = 2\n")
    assert kept.kept_cost(tmp_path / "int8.json", of()) is None
    assert kept.kept_cost(tmp_path / "none.json", first) is None
