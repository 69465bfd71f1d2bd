"""Whether the hub can be reached: known soon, where its client would wait and try again."""

import functools
import socket
import threading
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub import constants

# Connecting takes a fraction of a second; a name may stand for several addresses.
_SECONDS, _SECONDS_EACH = 1.6, 0.8
_PORTS = {"http": 80, "https": 443}


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
