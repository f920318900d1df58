"""What the function's process and the extension tell each other, beside the lines.

Separate from the spool, whose files hold lines. These notes are read once and may be missing (a function empties /tmp,
a disk is full); then something is less exact, and nothing is lost.

* That the function is heard in its own process, with the names of its log group and stream and the headers of its
  requests: no variable of the extension's tells them. The process holds a socket whose abstract name says that the
  process is there, and sends the rest through that socket; where the extension does not listen yet, the process writes
  the rest to ``function.json``.
* ``timed-out``: the request id of the invocation whose timeout was recorded last. Lambda may report that timeout once
  more to the next generation.

On Managed Instances a worker rings when it has written much (:func:`ring`), which wakes the extension: a datagram to a
third abstract socket. Where none is heard, the extension ships by age all the same.

Where a segment can have no file, the function's process sends a descriptor of its memory to the extension's socket
(:mod:`sumo_internal.extension.keeper`), an abstract one, which needs no disk. Each descriptor goes through a connection
of its own, because the kernel keeps hundreds of connections for a process that accepts none, but only ten datagrams.
The extension need not be awake, and the sender may be dead by the time the extension takes the descriptor.

The same socket takes a lifeline: a connection that the life-cycle thread holds during the init. When the connection
ends and that thread is gone, the function has put another program in the place of its process (``os.execv``), and the
extension asks Lambda for the thread's events (:mod:`sumo_internal.extension.stand_in`). A second message says when that
was, where it is noticed: the extension may see it late.
"""

from __future__ import annotations

import os
import sys
import time
from _socket import (
    AF_UNIX,
    MSG_DONTWAIT,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)
from _thread import get_native_id

from sumo_internal.spool.folder import close_at, place_of, read_file, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    Note = tuple[str, str, dict[str, str], float, bool]
    """Log group, log stream, request headers, the POSIX time from which on the function is heard, and whether the
    process is a copy, restored from a snapshot."""

_FUNCTION, _TIMED_OUT = "function.json", "timed-out"
NOTE_MAX_BYTES = 64 * 1024
"""Bound on what is read; the headers may have 30 fields of 455 characters."""
_presence: tuple[int, tuple[int, int]] | None = None
"""The socket that is held for as long as this process lives: its descriptor, and its place, because the function may
close it, and open a file under its number."""
LIFELINE = b"lifeline "
"""How the message begins that :func:`hold_lifeline` sends; the process's id, the thread's and the identifier follow."""
RELEASED = b"released"
"""What :func:`release_lifeline` sends: a thread that Lambda has not registered ends then, and no program with it."""
_lifeline: tuple[int, tuple[int, int]] | None = None
"""The connection's descriptor, and its place: the function may close it, and open a file under its number."""
_late: tuple[bytes, bytes] | None = None
"""The note that could not be sent, and the name of the socket that it is for."""


def function_socket_name(address: str) -> bytes:
    """The name of the socket that the function's process holds."""
    return b"\0sumo-internal/" + address.encode() + b"/function"


def extension_socket_name(address: str) -> bytes:
    """The name of the socket on which the extension waits for a note."""
    return b"\0sumo-internal/" + address.encode() + b"/extension"


def tell_function(
    folder: str, address: str, log_group: str, log_stream: str, headers: dict[str, str], *, is_copy: bool = False
) -> None:
    """Tell the extension that the function is heard in this process; in a copy of it, tell the copy's names.

    Args:
        folder: Path of the spool's folder, which should be there.
        address: AWS_LAMBDA_RUNTIME_API; empty outside Lambda, where there is no extension to tell.
        log_group: AWS_LAMBDA_LOG_GROUP_NAME.
        log_stream: AWS_LAMBDA_LOG_STREAM_NAME.
        headers: Request headers under which the function's lines travel.
        is_copy: The process was restored from a snapshot.
    """
    global _presence, _late
    if not address:
        return
    import json  # the function's process has it loaded; the extension loads it for its first event, not for this

    text = json.dumps((log_group, log_stream, headers, time.time(), is_copy))
    if is_copy:
        _late = text.encode(), extension_socket_name(address)
        if not tell_late():
            _write(f"{folder}/{_FUNCTION}", text)
        return
    try:
        presence = socket(AF_UNIX, SOCK_DGRAM)
    except OSError:
        _write(f"{folder}/{_FUNCTION}", text)
        return
    try:
        presence.setblocking(False)
        presence.bind(function_socket_name(address))
        presence.sendto(text.encode(), extension_socket_name(address))
    except OSError:  # the extension is not up yet, or another process of the function's has told already
        _write(f"{folder}/{_FUNCTION}", text)
        _late = text.encode(), extension_socket_name(address)
    _presence = presence.fileno(), place_of(presence.fileno())
    presence.detach()  # an object would be warned of when the process ends


def tell_late() -> bool:
    """Send the note that the extension was not up for, once the init is over: the file may have had no room, and counts
    only while this process holds its socket, which the function may close. Until it is sent it can be tried again.

    Returns:
        Whether there was one, and it was sent.
    """
    global _late
    if _late is None:
        return False
    note = _late
    try:
        sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            sender.setblocking(False)
            sender.sendto(*note)
        finally:
            sender.close()
    except OSError:
        return False  # there is no extension beside this process, or not yet
    _late = None
    return True


def function_note(folder: str) -> bytes | None:
    """The note that :func:`tell_function` has put into a file; None where there is none."""
    return read_file(f"{folder}/{_FUNCTION}", NOTE_MAX_BYTES) or None


def read_note(text: bytes) -> Note | None:
    """What :func:`tell_function` told; None where the bytes are no such note."""
    import json

    try:
        log_group, log_stream, headers, told_at_s, is_copy = json.loads(text)
        named = {str(name): str(value) for name, value in headers.items()}
        return str(log_group), str(log_stream), named, float(told_at_s), bool(is_copy)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def is_of_copy(note: bytes) -> bool:
    """Has a copy told this, restored from a snapshot? Without reading it: the extension loads ``json`` later."""
    return note.endswith(b"true]")


def made_up_stream(version: str) -> str:
    """A log stream's name where no variable has the real one: in an extension, and in a snapshot."""
    return f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{version}]{os.urandom(16).hex()}"


def entrust(address: str, name: str, descriptor: int) -> bool:
    """Send a descriptor of a segment in memory to the extension; never waits.

    Args:
        address: As :func:`sumo_internal.config.keeper_address` has it.
        name: The segment's.
        descriptor: Stays the caller's.

    Returns:
        Whether the extension has it, or will have it when it looks. If not, there is no extension (yet), it keeps as
        much as it may, or this process has no descriptor left. Try again later.
    """
    if not address:
        return False
    try:
        sender = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            sender.connect(address)
            sender.sendmsg([name.encode()], [(SOL_SOCKET, SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))])
        finally:
            sender.close()
    except OSError:
        return False
    return True


def hold_lifeline(address: str, identifier: str) -> bool:
    """Tell the extension that this thread asks for the events of an internal extension; never waits.

    The connection stays open until :func:`release_lifeline`, or until another program takes the process's place.

    Args:
        address: As :func:`sumo_internal.config.keeper_address` has it.
        identifier: The internal extension's; empty where Lambda has refused it, because the program before has it.

    Returns:
        Whether the extension has been told, or there is nobody to tell. If not, it does not listen (yet).
    """
    global _lifeline
    if _lifeline is not None or not address:
        return True
    try:
        lifeline = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            lifeline.connect(address)
            lifeline.send(LIFELINE + f"{os.getpid()} {get_native_id()} {identifier}".encode())
        except BaseException:
            lifeline.close()
            raise
    except OSError:
        return False
    _lifeline = lifeline.fileno(), place_of(lifeline.fileno())
    lifeline.detach()
    return True


def tell_replacement() -> None:
    """Tell the extension, over the lifeline, that another program takes this process's place now; never waits."""
    if _lifeline is not None:
        _send(_lifeline, repr(time.time()).encode())  # else it is the time at which the extension sees the end


def release_lifeline() -> None:
    """End the connection of :func:`hold_lifeline`, if it is there and still ours."""
    global _lifeline
    if _lifeline is None:
        return
    lifeline, _lifeline = _lifeline, None
    _send(lifeline, RELEASED)
    close_at(*lifeline)


def _send(lifeline: tuple[int, tuple[int, int]], message: bytes) -> None:
    descriptor, place = lifeline
    if place_of(descriptor) == place:
        try:
            os.write(descriptor, message)
        except OSError:
            pass  # the extension has ended it


def _let_go() -> None:
    """In a forked child: it is neither the process that hears the function nor the one that is registered, and may live
    on where another program takes the place of that one."""
    global _presence, _lifeline
    for held in (_presence, _lifeline):
        if held is not None:
            close_at(*held)
    _presence = _lifeline = None


os.register_at_fork(after_in_child=_let_go)


def bell_socket_name(address: str) -> bytes:
    """The name of the socket on which the extension hears that there is much to ship."""
    return b"\0sumo-internal/" + address.encode() + b"/bell"


def ring(address: str) -> None:
    """Wake the extension, which ships what this process writes; never waits.

    Args:
        address: AWS_LAMBDA_RUNTIME_API.
    """
    try:
        sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            sender.sendto(b"", MSG_DONTWAIT, bell_socket_name(address))
        finally:
            sender.close()
    except OSError:
        pass  # others have rung as often as the socket takes, or there is no extension


def tell_timeout(folder: str, request_id: str) -> None:
    """Tell the next generation that this invocation's timeout has its record."""
    _write(f"{folder}/{_TIMED_OUT}", request_id)


def timed_out(folder: str) -> str | None:
    """The request id that :func:`tell_timeout` told last."""
    return read_file(f"{folder}/{_TIMED_OUT}", NOTE_MAX_BYTES).decode("utf-8", "replace") or None


def _write(path: str, text: str) -> None:
    write_file(path, text.encode("utf-8", "backslashreplace"))
