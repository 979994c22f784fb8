"""Who retrains a pipeline: one process at a time, by a lease in the store that a dead one loses."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Self

from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.store import decisions, record

SECONDS = 90.0
"""How long a lease holds that nobody renews. A run that a dead holder started has long since
locked its root by then."""
_OWNER, _EXPIRES = "lease_owner", "lease_expires"


class LeaseLost(UserError):
    """Another process holds the lease: what was begun is its to go on with."""


class Lease:
    """A lease on a pipeline, renewed by a thread until the block ends."""

    def __init__(
        self,
        config: PipelineConfig,
        *,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the time since the epoch, in seconds, from `clock`."""
        self._config, self._seconds, self._clock = config, seconds, clock
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._lost = ""

    def __enter__(self) -> Self:
        """Takes it.

        Raises:
          LeaseLost: another process holds it.
        """
        self.renew()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives it back; where the store is away, it ends by itself."""
        self._ended.set()
        self._thread.join()
        with suppress(UserError), decisions.alone(self._config) as store:
            context = record.named(store, decisions.CONTEXT, self._config.name)
            if context.custom_properties[_OWNER].string_value == self.owner:
                context.custom_properties[_EXPIRES].string_value = "0"
                store.put_contexts([context])

    def renew(self) -> None:
        """Takes it, or holds it for longer.

        Raises:
          LeaseLost: another process holds it.
          UserError: the store cannot be reached.
        """
        with decisions.alone(self._config) as store:
            context = record.named(store, decisions.CONTEXT, self._config.name)
            kept = context.custom_properties
            owner = kept[_OWNER].string_value
            expires = float(kept[_EXPIRES].string_value or 0)
            if owner != self.owner and expires > self._clock():
                until = datetime.fromtimestamp(expires)
                raise LeaseLost(
                    f"{self._config.name} is retrained by another process, {owner}; if that one is "
                    f"dead, its lease ends at {until:%H:%M:%S}"
                )
            kept[_OWNER].string_value = self.owner
            kept[_EXPIRES].string_value = str(self._clock() + self._seconds)
            store.put_contexts([context])

    def check(self) -> None:
        """Sees to it that it is held still; to be called before anything that cannot be undone.

        Raises:
          LeaseLost: another process holds it.
        """
        if self._lost:
            raise LeaseLost(self._lost)
        self.renew()

    def _keep(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            try:
                self.renew()
            except LeaseLost as lost:
                self._lost = str(lost)
                return
            except (UserError, OSError):
                continue  # The store may be back before the lease ends.
