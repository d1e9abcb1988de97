"""From raw samples to a model's inputs, as data: fitted once on the training split, stored in every release, applied without torch.

Nothing of it is code or a pickle: a picture's size and normalisation, a column's fill value, mean and scale, a category's levels.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from slimline.data.columns import Rows
from slimline.data.tokens import Tokens
from slimline.data.windows import Windows
from slimline.errors import DataError

Arrays = dict[str, NDArray[Any]]
MOST_LEVELS, MOST_COLUMNS, MOST_PIXELS = 100_000, 10_000, 4096
UNSEEN = 1
"""The index of a word that is not in the vocabulary; 0 is for the end of a text."""
WORD = re.compile(r"\w+|[^\w\s]")
UNKNOWN = 0
"""The index of a level that was not seen in training, or is missing."""


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Pictures(_Spec):
    """A picture of any size and mode -> `input` float32 [N, channels, height, width].

    It is converted to `mode`, scaled, cropped to its middle, and normalised: (value / 255 - mean) / scale. `fit` says how it is scaled:
    `cover` so that it covers the size, `stretch` to `edge` x `edge`, `shorter` so that its shorter side is `edge`. What a crop lacks is
    black.
    """

    kind: Literal["pictures"] = "pictures"
    column: str
    input: str = "pixels"
    fit: Literal["cover", "stretch", "shorter", "none"] = "cover"
    edge: int | None = Field(default=None, ge=1, le=MOST_PIXELS)
    resample: Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] = "bilinear"
    height: int = Field(ge=1, le=MOST_PIXELS)
    width: int = Field(ge=1, le=MOST_PIXELS)
    mode: Literal["L", "RGB"]
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that it gives."""
        return (self.input,)

    def __call__(self, rows: Rows) -> Arrays:
        """The inputs of some rows, whose column holds PIL images."""
        pictures = rows[self.column]
        pixels = np.empty((len(pictures), len(self.mean), self.height, self.width), np.float32)
        for place, picture in enumerate(pictures):  # one after another into its place: a batch is held once, not three times
            pixels[place] = self._pixels(picture).transpose(2, 0, 1)
        return {self.input: pixels}

    def _pixels(self, picture: Any) -> NDArray[np.float32]:
        found = np.asarray(self._fitted(upright(picture, self.mode)), dtype=np.float32)
        found = found.reshape(self.height, self.width, len(self.mean)) / np.float32(255)
        normal: NDArray[Any] = (found - np.asarray(self.mean, np.float32)) / np.asarray(self.scale, np.float32)
        return normal

    def _fitted(self, picture: Any) -> Any:
        from PIL import Image

        if self.fit == "cover":
            return fitted(picture, self.width, self.height)
        edge, resample = self.edge or self.height, Image.Resampling[self.resample.upper()]
        if self.fit == "stretch":
            picture = picture.resize((edge, edge), resample)
        elif self.fit == "shorter":
            short, long = sorted(picture.size)
            size = (edge, int(edge * long / short)) if picture.width <= picture.height else (int(edge * long / short), edge)
            picture = picture.resize(size, resample)
        return middle(picture, self.width, self.height)


class Number(_Spec):
    """A column of numbers: what stands for a missing one, and what is taken off and divided by."""

    name: str
    fill: float
    mean: float
    scale: float = Field(gt=0)


class Category(_Spec):
    """A column of categories: its levels in the order of their indices, from 1; 0 is for all others and for missing ones."""

    name: str
    levels: tuple[str, ...] = Field(max_length=MOST_LEVELS)


class Columns(_Spec):
    """A table's row -> `numbers` float32 [N, numbers] and `categories` int64 [N, categories], whichever there are."""

    kind: Literal["columns"] = "columns"
    numbers: tuple[Number, ...] = Field(max_length=MOST_COLUMNS)
    categories: tuple[Category, ...] = Field(max_length=MOST_COLUMNS)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (*(column.name for column in self.numbers), *(column.name for column in self.categories))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that it gives."""
        return tuple(name for name in ("numbers", "categories") if getattr(self, name))

    def __call__(self, rows: Rows) -> Arrays:
        """The inputs of some rows: numbers filled and standardised, categories by index."""
        found: Arrays = {}
        if self.numbers:
            found["numbers"] = np.stack([_number(column, rows[column.name]) for column in self.numbers], axis=1)
        if self.categories:
            found["categories"] = np.stack([_index(column, rows[column.name]) for column in self.categories], axis=1)
        return found


class Texts(_Spec):
    """A text -> `ids` int64 [N, words], the places of its words in the vocabulary; the shorter ones are filled up with 0.

    Words are taken in lower case, punctuation marks by themselves; a word that is not in the vocabulary is UNSEEN. Of a longer text the
    first `longest` words are read.
    """

    kind: Literal["texts"] = "texts"
    column: str
    vocabulary: tuple[str, ...] = Field(max_length=MOST_LEVELS)
    longest: int = Field(ge=2, le=4096)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that it gives."""
        return ("ids",)

    @functools.cached_property
    def places(self) -> Mapping[str, int]:
        """Word -> its index, from 2."""
        return {word: index for index, word in enumerate(self.vocabulary, start=UNSEEN + 1)}

    def __call__(self, rows: Rows) -> Arrays:
        """The inputs of some rows, filled up to the longest of them."""
        texts = [[self.places.get(word, UNSEEN) for word in words_of(text)[: self.longest]] for text in rows[self.column]]
        found = np.zeros((len(texts), max(2, *map(len, texts))), dtype=np.int64)
        for row, ids in zip(found, texts, strict=True):
            row[: len(ids)] = ids
        return {"ids": found}


Preprocessing = Pictures | Columns | Texts | Tokens | Windows
_ANY: TypeAdapter[Preprocessing] = TypeAdapter(Annotated[Preprocessing, Field(discriminator="kind")])


def preprocessing_of(plain: Any) -> Preprocessing:
    """A preprocessing from plain data.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _ANY.validate_python(plain)


def require_columns(preprocessing: Preprocessing, given: Sequence[str]) -> None:
    """Hold rows to having the columns that are read.

    Raises:
        DataError: one is missing.
    """
    if missing := [name for name in preprocessing.columns if name not in given]:
        raise DataError(f"column {missing[0]!r} is missing ({len(missing)} of {len(preprocessing.columns)} are); add it")


def upright(picture: Any, mode: str) -> Any:
    """A picture as it is meant to be seen, in `mode`: turned as its camera says, its 16 bits a channel cut to 8, transparency on white."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I;16", "I", "F"):
        values = np.asarray(picture, dtype=np.float64)
        top = 65535.0 if values.max() > 255 else 255.0
        picture = Image.fromarray((np.clip(values / top, 0, 1) * 255).astype(np.uint8), mode="L")
    if "A" in picture.getbands() or "transparency" in picture.info:
        over = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", over.size, (255, 255, 255, 255)), over)
    return picture.convert(mode)


def fitted(picture: Any, width: int, height: int) -> Any:
    """A picture scaled to cover the size, cropped to its middle."""
    from PIL import Image, ImageOps

    return picture if picture.size == (width, height) else ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)


def middle(picture: Any, width: int, height: int) -> Any:
    """A picture's middle of this size, black where the picture ends before."""
    if picture.size == (width, height):
        return picture
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _number(column: Number, values: Any) -> NDArray[np.float32]:
    found = numbers_of(values)
    filled = np.where(np.isfinite(found), found, column.fill)
    return ((filled - column.mean) / column.scale).astype(np.float32)


def numbers_of(values: Any) -> NDArray[np.float64]:
    """Numbers, NaN where one is missing."""
    return np.array([np.nan if value is None or value == "" else value for value in values], dtype=np.float64)


def texts_of(values: Any) -> list[str]:
    """Categories as text, an empty one where one is missing; whole numbers without a point."""
    return [
        "" if value is None or value != value else f"{value:g}" if isinstance(value, float | np.floating) else str(value)
        for value in values
    ]


def words_of(text: Any) -> list[str]:
    """The words of a text, and its punctuation marks; none of a missing one."""
    return WORD.findall(text.lower()) if isinstance(text, str) else []


def _index(column: Category, values: Any) -> NDArray[np.int64]:
    known: Mapping[str, int] = {level: index for index, level in enumerate(column.levels, start=1)}
    return np.array([known.get(text, UNKNOWN) for text in texts_of(values)], dtype=np.int64)
