"""How many weights share a scale."""

GROUP_SIZES = (128, 64, 32, 16)


def group_size_for(values: int, wanted: int) -> int | None:
    """The largest size, of 128, 64, 32 and 16, up to the wanted one that cuts so many values into whole groups; None if none does."""
    return next((size for size in GROUP_SIZES if size <= wanted and values % size == 0), None)
