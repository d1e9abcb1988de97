"""Hold back what compilers say of themselves while they work."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*loggers: str, least: int = logging.ERROR) -> Iterator[None]:
    """Let the named loggers say nothing below a level, and put their own levels back at the end; "" is the root logger."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(least)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
