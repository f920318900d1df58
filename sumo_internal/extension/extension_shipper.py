"""The extension's shipping thread: drains the spool where no sidecar does, and at SHUTDOWN.

Separate from the extension's life (:mod:`sumo_internal.extension.lifecycle`), whose one thread takes deliveries: Lambda
drops a delivery while the one before is unanswered, so an acknowledgement must never wait for a source. This thread may
be stuck in a name look-up or a dead connection; the other thread waits for it up to a bound, and leaves a stuck thread
alone (:meth:`ExtensionShipper.renew`).

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
    from sumo_internal.spool.counters import Counters, KeptCounts
    from sumo_internal.spool.partials import Partial
    from sumo_internal.spool.reader import SpoolReader

_LOOKS_MAX = 10
"""Each fails only where a segment was delivered in the middle of it."""
BESIDE, AT_SHUTDOWN, LAST = "beside", "at shutdown", "last"
"""Beside the function; at the environment's end; and once more there, with the account of all that was lost."""


class ExtensionShipper:
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
        self._thread: _ShippingThread | None = None
        self._threads = 0
        """How many there have been."""
        self._done, self._tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.descriptor = self._done
        """Has something to read when a drain has ended since :meth:`hear`."""

    def ask(self, kind: str, until_s: float) -> None:
        """Have the spool drained soon; returns at once.

        Args:
            kind: :data:`BESIDE`, :data:`AT_SHUTDOWN` or :data:`LAST`.
            until_s: POSIX time at which to stop, at the latest.
        """
        if self._thread is None:
            self._threads += 1
            self._thread = _ShippingThread(self._config, self._platform_log, self._keeper, self._tell, self._threads)
        self._thread.ask(kind, until_s)

    def hear(self) -> None:
        """Forget which drains have ended."""
        try:
            os.read(self._done, 1024)
        except BlockingIOError:
            pass

    @property
    def is_busy(self) -> bool:
        """Is anything asked for that is not done?"""
        return self._thread is not None and self._thread.served != self._thread.asked

    @property
    def outcome(self) -> str:
        """What became of the last drain, in a few words."""
        return "no request was made" if self._thread is None else self._thread.outcome

    def renew(self) -> None:
        """Leave a stuck thread alone, and ship with another one: what the stuck one has sent may be sent again."""
        self._thread = None

    def leave(self) -> None:
        """End the request that the thread is stuck in, and let it send nothing more."""
        if self._thread is not None:
            self._thread.leave()

    def hurry(self, until_s: float) -> None:
        """Have a drain that is under way stop by then (POSIX time); a request that is under way goes on."""
        if self._thread is not None:
            self._thread.hurry(until_s)

    @property
    def attempts(self) -> int:
        """Requests that have come to an end so far: while it stays as it is, the thread waits for one."""
        return 0 if self._thread is None else self._thread.attempts

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
        from sumo_internal.spool.envelope import destination_id
        from sumo_internal.spool.reader import SpoolReader

        if self._thread is not None and not self.is_busy:
            return self._thread.reader()
        where = destination_id(self._config)
        return SpoolReader(self._config.spool_dir, self._platform_log.spool, where, self._keeper)


class _ShippingThread:
    """One thread, what it drains with, and the drain that it was asked for last."""

    def __init__(
        self, config: Config, platform_log: PlatformLog, keeper: Keeper | None, done: int, number: int
    ) -> None:
        """Start the thread, which waits for :meth:`ask`.

        Args:
            config: As the shipper has it.
            platform_log: Likewise.
            keeper: Likewise.
            done: Descriptor to which a byte is written when a drain has ended.
            number: How many of the shipper's threads there have been, this one included: in its counters' name.
        """
        self._config = config
        self._keeper = keeper
        self._platform_log = platform_log
        self._done = done
        self._name = f"extension{number if number > 1 else ''}-p{os.getpid()}"
        self._reader: SpoolReader | None = None
        self._drainer: Drainer | None = None
        self._sender: PlainSender | None = None
        self._wake = threads.Signal()
        self._order = (BESIDE, 0.0)
        self._drained = ""
        self.asked = self.served = 0
        """Drains so far; a later one that is asked for before the thread comes to it takes the place of an earlier."""
        threads.start(self._work)

    # Called by the thread that takes deliveries.

    @property
    def outcome(self) -> str:
        """What became of the last drain, in a few words."""
        return self._drained or "not finished"

    def ask(self, kind: str, until_s: float) -> None:
        """See :meth:`ExtensionShipper.ask`."""
        self._order = (kind, until_s)
        self.asked += 1
        self._wake.set()

    @property
    def attempts(self) -> int:
        """See :attr:`ExtensionShipper.attempts`."""
        return 0 if self._drainer is None else self._drainer.attempts

    def hurry(self, until_s: float) -> None:
        """See :meth:`ExtensionShipper.hurry`."""
        if self._drainer is not None:
            self._drainer.hurry(until_s)

    def leave(self) -> None:
        """Send nothing more, and let another thread drain: over a connection of its own, so this one's ends."""
        if self._drainer is not None:
            self._drainer.leave()
        if self._sender is not None:
            self._sender.break_off()

    def reader(self) -> SpoolReader:
        """The view of all spools; it always knows which spool is our own."""
        return self._connected()[0]

    # The thread itself.

    def _work(self) -> None:
        """Ship what is asked for, for ever."""
        while True:
            self._wake.wait()
            while self.served != (asked := self.asked):
                with diagnostics.guard("shipping"):
                    self._ship(*self._order)
                self.served = asked
                os.write(self._done, b".")

    def _ship(self, kind: str, until_s: float) -> None:
        _, drainer = self._connected()
        if kind != LAST:
            self._drain(drainer, until_s, is_shutdown=kind != BESIDE)
        if kind == BESIDE and self._platform_log.is_before_snapshot:
            self._forget()  # nor is anything accounted for: the copies do, each on its own
        elif kind == BESIDE:
            self._account(drainer)
        if kind == LAST and (self._account(drainer, is_shutdown=True) or any(self.reader().left())):
            self._drain(drainer, until_s, is_shutdown=True)

    def _drain(self, drainer: Drainer, until_s: float, *, is_shutdown: bool) -> None:
        self._drained = ""  # while it lasts, and where an error ends it
        self._drained = drainer.drain(until_s, is_shutdown=is_shutdown).value

    def _forget(self) -> None:
        """Keep no connection, whose other end no copy has, and nothing that was learned."""
        if self._sender is not None:
            self._sender.close()
        self._reader = self._drainer = self._sender = None

    def _account(self, drainer: Drainer, *, is_shutdown: bool = False) -> bool:
        """Have the drainer account for what is counted in here; returns whether there is a new record to be drained."""
        from sumo_internal.shipping.retry_policy import Drained

        spool = self._platform_log.spool
        own_counters: list[Counters | KeptCounts] = [] if spool is None else [spool.counters]
        if self._keeper is not None:
            where = self.reader().destination
            own_counters += [tally for tally in self._keeper.tallies if tally.is_of(where)]
        is_recorded = self._drained == Drained.EMPTY.value
        return drainer.account(*own_counters, is_recorded=is_recorded, is_shutdown=is_shutdown)

    def _connected(self) -> tuple[SpoolReader, Drainer]:
        reader, drainer = self._reader, self._drainer
        if reader is None or drainer is None:
            reader, drainer = self._reader, self._drainer = self._connect()
        reader.own = self._platform_log.spool
        return reader, drainer

    def _connect(self) -> tuple[SpoolReader, Drainer]:
        """Make what drains, with what it imports; it connects when there is something to send."""
        from sumo_internal.net.client import PlainSender
        from sumo_internal.shipping import factory
        from sumo_internal.spool.counters import Counters
        from sumo_internal.spool.envelope import destination_id
        from sumo_internal.spool.reader import SpoolReader

        def complete(partial: Partial) -> str | None:
            from sumo_internal.processing.unfinished import Unfinished

            return Unfinished(self._config, counts.add, self._platform_log.is_timeout).record(partial)

        self._sender = sender = PlainSender()
        where = destination_id(self._config)
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
