"""The few figures that DVC lists of a run."""

import csv

from slimline.report.tracked import figures, variants

RATIO = {"batch_1": {"value": 2.345678, "ci": [2.2, 2.5]}}


def row(variant, verdict, accuracy, size_bytes):
    quality = None if accuracy is None else {"accuracy": {"value": accuracy}}
    made = {"quality": quality or {}, "size_bytes": size_bytes, "size_ratio": size_bytes and 1000 / size_bytes, "speed_ratio": RATIO}
    return {"variant": variant, "target": "openvino", "verdict": verdict, **made}


SUMMARY = {
    "variants": [
        row("teacher", "reject", 0.98, 1000),
        row("int8", "accept", 0.97, 250),
        row("half", "accept", 0.98, 500),
        row("small", "reject", 0.6, 100),
        row("lost", "reject", None, None),
    ]
}


def test_the_best_is_the_smallest_that_was_accepted():
    found = figures(SUMMARY, "accuracy")
    assert found == {
        "judged": 5,
        "accepted": 2,
        "teacher": 0.98,
        "best": "int8-openvino",
        "accuracy": 0.97,
        "smaller": 4.0,
        "faster": 2.3457,
    }
    nothing = figures({"variants": [row("small", "reject", 0.6, 100)]}, "accuracy")
    assert (nothing["accepted"], nothing["best"], nothing["accuracy"], nothing["smaller"], nothing["faster"]) == (0, None, None, None, None)


def test_every_variant_that_was_made_is_a_row():
    rows = list(csv.DictReader(variants(SUMMARY, "accuracy").splitlines()))
    assert [one["variant"] for one in rows] == ["teacher-openvino", "int8-openvino", "half-openvino", "small-openvino"]
    assert rows[1] == {"variant": "int8-openvino", "verdict": "accept", "quality": "0.97", "smaller": "4.0", "faster": "2.3457"}
