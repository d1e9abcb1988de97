"""State that is damaged is set aside and never stands in the way: every kind of damage, at every file that is read between commands."""

import sqlite3

import pytest

from flows import services
from flows.heal import heal
from flows.lock import workspace_lock
from flows.prefect_home import healed_database, prepared_home
from flows.service_record import recorded
from slimline.errors import BusyError, SlimlineError
from slimline.storage import leases, weed
from slimline.storage.state_file import read_state, refusal, state_folder_at

DAMAGE = {
    "garbage": b"\0garbage{",
    "not UTF-8": b"\xff\xfe\xfa",
    "empty": b"",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "text": b'"x"',
    "other keys": b'{"a": 1}',
    "nested": b"[" * 100_000,
    "other types": b'{"processes": [3], "process": 7, "ports": [], "identities": {}, "api_url": null, "since": 1}',
    "numbers out of range": b'{"process": "1:1", "ports": {"master": 1e999}, "api_url": "", "since": "", "processes": [%s]}'
    % b'{"name": "", "pid": -1, "born": 0}',
    "a folder": None,
}


@pytest.fixture(params=DAMAGE)
def damage(request):
    """Puts this kind of damage where it is told to."""

    def put(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if DAMAGE[request.param] is None else path.write_bytes(DAMAGE[request.param])
        return path

    return put


def was_set_aside(path):
    return not path.is_dir() and path.with_name(f"{path.name}.damaged-1").exists()


def test_the_record_of_services(tmp_path, damage):
    path = damage(tmp_path / ".slimline/services.json")
    assert recorded(tmp_path) is None
    assert was_set_aside(path)
    assert services.stop_services(tmp_path) is None


def test_keys_state_and_leases_of_the_store(tmp_path, damage):
    keys, state = (damage(tmp_path / name) for name in ("s3.json", "state.json"))
    assert weed.running(tmp_path) is None
    assert was_set_aside(state)
    made = weed.keys_of(tmp_path)
    assert was_set_aside(keys)
    assert weed.keys_of(tmp_path) == made
    damage(tmp_path / "leases/12-ab")
    damage(tmp_path / "leases/hold")
    with leases.locked(tmp_path):
        lease = leases.take(tmp_path)
        assert leases.holders(tmp_path) == leases.holders(tmp_path) == [lease.read_text()]


def test_locks(tmp_path, damage):
    damage(tmp_path / "lock")
    with leases.locked(tmp_path):
        pass
    damage(tmp_path / ".dvc/tmp/slimline.lock")
    with workspace_lock(tmp_path), pytest.raises(BusyError, match="another run holds this workspace"), workspace_lock(tmp_path):
        pass


@pytest.mark.parametrize("name", [".dvc/tmp/rwlock", ".dvc/tmp/lock", "dvc.lock", ".dvc/tmp/dvc.lock.good"])
def test_what_dvc_keeps(tmp_path, damage, name):
    damage(tmp_path / name)
    heal(tmp_path)
    heal(tmp_path)
    assert not (tmp_path / name).is_dir()


def test_the_profiles_of_prefect(tmp_path, damage):
    path = damage(tmp_path / "home/profiles.toml")
    prepared_home(tmp_path / "home")
    assert was_set_aside(path) or path.read_bytes() == b""
    path.unlink(missing_ok=True)
    path.write_text('active = "mine"\n[profiles.mine]\nPREFECT_LOGGING_LEVEL = "INFO"\n')
    prepared_home(tmp_path / "home")
    assert path.exists()


def database(home):
    with sqlite3.connect(home / "prefect.db") as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE flow_run (id INTEGER PRIMARY KEY, name TEXT)")
        made.executemany("INSERT INTO flow_run (name) VALUES (?)", ((f"run {number}" * 30,) for number in range(500)))
    made.close()
    return home / "prefect.db"


@pytest.mark.parametrize("cut", ["no", "half", "header", "middle", "garbage", "empty", "folder", "log"])
def test_the_database_of_prefect(tmp_path, cut):
    path = database(tmp_path)
    whole = path.read_bytes()
    spoilt = {
        "half": whole[: len(whole) // 2],
        "header": whole[:60],
        "middle": whole[:4096] + b"\x55" * 8192 + whole[12288:],
        "garbage": b"x" * 9000,
        "empty": b"",
    }
    if cut == "folder":
        path.unlink()
        path.mkdir()
    elif cut == "log":
        (tmp_path / "prefect.db-wal").mkdir()
    else:
        path.write_bytes(spoilt.get(cut, whole))
    healed_database(tmp_path)
    aside = tmp_path / f"prefect.db{'-wal' if cut == 'log' else ''}.damaged-1"
    assert aside.exists() == (cut not in ("no", "empty"))
    assert cut not in ("no", "log") or path.read_bytes() == whole
    healed_database(tmp_path)
    assert not aside.with_name(aside.name.replace("-1", "-2")).exists()


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / ".slimline").write_text("a note of mine")
    (tmp_path / "params.yaml").touch()
    (tmp_path / "dvc.yaml").touch()
    assert state_folder_at(tmp_path / ".slimline/s3/leases").is_dir()
    assert (tmp_path / ".slimline.damaged-1").read_text() == "a note of mine"


def test_what_is_set_aside_is_never_lost(tmp_path):
    for number in (1, 2, 3):
        (tmp_path / "state.json").write_text(f"damage {number}")
        assert read_state(tmp_path / "state.json", dict) is None
    assert [(tmp_path / f"state.json.damaged-{number}").read_text() for number in (1, 2, 3)] == ["damage 1", "damage 2", "damage 3"]


def test_what_the_system_refuses_is_one_line_with_the_remedy(tmp_path):
    (tmp_path / "state.json").symlink_to("state.json")
    with pytest.raises(
        SlimlineError, match=rf"{tmp_path}/state.json: .*; give yourself the right to it \(chmod .*or remove it: rm -r"
    ) as refused:
        read_state(tmp_path / "state.json", dict)
    assert "\n" not in str(refused.value)


def test_a_full_disk_says_so(tmp_path):
    with pytest.raises(OSError, match="No space") as full, open("/dev/full", "w", buffering=1) as device:  # noqa: PTH123 - it is no file
        device.write("a line\n")
    assert str(refusal(full.value, tmp_path / "state.json")).startswith(f"disk full while writing {tmp_path}/state.json; free some space")
