"""What came of one attempt to deliver a batch, whichever destination it went to. Pure."""

from __future__ import annotations


class Attempt:
    """What came of one attempt.

    ``status`` is 0 where there was no answer; ``problem`` says what is wrong with it in a few words, without the
    endpoint; ``retry_after_s`` is what the source asked for; ``is_out``: no answer came to what had been sent whole;
    ``is_sent_again``: that had happened once before in this attempt, on a connection that was kept.
    """

    __slots__ = ("status", "problem", "retry_after_s", "is_out", "is_sent_again")

    def __init__(
        self,
        status: int,
        problem: str = "",
        retry_after_s: float | None = None,
        *,
        is_out: bool = False,
        is_sent_again: bool = False,
    ) -> None:
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s
        self.is_out = is_out
        self.is_sent_again = is_sent_again

    @property
    def may_have_arrived(self) -> bool:
        """May the batch be where it was sent to?"""
        return 200 <= self.status < 300 or self.is_out or self.is_sent_again

    @property
    def is_ours(self) -> bool:
        """Did the source answer that something is wrong with us (the address, the batch), and not with itself?"""
        return 300 <= self.status < 500 and self.status not in (408, 429)
