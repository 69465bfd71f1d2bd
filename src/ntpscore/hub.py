"""What is a name on the hub, and whether it can be reached, which its client is slow to tell."""

import functools
import re
import socket
import threading
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub import constants

# Connecting takes a fraction of a second; a name may stand for several addresses.
_SECONDS, _SECONDS_EACH = 1.6, 0.8
_PORTS = {"http": 80, "https": 443}


_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def is_id(name: str) -> bool:
    """Whether something on the hub can have this name, `owner/name` or, of old, `name`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id  # slow to import

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return bool(_ID.fullmatch(name))


@functools.cache  # but not what it raises
def check_reachable() -> None:
    """Connect to the hub, or to the proxy in front of it, unless it must not be asked.

    Raises:
        OSError: no connection comes about.
    """
    if constants.HF_HUB_OFFLINE:
        return  # its client says so
    url = urlsplit(constants.ENDPOINT)
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(url.hostname or ""):
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = (url.hostname or "", url.port or _PORTS.get(url.scheme, 80))
    ended: list[OSError | None] = []

    def connect() -> None:
        try:
            socket.create_connection(address, _SECONDS_EACH).close()
            ended.append(None)
        except OSError as error:
            ended.append(error)

    # Looking a name up has no time limit of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    failure: Any = ended[0] if ended else TimeoutError("timed out")
    if failure is not None:
        raise OSError(f"no connection to {address[0]}: {failure}")
