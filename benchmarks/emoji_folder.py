"""A folder of colour pictures, a folder a class: Google's emoji (npm's `emoji-datasource-google`), 64x64 pixels, by their group.

npm pack emoji-datasource-google@16.0.0 && tar xzf emoji-datasource-google-16.0.0.tgz
python benchmarks/emoji_folder.py package photos
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def emoji(package: Path) -> Iterator[tuple[str, str]]:
    """The group and file name of each emoji, its skin tones as well; the parts that only tones are made of are left out."""
    entries: list[dict[str, Any]] = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    for entry in entries:
        group = entry["category"].partition(" & ")[0].lower()
        if group != "component":
            yield from ((group, one["image"]) for one in (entry, *entry.get("skin_variations", {}).values()))


def main() -> None:
    """Copy the pictures into folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the unpacked package")
    parser.add_argument("folder", type=Path, help="where to put the pictures")
    arguments = parser.parse_args()
    pictures = [pair for pair in emoji(arguments.package) if (arguments.package / "img/google/64" / pair[1]).is_file()]
    for group, name in pictures:
        (arguments.folder / group).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(arguments.package / "img/google/64" / name, arguments.folder / group / name)
    sys.stdout.write(f"{len(pictures):,} pictures in {arguments.folder}\n")


if __name__ == "__main__":
    main()
