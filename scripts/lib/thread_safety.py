"""Runs clang's thread-safety analysis over the sources that use server/base/mutex.h; any finding fails.

Usage: thread_safety.py BUILD_FOLDER (with compile_commands.json). Guarded members are private, so a source can only touch
them when it, or a header that it includes itself, says so.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

# The annotated code. gRPC's headers cost ten seconds a file and the code above them holds few locks.
FOLDERS = ("server/base/", "server/core/", "server/engine/", "server/store/", "server/telemetry/", "client/cpp/")
LEFT_OUT = ("client/cpp/grpc/",)
LOCKS = re.compile(r"\b(Mutex|MutexLock|GUARDED_BY|REQUIRES|EXCLUDES)\b")
ANALYSIS = ["-fsyntax-only", "-Wno-everything", "-Wthread-safety", "-Werror=thread-safety"]

# The analysis must find this one, or it checks nothing.
WRONG = """
#include "server/base/mutex.h"
struct Counter {
  int Read() { return value; }
  stepback::Mutex mu;
  int value GUARDED_BY(mu) = 0;
};
"""


def clang(arguments, **options):
    return subprocess.run(["clang++", *arguments], capture_output=True, text=True, **options)


def finds_a_wrong_access(root):
    done = clang(["-std=c++20", "-x", "c++", f"-I{root}", *ANALYSIS, "-"], input=WRONG)
    return done.returncode != 0 and "requires holding mutex 'mu'" in done.stderr


def locks(root, name):
    """Whether a source, or a header that it includes itself, has to do with a mutex."""
    text = (root / name).read_text()
    headers = [root / header for header in re.findall(r'^#include "([^"]+)"', text, re.M)]
    return any(LOCKS.search(part) for part in [text, *(h.read_text() for h in headers if h.exists())])


def without_compiler_and_outputs(command):
    words = shlex.split(command)
    first = next(i for i, word in enumerate(words) if word.startswith("-"))
    kept = words[first:]
    for flag in ("-o", "-MF", "-MT"):
        while flag in kept:
            at = kept.index(flag)
            del kept[at:at + 2]
    return [word for word in kept if word not in ("-c", "-MD", "-Werror")]


def sources(root, build):
    for entry in json.loads((build / "compile_commands.json").read_text()):
        name = os.path.relpath(entry["file"], root)
        if name.startswith(FOLDERS) and not name.startswith(LEFT_OUT) and locks(root, name):
            yield name, entry


def check(name, entry):
    done = clang([*without_compiler_and_outputs(entry["command"]), *ANALYSIS], cwd=entry["directory"])
    return name, done.returncode, done.stderr


def main():
    root = pathlib.Path.cwd()
    build = pathlib.Path(sys.argv[1]).resolve()
    if not finds_a_wrong_access(root):
        print("clang's thread-safety analysis does not find a wrong access: the macros of base/mutex.h or clang are at fault")
        return 1
    todo = list(sources(root, build))
    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, status, text in pool.map(lambda source: check(*source), todo):
            if status:
                wrong += 1
                print(f"== {name}\n{text}", flush=True)
    print(f"thread safety: {len(todo)} sources checked, {wrong} with findings")
    return 1 if wrong or not todo else 0


if __name__ == "__main__":
    sys.exit(main())
