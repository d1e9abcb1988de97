"""What a training's line says, and what is read in it."""

import pytest

from slimline.progress import Progress, epoch_line, read_progress


def test_what_is_told_is_read() -> None:
    assert read_progress(epoch_line("channels50-kd.v2", 7, 40, 0.12345, 0.98765)) == Progress(7, 40)
    assert epoch_line("teacher", 7, 40, 0.12345, 0.98765) == "teacher: epoch 7 of 40, loss 0.1235, validation 0.9877"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "the loss is NaN in epoch 3 of 40; lower learning_rate",
        "training: the loss is inf in epoch 3 of 40, lower it",
        "teacher: epoch 3 of 0, loss",
        "teacher: epoch x of 4, ",
    ],
)
def test_other_lines_say_nothing_of_it(line: str) -> None:
    assert read_progress(line) is None
