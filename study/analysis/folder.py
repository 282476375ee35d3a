"""The report's folder: everything is made beside it first and then moved in, so that nothing is ever half-written."""

import csv
import hashlib
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Lists every file of a report with its hash; what an older report lists and a newer one lacks is taken away.
FILES: Final = "files.csv"
#: Moved in last: who finds it finds everything it speaks of.
LAST: Final = "report.html"

Files = Mapping[str, bytes]


def replace(out: Path, files: Files) -> None:
    """Make the folder `out` hold `files`, {path within it: content}, and the list of them, `FILES`.

    What an earlier call wrote and this one does not is removed; other files in `out` are not touched. A failure leaves
    the older files whole. Raises OSError when the folder cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as made:
        listed = {**files, FILES: listing(files)}
        for name, content in listed.items():
            path = Path(made, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        stale = _listed_before(out) - set(listed)
        for name in sorted(listed, key=lambda name: name == LAST):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(made, name), out / name)
    for name in stale:
        (out / name).unlink(missing_ok=True)


def listing(files: Files) -> bytes:
    """A CSV table of file, bytes and SHA-256, by name."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "bytes", "sha256"])
    table.writerows([name, len(files[name]), hashlib.sha256(files[name]).hexdigest()] for name in sorted(files))
    return text.getvalue().encode()


def _listed_before(out: Path) -> set[str]:
    """What the list of an older report names, inside the folder."""
    try:
        with (out / FILES).open(newline="", encoding="utf-8") as lines:
            names = {row["file"] for row in csv.DictReader(lines) if row.get("file")}
    except FileNotFoundError:
        return set()
    return {name for name in names if (out / name).resolve().is_relative_to(out.resolve())}
