"""What a page tells of packed weights: the bytes saved, and that they save nothing else."""

from slimline.artifact.manifest import Packing
from slimline.report.numbers import ratio, size
from slimline.report.page import Table

WAYS = {"sparse": "a bit mask and the non-zero values", "entropy": "bit mask and byte planes of the non-zero values, in Zstandard"}
SHIPPED = "Smaller to ship, not faster: loading unpacks them to plain weights, which take the same memory and time as before."


def packing_table(packing: Packing | None) -> tuple[Table, ...]:
    """Plain bytes beside the stored ones; no table where nothing is packed."""
    if packing is None:
        return ()
    rows = (
        ("plain", "safetensors", size(packing.plain_bytes), packing.plain_bytes, ratio(1.0)),
        (
            packing.kind,
            WAYS[packing.kind],
            size(packing.stored_bytes),
            packing.stored_bytes,
            ratio(packing.plain_bytes / packing.stored_bytes),
        ),
    )
    columns = ("pack", "stored as", "size", "bytes", "times smaller")
    return (Table("Weights, plain and packed", columns, rows, f"{SHIPPED} Of the targets eager alone ships them packed."),)
