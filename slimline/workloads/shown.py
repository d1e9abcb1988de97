"""One sample as a small piece of HTML, by the types of its columns: what a page shows where a workload says nothing of its own."""

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

MOST_CELLS, LONGEST_TEXT, THUMBNAIL_PX, MOST_POINTS = 6, 280, 96, 64
LABEL = "label"


def shown(row: Mapping[str, Any]) -> str:
    """Pictures as thumbnails, series as a line, text as text, numbers as a table of the first few."""
    parts, cells = [], []
    for name, value in row.items():
        if name == LABEL:
            continue
        if hasattr(value, "thumbnail"):
            parts.append(_picture(value))
        elif isinstance(value, str):
            parts.append(f"<p>{escape(value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + '…')}</p>")
        elif isinstance(value, np.ndarray) and value.ndim:
            parts.append(_series(value))
        else:
            cells.append(f"<tr><th>{escape(name)}</th><td>{_number(value)}</td></tr>")
    more = f"<tr><th>… and {len(cells) - MOST_CELLS} more</th><td></td></tr>" if len(cells) > MOST_CELLS else ""
    table = f'<table class="sample">{"".join(cells[:MOST_CELLS])}{more}</table>' if cells else ""
    return f'<div class="sample">{"".join(parts)}{table}</div>'


def _picture(picture: Any) -> str:
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=80)
    encoded = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="a sample" width="{small.width}" height="{small.height}" src="data:image/jpeg;base64,{encoded}">'


def _series(values: np.ndarray) -> str:
    """Numbers in order as a line; of more than one axis the shape alone."""
    line = np.asarray(values, dtype="float64").reshape(len(values), -1)[:, 0]
    if values.ndim > 2 or len(line) < 2:
        return f"<p>{escape(str(values.dtype))} {list(values.shape)}</p>"
    line = line[np.linspace(0, len(line) - 1, min(MOST_POINTS, len(line)), dtype=int)]
    low, span = line.min(), max(float(np.ptp(line)), 1e-12)
    points = " ".join(f"{2 * place},{round(30 - 28 * (value - low) / span, 1)}" for place, value in enumerate(line))
    return (
        f'<svg viewBox="0 0 {2 * len(line)} 32" width="128" height="32" role="img" aria-label="a series">'
        f'<polyline points="{points}" fill="none" stroke="currentColor"/></svg>'
    )


def _number(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.4g}"
    return escape(str(value))
