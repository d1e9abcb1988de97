"""Which checkpoints nobody takes up any more, and that what is not ours stays."""

import os
from datetime import UTC, datetime, timedelta

from slimline.storage.checkpoint_folder import FOLDER, KEPT, abandoned, clear, forget

NOW = datetime.now(UTC)
KEY = "0123456789abcdef"


def written(root, path, ago):
    file = root / FOLDER / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    when = (NOW - ago).timestamp()
    os.utime(file, (when, when))
    return file


def test_what_nobody_has_written_for_a_week_goes_and_nothing_else(tmp_path):
    old = written(tmp_path, f"teacher/{KEY}/training-0a.safetensors", KEPT + timedelta(minutes=1))
    draft = written(tmp_path, f"half/{KEY}/round-01.draft", KEPT + timedelta(days=30))
    fresh = written(tmp_path, f"teacher/{KEY}/round-02.safetensors", KEPT - timedelta(minutes=1))
    foreign = [written(tmp_path, path, KEPT * 2) for path in (f"teacher/{KEY}/mine.safetensors", "teacher/notes/training-0a.safetensors")]
    assert abandoned(tmp_path, NOW) == [draft, old]
    forget([draft, old])
    assert [path for path in (old, draft, fresh, *foreign) if path.exists()] == [fresh, *foreign]
    assert not (tmp_path / FOLDER / "half").exists()
    clear(tmp_path / FOLDER / "teacher")
    assert [path for path in (fresh, *foreign) if path.exists()] == foreign


def test_without_any_there_is_nothing_to_do(tmp_path):
    assert abandoned(tmp_path, NOW) == []
    clear(tmp_path / FOLDER / "teacher")
    written(tmp_path, f"teacher/{KEY}/training-0a.safetensors", KEPT * 2)
    forget(abandoned(tmp_path, NOW))
    assert not (tmp_path / FOLDER).exists()
