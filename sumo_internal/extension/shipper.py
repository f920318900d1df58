"""The extension's shipping thread: drains the spool where no sidecar does, and at SHUTDOWN.

Separate from the extension's life (:mod:`sumo_internal.extension.lifecycle`), whose one thread takes deliveries: Lambda
drops a delivery while the one before is unanswered, so an acknowledgement must never wait for a source. This thread may
be stuck in a name look-up or a dead connection; the other thread waits for it up to a bound, and leaves a stuck thread
alone (:meth:`Shipper.renew`).

What shipping needs is imported on this thread, when there is something to ship for the first time.
"""

from __future__ import annotations

import os

from sumo_internal import diagnostics, threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.config import Config
    from sumo_internal.extension.keeper import Keeper
    from sumo_internal.extension.platform_log import PlatformLog
    from sumo_internal.net.client import PlainSender
    from sumo_internal.shipping.drainer import Drainer
    from sumo_internal.spool.counters import Counters, Kept
    from sumo_internal.spool.partials import Partial
    from sumo_internal.spool.reader import SpoolReader

_LOOKS_MAX = 10
"""Each fails only where a segment was delivered in the middle of it."""
BESIDE, AT_SHUTDOWN, LAST = "beside", "at shutdown", "last"
"""Beside the function; at the environment's end; and once more there, with the account of all that was lost."""


class Shipper:
    """Ships when it is asked to, one drain after the other."""

    def __init__(self, config: Config, platform_log: PlatformLog, keeper: Keeper | None = None) -> None:
        """Nothing runs before :meth:`ask`.

        Args:
            config: Where to, and how often.
            platform_log: Its spool is our own; what was retried, failed over and lost is recorded in it.
            keeper: Has what the function's process could not put into files.
        """
        self._config = config
        self._keeper = keeper
        self._platform_log = platform_log
        self._worker: _Worker | None = None
        self._workers = 0
        self._done, self._tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.descriptor = self._done
        """Has something to read when a drain has ended since :meth:`hear`."""

    def ask(self, kind: str, until_s: float) -> None:
        """Have the spool drained soon; returns at once.

        Args:
            kind: :data:`BESIDE`, :data:`AT_SHUTDOWN` or :data:`LAST`.
            until_s: POSIX time at which to stop, at the latest.
        """
        if self._worker is None:
            self._workers += 1
            self._worker = _Worker(self._config, self._platform_log, self._keeper, self._tell, self._workers)
        self._worker.ask(kind, until_s)

    def hear(self) -> None:
        """Forget which drains have ended."""
        try:
            os.read(self._done, 1024)
        except BlockingIOError:
            pass

    @property
    def is_busy(self) -> bool:
        """Is anything asked for that is not done?"""
        return self._worker is not None and self._worker.served != self._worker.asked

    @property
    def outcome(self) -> str:
        """What became of the last drain, in a few words."""
        return "nothing was tried" if self._worker is None else self._worker.outcome

    def renew(self) -> None:
        """Leave a stuck thread alone, and ship with another one: what the stuck one has sent may be sent again."""
        self._worker = None

    def leave(self) -> None:
        """End the request that the thread is stuck in, and let it send nothing more."""
        if self._worker is not None:
            self._worker.leave()

    def hurry(self, until_s: float) -> None:
        """Have a drain that is under way stop by then (POSIX time); a request that is under way goes on."""
        if self._worker is not None:
            self._worker.hurry(until_s)

    @property
    def attempts(self) -> int:
        """Requests that have come to an end so far: while it stays as it is, the thread waits for one."""
        return 0 if self._worker is None else self._worker.attempts

    def left(self) -> tuple[int, int]:
        """Lines and bytes that no destination has yet."""
        for _ in range(_LOOKS_MAX):
            try:
                return self.reader().left()
            except ValueError:
                pass  # what is kept in memory was just delivered, and closed, by the thread that ships
        return 0, 0

    def reader(self) -> SpoolReader:
        """A view of all spools that no other thread is using."""
        from sumo_internal.spool.envelope import destination
        from sumo_internal.spool.reader import SpoolReader

        if self._worker is not None and not self.is_busy:
            return self._worker.reader()
        where = destination(self._config)
        return SpoolReader(self._config.spool_dir, self._platform_log.spool, where, self._keeper)


class _Worker:
    """One thread, what it drains with, and what it was asked for last."""

    def __init__(
        self, config: Config, platform_log: PlatformLog, keeper: Keeper | None, tell: int, number: int
    ) -> None:
        self._config = config
        self._keeper = keeper
        self._platform_log = platform_log
        self._tell = tell
        self._name = f"extension{number if number > 1 else ''}-p{os.getpid()}"
        self._shipping: tuple[SpoolReader, Drainer] | None = None
        self._sender: PlainSender | None = None
        self._wake = threads.Signal()
        self._order = (BESIDE, 0.0)
        self._drained = ""
        self.asked = self.served = 0
        threads.start(self._work)

    @property
    def outcome(self) -> str:
        return self._drained or "not finished"

    def ask(self, kind: str, until_s: float) -> None:
        self._order = (kind, until_s)
        self.asked += 1
        self._wake.set()

    @property
    def attempts(self) -> int:
        return self._shipping[1].attempts if self._shipping else 0

    def hurry(self, until_s: float) -> None:
        if self._shipping:
            self._shipping[1].hurry(until_s)

    def leave(self) -> None:
        """Send nothing more, and let another thread drain: over a connection of its own, so this one's ends."""
        if self._shipping:
            self._shipping[1].leave()
        if self._sender is not None:
            self._sender.break_off()

    def reader(self) -> SpoolReader:
        """The view of all spools; it always knows which spool is our own."""
        return self._connected()[0]

    def _work(self) -> None:
        while True:
            self._wake.wait()
            while self.served != (asked := self.asked):
                with diagnostics.guard("shipping"):
                    self._ship(*self._order)
                self.served = asked
                os.write(self._tell, b".")

    def _ship(self, kind: str, until_s: float) -> None:
        _, drainer = self._connected()
        if kind != LAST:
            self._drained = ""
            self._drained = drainer.drain(until_s, is_shutdown=kind != BESIDE).value
        if kind == BESIDE:
            self._account(drainer)
            if self._platform_log.is_before_snapshot:
                self._forget()
        if kind == LAST and (self._account(drainer, is_shutdown=True) or any(self.reader().left())):
            self._drained = ""
            self._drained = drainer.drain(until_s, is_shutdown=True).value

    def _forget(self) -> None:
        """Keep no connection, whose other end no copy of the environment has, and nothing that was learned."""
        if self._sender is not None:
            self._sender.close()
        self._shipping = self._sender = None

    def _account(self, drainer: Drainer, *, is_shutdown: bool = False) -> bool:
        from sumo_internal.shipping.retry_policy import Drained

        spool = self._platform_log.spool
        own_counters: list[Counters | Kept] = [] if spool is None else [spool.counters]
        if self._keeper is not None:
            where = self.reader().destination
            own_counters += [tally for tally in self._keeper.tallies if tally.is_of(where)]
        is_recorded = self._drained == Drained.EMPTY.value
        return drainer.account(*own_counters, is_recorded=is_recorded, is_shutdown=is_shutdown)

    def _connected(self) -> tuple[SpoolReader, Drainer]:
        if self._shipping is None:
            self._shipping = self._connect()
        self._shipping[0].own = self._platform_log.spool
        return self._shipping

    def _connect(self) -> tuple[SpoolReader, Drainer]:
        from sumo_internal.net.client import PlainSender
        from sumo_internal.shipping import factory
        from sumo_internal.spool.counters import Counters
        from sumo_internal.spool.envelope import destination
        from sumo_internal.spool.reader import SpoolReader

        def complete(partial: Partial) -> str | None:
            from sumo_internal.processing.unfinished import Unfinished

            return Unfinished(self._config, counts.add, self._platform_log.is_timeout).record(partial)

        self._sender = sender = PlainSender()
        where = destination(self._config)
        reader = SpoolReader(self._config.spool_dir, destination=where, keeper=self._keeper)
        reader.complete = complete
        counts = Counters(self._config.spool_dir, self._name, destination=where)
        account = self._platform_log.account
        return reader, factory.make_drainer(
            self._config, os.environ, reader, counts, lambda: sender, account, _account_id
        )


def _account_id() -> str:
    """The account as the registration's answer has it; empty where the script in /opt/extensions has not read it."""
    return os.environ.get("SUMO_EXTENSION_ACCOUNT", "")
