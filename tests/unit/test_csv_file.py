"""CSV files as spreadsheets of several countries write them: what parts values, decimal commas, and one line for what cannot be read."""

import pandas as pd
import pytest

from slimline.data.csv_file import LONGEST_NAMES_BYTES, csv_pieces
from slimline.errors import DataError

TABLE = pd.DataFrame({"age": [31, 44, 52], "income": [1200.5, 3.25, 70000.0], "town": ["Köln", "Paris; Nord", "Rome, centre"]})


def read(path, text, rows=2):
    path.write_text(text, encoding="utf-8")
    return pd.concat(csv_pieces(path, rows), ignore_index=True)


@pytest.mark.parametrize(("mark", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", ","), ("\t", "."), ("|", ".")])
def test_whatever_parts_the_values_the_table_is_the_same(tmp_path, mark, decimal):
    pd.testing.assert_frame_equal(read(tmp_path / "t.csv", TABLE.to_csv(index=False, sep=mark, decimal=decimal)), TABLE)


def test_a_mark_in_the_texts_or_in_a_quoted_name_parts_nothing(tmp_path):
    found = read(tmp_path / "t.csv", 'text,"a; b; c; d"\n"one; two, three",1\nfour | five,2\n')
    assert found.to_dict("list") == {"text": ["one; two, three", "four | five"], "a; b; c; d": [1, 2]}
    alone = read(tmp_path / "t.csv", "text\none; two\nthree; four\n")
    assert alone["text"].tolist() == ["one; two", "three; four"]


def test_points_and_commas_in_one_file_stay_texts_where_they_are_no_numbers(tmp_path):
    found = read(tmp_path / "t.csv", "a;b\n1,5;2.5\n2,5;3.5\n")
    assert found["b"].tolist() == [2.5, 3.5]
    assert found["a"].tolist() == ["1,5", "2,5"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a;b\n0;2;3\n1;5;6\n", "its rows hold more values than its first line names columns"),
        ("a,b\n1,2,3\n4,5,6\n", "its rows hold more values than its first line names columns"),
        ('"a\tb",c\n1,2\n', "has a control character in its name; rename it"),
        ("a" * (LONGEST_NAMES_BYTES + 1), "its first line is longer than 1,000,000 bytes"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read(tmp_path / "t.csv", text)
