"""A turn: what one call at a time may do, and no caller ever waits for without bound.

Separate because the spool and the lines that are held back both need it. A signal handler or a finaliser may log in the
middle of a line of the same thread; it then waits for logging's own lock, which another thread may have that waits for
us. So a call that does not get the turn within :data:`WAIT_S` leaves what it wanted to have done, and the call that has
the turn looks for that once more after giving it back.

Not a lock of the interpreter's: an exception of a signal handler's may come between its being taken and anything that
could say by whom. Here each call has a token of its own, and one operation of a dictionary's takes the turn and says
whose it is. It also takes less time. A token is the thread's number, an object that each call of ``get_ident`` makes
anew: the same object is the same call, an equal one the same thread.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_S = 0.003
"""A line takes a microsecond, a new segment a millisecond: a call that takes longer is being stopped in it."""
_LOOK_AGAIN_S = 0.0002

_never = allocate_lock()
"""Waiting for it is sleeping, whatever the function has made of ``time.sleep``."""
_never.acquire()


class Turn:
    """Whose turn it is."""

    __slots__ = ("owner", "_waiting")

    def __init__(self) -> None:
        self.owner: dict[str, int] = {}
        """The token of the call whose turn it is, at the empty key. :meth:`Spool.append` does by hand what is done
        here."""
        self._waiting: set[int] = set()

    def run(self, work: Callable[..., object], *arguments: object) -> bool:
        """Do something when it is our turn; False where that does not come in time, or is this thread's already.

        A signal handler may raise anywhere: then the turn is given back all the same.
        """
        owner, token = self.owner, get_ident()
        try:
            if owner.setdefault("", token) is not token and not self._await(token):
                return False
            work(*arguments)
        finally:
            if owner.get("") is token:
                del owner[""]
        return True

    def _await(self, token: int) -> bool:
        """Wait, but not for this thread itself, nor in the middle of its waiting: signals may come faster than this."""
        if token in self._waiting:
            return False
        self._waiting.add(token)
        try:
            until_s = monotonic() + WAIT_S
            while (owner := self.owner.setdefault("", token)) is not token:
                if owner == token or monotonic() > until_s:
                    return False
                _never.acquire(timeout=_LOOK_AGAIN_S)
            return True
        finally:
            self._waiting.discard(token)
