"""Who may include whom (docs/architecture.md): rpc -> engine -> core -> kernels, engine -> store, everyone -> base."""

import re

INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.M)

# Component -> components that it may include besides itself. A new arrow needs a decision record.
ARROWS = {
    "kernels": set(),
    "server/base": {"kernels"},
    "server/store": {"server/base", "kernels", "proto"},
    "server/tools": {"server/engine", "server/core", "server/store", "server/telemetry", "server/base", "kernels",
                     "proto/durable"},
    "server/telemetry": {"server/base"},
    "server/http": {"server/base", "server/telemetry"},
    "server/config": {"server/base", "server/telemetry"},
    "server/core": {"server/base", "kernels"},
    "server/engine": {"server/core", "server/store", "server/base", "server/telemetry", "kernels", "proto/durable"},
    "server/rpc": {"server/engine", "server/core", "server/store", "server/base", "server/telemetry", "server/http",
                   "server/config", "kernels", "proto"},
    "server/embed": {"server/rpc", "server/engine", "server/config", "server/telemetry", "server/base"},
    "server/main.cc": {"server/rpc", "server/config", "server/base", "server/telemetry"},
    "client/cpp": {"proto", "server/base", "kernels"},
    "client/cli": {"client/cpp", "proto", "server/tools", "server/core", "server/store", "server/base", "kernels"},
    "client/python": {"client/cpp", "server/embed", "server/base"},
}


def component_of(path):
    # What lies on disk: the engine converts, the wire never sees it.
    if path.startswith(("stepback/v1/model_image", "stepback/v1/durable", "stepback/v1/events")):
        return "proto/durable"
    if path.startswith(("stepback/v1/", "google/", "proto/")):
        return "proto"
    if path.startswith("stepback/"):
        return "client/cpp"
    for name in sorted(ARROWS, key=len, reverse=True):
        if path == name or path.startswith(name + "/"):
            return name
    return None


def allowed(source, target):
    if target is None or target == source:
        return True
    if target == "proto/durable" and "proto" in ARROWS[source]:
        return True
    return target in ARROWS[source]


def check_file(path, text):
    """Yields one sentence per include that points the wrong way."""
    source = component_of(path)
    if source is None or source.startswith("proto"):
        return
    for include in INCLUDE.findall(text):
        target = component_of(include)
        if not allowed(source, target):
            yield f"{path}: {source} must not include {target} ({include})"


def check(repository):
    for path in repository.matching(".h", ".cc", ".cu", ".cuh", ".inc"):
        yield from check_file(path, repository.text(path))
