"""Whether W&B can be logged to online: is there a key, and does its server answer? The key itself is not kept."""

from __future__ import annotations

import contextlib
import netrc
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import requests

Mode = Literal["online", "offline"]

_ANSWER_SECONDS = 5.0


def choose_mode(asked: Literal["auto", "online", "offline"]) -> tuple[Mode, str | None]:
    """How to log, and a remark when that is not as asked. `auto` heeds $WANDB_MODE, and is online with a key.

    A server that refuses, hangs or fails means offline: W&B itself would try for minutes.
    """
    if asked == "offline" or (asked == "auto" and os.environ.get("WANDB_MODE") in ("offline", "dryrun")):
        return "offline", None
    server = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    host = urlsplit(server).hostname or ""
    if not _has_key(host):
        remark = "tracker.mode=online, but there is no key (WANDB_API_KEY, or `wandb login`)"
        return "offline", remark if asked == "online" else None
    try:
        answer = requests.get(server, timeout=_ANSWER_SECONDS, stream=True)
        answer.close()
    except requests.RequestException:
        return "offline", f"{host} cannot be reached"
    if answer.status_code >= 500:
        return "offline", f"{host} answers with an error ({answer.status_code})"
    return "online", None


def _has_key(host: str) -> bool:
    """Whether $WANDB_API_KEY is set or the netrc file has a password for the host: where W&B itself looks."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    for candidate in [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            found = netrc.netrc(Path(candidate).expanduser()).authenticators(host)
            if found and found[2]:
                return True
    return False
