"""Is it known soon whether the hub can be reached?"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import huggingface_hub
import pytest

from ntpscore import hub
from ntpscore.errors import DataError, ModelError
from ntpscore.models.locate import check_model_exists
from ntpscore.text.open import check_data_exists

# That of the command line has half a second left, for what it imports.
_SOON = 2.5


@pytest.fixture(autouse=True)
def asked_directly(monkeypatch: pytest.MonkeyPatch, checks_reachable: Any) -> None:
    """The hub is asked without a detour, and nothing is known of it yet."""
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(hub, "check_reachable", checks_reachable.__wrapped__)


def _point_to(monkeypatch: pytest.MonkeyPatch, server: socket.socket) -> None:
    endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)


@pytest.fixture
def swallowing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub whose queue is full: what is sent to it is dropped."""
    with ExitStack() as opened:
        server = opened.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        time.sleep(0.05)
        _point_to(monkeypatch, server)
        yield


@pytest.mark.parametrize("name", ["results/no-such", "./no-such", "a/b/c"])
@pytest.mark.parametrize(
    ("check", "error"), [(check_model_exists, ModelError), (check_data_exists, DataError)]
)
@pytest.mark.usefixtures("swallowing")
def test_a_mistyped_name_fails_soon_where_packets_are_swallowed(check, error, name: str) -> None:
    start = time.perf_counter()
    with pytest.raises(error, match=r"no (such )?file"):
        check(name)
    assert time.perf_counter() - start < _SOON


def test_a_name_that_is_never_looked_up_fails_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: Any) -> None:
        time.sleep(1)
        raise OSError("Name or service not known")

    monkeypatch.setattr(hub.socket, "create_connection", look_up)
    monkeypatch.setattr(hub, "_SECONDS", 0.1)
    start = time.perf_counter()
    with pytest.raises(OSError, match=r"no connection to huggingface\.co: timed out"):
        hub.check_reachable()
    assert time.perf_counter() - start < 0.5


def test_a_hub_that_listens_is_reachable_and_so_is_the_proxy_in_front_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        _point_to(monkeypatch, server)
        hub.check_reachable()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://nowhere.invalid")
        with pytest.raises(OSError, match=r"no connection to nowhere\.invalid"):
            hub.check_reachable()
        for proxy in (address, f"http://{address}"):
            monkeypatch.setattr(hub, "getproxies", lambda proxy=proxy: {"https": proxy})
            hub.check_reachable()


@pytest.mark.usefixtures("swallowing")
def test_an_offline_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.check_reachable()  # its client says that it is offline


@pytest.mark.parametrize("name", ["-", "a--b", "a..b", ".a", "a/b/c", "a/", "a b", "x" * 200])
def test_what_cant_be_on_the_hub_is_told_without_asking(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "create_connection", None)
    assert not hub.is_id(name)
    assert hub.is_id("openai-community/gpt2")
    assert hub.is_id("gpt2")
    with pytest.raises(ModelError, match="no id on the hub"):
        check_model_exists(name)
    with pytest.raises(DataError, match="no such file"):
        check_data_exists(name)
