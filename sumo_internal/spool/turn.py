"""A turn: the right to do what only one call at a time may do. No caller waits for it without bound.

Separate because the spool and the lines that are held back both need it. A signal handler or a finaliser may log in the
middle of a line of the same thread; it then waits for logging's own lock, and the thread that has that lock may be
waiting for us. So a call that does not get the turn within :data:`WAIT_S` leaves its work behind, and the call that has
the turn looks for such work once more after giving the turn back.

It is not a lock of the interpreter's: a signal handler may raise after such a lock was taken and before anything could
note which call has it. Here each call has a token of its own, and one operation of a dictionary's both takes the turn
and notes the token. That also takes less time. A token is the thread's number, an object that each call of
``get_ident`` makes anew: the same object is the same call, an equal one the same thread.
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

    @property
    def is_free(self) -> bool:
        """Has no call the turn, and waits none for it?"""
        return not self.owner and not self._waiting

    def run(self, work: Callable[..., object], *arguments: object) -> bool:
        """Do something in our turn; False where the turn does not come in time, or is this thread's already.

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

    def keep(self) -> int | None:
        """Take the turn for longer; return the token that gives it back, None where the turn does not come in time.

        Meanwhile whatever others would do in their turn is left behind, as if this call were being stopped in it.
        """
        token = get_ident()
        if self.owner.setdefault("", token) is token or self._await(token):
            return token
        return None

    def give_back(self, token: int) -> None:
        """End what :meth:`keep` began."""
        if self.owner.get("") is token:
            del self.owner[""]

    def _await(self, token: int) -> bool:
        """Wait, unless this thread has the turn or waits for it already: signals may come faster than a wait ends."""
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
