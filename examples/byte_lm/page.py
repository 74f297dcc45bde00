"""The tables in a Markdown page, each between its marker and the next ``<!-- end -->``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict


def update(path: Path, tables: Dict[str, str]) -> None:
    """Replaces what stands between ``<!-- NAME -->`` and ``<!-- end -->``; ValueError without that place."""
    text = path.read_text()
    for name, table in tables.items():
        found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
        if found is None:
            raise ValueError(f"{path} has no place for '{name}', expected <!-- {name} --> and <!-- end -->")
        text = f"{text[: found.start(1)]}\n{table}\n\n{text[found.end(1) :]}"
    path.write_text(text)
