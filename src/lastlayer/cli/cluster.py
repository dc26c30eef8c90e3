"""The option ``--dask``. In: the address of a scheduler, or "local". Out: a client while it is needed."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

import typer

from .usage import UsageError

__all__ = ["Dask", "client_at"]

_HELP = "Let a cluster of Dask compute: the address of its scheduler, or local for this machine's processors."
Dask = Annotated[str | None, typer.Option(metavar="ADDRESS", help=_HELP, show_default=False)]
_WAIT = 5  # seconds to wait for a scheduler


@contextmanager
def client_at(command: str, address: str | None) -> Iterator[Any]:
    """A client of the scheduler at an address; None without an address."""
    if address is None:
        yield None
        return
    try:
        import distributed
    except ImportError:
        raise UsageError(f"{command}: --dask needs dask; run: pip install 'lastlayer[dask]'") from None
    with ExitStack() as stack:
        if address == "local":
            with _left_to_us():
                address = stack.enter_context(_processes(distributed))
        client = stack.enter_context(_connected(distributed, command, address))
        if not client.scheduler_info(n_workers=-1)["workers"]:
            print(f"lastlayer: the scheduler at {address} has no workers yet; waiting", file=sys.stderr)
        try:
            yield client
        except KeyboardInterrupt:
            print("lastlayer: interrupted; its tasks are cancelled", file=sys.stderr)
            raise


def _processes(distributed: Any) -> Any:
    """Start a process for each processor of this machine."""
    # Any free port: if another cluster's dashboard has the default one, Dask warns.
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    return distributed.LocalCluster(**options, silence_logs=logging.ERROR)


@contextmanager
def _left_to_us() -> Iterator[None]:
    """Let processes started here ignore Ctrl-C, which a terminal sends to all of them."""
    usual = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _connected(distributed: Any, command: str, address: Any) -> Any:
    try:
        return distributed.Client(address, timeout=_WAIT, set_as_default=False)
    except (OSError, ValueError) as error:
        why = f"nobody answers in {_WAIT} s" if isinstance(error, OSError) else str(error)
        rule = "the address of a scheduler, such as tcp://host:8786, or local"
        raise UsageError(f"{command}: --dask is {address!r}; expected {rule} ({why})") from None
