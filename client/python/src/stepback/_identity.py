"""Who this worker is when nobody says."""

from __future__ import annotations

import os
import re
import socket


def default_worker_id() -> str:
    """``STEPBACK_WORKER_ID``, or host name and process id: unique, but new after a restart."""
    named = os.environ.get("STEPBACK_WORKER_ID")
    return named or re.sub(r"[^A-Za-z0-9._:-]", "-", f"{socket.gethostname()}-{os.getpid()}")[:128]
