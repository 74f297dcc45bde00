"""The files of the repository that git knows, read once."""

import dataclasses
import pathlib
import subprocess

BINARY = {".png", ".bin", ".so", ".gz"}


@dataclasses.dataclass
class Repository:
    root: pathlib.Path
    paths: list[str]

    @classmethod
    def open(cls, root):
        root = pathlib.Path(root)
        listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], check=True, capture_output=True, text=True)
        return cls(root, [p for p in listed.stdout.split("\0") if p and (root / p).is_file()])

    def text(self, path):
        return (self.root / path).read_text(encoding="utf-8", errors="replace")

    def matching(self, *suffixes):
        return [p for p in self.paths if pathlib.PurePath(p).suffix in suffixes and not p.startswith("third_party/")]
