"""Wakes processes that poll an open file.

The kernel asks again at every poll(2); each time it gives a handle, and a notification through any
of them wakes all that poll that open file.  So one task for each file is enough, with the newest
handle.
"""

from __future__ import annotations

import logging

import attrs
import pyfuse3
import trio

log = logging.getLogger(__name__)


@attrs.define(eq=False)
class _Poller:
    event: trio.Event
    handle: pyfuse3.PollHandle
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Pollers:
    """The events that polled files wait for, by file handle.

    Args:
        nursery: Runs the tasks that wait.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._pollers: dict[int, _Poller] = {}

    def notify_on(self, fh: int, event: trio.Event, handle: pyfuse3.PollHandle) -> None:
        """Notifies all that poll this file when the event is set."""
        known = self._pollers.get(fh)
        if known is not None and known.event is event:
            known.handle = handle
            return
        self.forget(fh)
        poller = self._pollers[fh] = _Poller(event, handle)
        self._nursery.start_soon(self._wake, fh, poller)

    def forget(self, fh: int) -> None:
        """Stops waiting for a file, which is closed."""
        if poller := self._pollers.pop(fh, None):
            poller.scope.cancel()

    async def _wake(self, fh: int, poller: _Poller) -> None:
        with poller.scope:
            await poller.event.wait()
            if self._pollers.get(fh) is poller:
                del self._pollers[fh]
            try:
                poller.handle.notify()
            except OSError as error:  # the poller is gone
                log.debug("poll notification was not taken: %s", error)
