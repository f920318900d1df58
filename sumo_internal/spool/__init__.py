"""The spool: finished lines in memory-mapped files, which survive the process that wrote them.

When :meth:`Spool.append` returns, the line is in pages of the kernel's: a process that is killed at any later instant,
by anything, leaves it behind. What the kernel itself loses (the whole environment) is lost.

Layout
======

A folder (default ``/tmp/sumo-internal``, mode 0700, ours) holds for every writing process, called a writer::

    <environment>-p<pid>.lock              held (a lock of the open file) as long as the writer lives; in it, since when
    <environment>-p<pid>.<number>.spool    its segments, numbered from 000001, filled one after the other
    <environment>-p<pid>.<number>.held     not the spool's unless the writer dies (spool/held.py)
    <environment>-p<pid>.<number>.memory   a name only: segments without a file

and for each destination one ``drain-<destination>.lock``, held by the process that is draining to it. Processes that
ship to the same source, with the same token and bucket, have the same destination. Beside these lie the counters and
the notes (:mod:`sumo_internal.spool.counters`, :mod:`sumo_internal.spool.handoff`). Files with any other name are not
ours. A segment has 999,424 bytes and never grows. A forked child's first has 65,536, and each further one twice as many
as the one before. Where 16 of a writer's are not delivered the next is twice as large, where 32 are four times, and so
on to 64 MB, so that few have to be mapped:

=======  =====  ======================  =======  ==================================================================
offset   size   field                   owner    meaning
=======  =====  ======================  =======  ==================================================================
0        8      magic                   writer   ``SUMOSPL2``, the format's version in its last letter
8        8      committed offset        writer   lines are whole and final up to here (an offset in this file)
16       8      sealed                  writer   1 when nothing more will be appended to this segment
24       8      acknowledged offset     drainer  lines up to here have been delivered, or dropped and counted
32       8      sent offset             drainer  lines up to here may have been delivered; 0 before any was sent
40       8      size                    writer   the file's
48       8      process                 writer   its number, where another process has made the segment for it; else 0
56       8      written offset          drainer  lines up to here were written to CloudWatch at a SHUTDOWN, because no
                                                 destination took them
64       4      envelope size           writer   written once, before the file has its name
68       *      envelope                writer   JSON object: the request headers that these lines travel under, and
                                                 their ``destination``, which is that of the processes that drain them
4,096    12288  unfinished text         writer   see below; missing where the envelope reaches as far
16,384   *      lines                   writer   records, each one line of JSON with its newline
=======  =====  ======================  =======  ==================================================================

Integers are unsigned, in the machine's byte order: a spool never leaves the machine.

**A line is committed if and only if** its last byte lies below the committed offset.

**Unfinished text** is what has no line end yet, as it was written, in UTF-8 (bytes that are no text stay as they are):
six parts of 2,048 bytes. The first has a size (8 bytes), the form of records (8 bytes: 1 message alone, 2 with keys)
and the keys that all records share; each other has a text's size, or 0 (8 bytes), the POSIX time at which it was begun
(8 bytes, a float), how many bytes of its beginning are missing (8 bytes; the highest bit says that the text was written
together with lines that are records already), and the text. It is in the newest segment
only, and goes along to the next. No other process looks at it while the writer lives. The drainer of a dead writer's
segment makes a line of each text, behind the committed offset, and only then empties the text's part.

Order of writes
===============

1. The lock file is locked under a temporary name and then renamed; a segment likewise is created under a temporary
   name, its blocks reserved (``posix_fallocate``: a full disk is an ``OSError`` here and not a SIGBUS later), its
   header written, and only then renamed. A process that sees a name sees a complete header and a lock that is held.
2. A line is copied behind the committed offset; then the offset is moved by one aligned 8-byte store (through a
   ``memoryview`` of kind ``Q``: ``struct.pack_into`` writes zeros first, and readers see them).
3. When a line does not fit, the next segment is created and only then this one sealed.

Invariants
==========

1. Each field has one owner, and an owner is one thread at a time: the writer in its turn, the drainer under
   its destination's drain lock.
2. ``header <= acknowledged <= committed <= size``; none of the two offsets ever decreases. The sent offset goes back
   when the answer is that nothing was taken; a drainer that sends a line below it once more counts the line as sent
   again.
3. Bytes below the committed offset never change.
4. A segment is removed by the drainer, when it is acknowledged to its end and is sealed or its writer is dead.
5. A writer never removes anything. A call waits a few milliseconds at most for another that is in here too. Then it
   leaves its line in the process's memory, and the call that has the turn commits that line
   (:mod:`sumo_internal.spool.turn`).
6. What a writer had not finished making when it died (``*.new``, counts without a lock) is removed by the drainer once
   it is :data:`sumo_internal.spool.reader.LEFTOVER_AGE_S` old: by then no process can still be making it.

Which process may trust the committed offset
============================================

- The process itself: the interpreter lock is handed over between copying a line and reading the offset.
- Another process, once the writer is dead (its lock is free): the kernel has seen all its stores.
- Another process while the writer lives (the sidecar drains what the extension writes, the extension what a forked
  child writes): on x86-64 stores become visible in program order; on arm64 (Graviton) they need not, so it takes what
  it can verify (:meth:`Segment.take` with ``is_verified``): whole lines without a zero byte. That is enough, without
  a lock around each append: a byte that is not visible yet is zero, because each segment is a new file, and there is
  no zero byte in a JSON text. The lines from the first such byte on are taken next time.

A writer is dead when its lock could be taken *and* its process is gone: there is none with its number, or one that
began at another time. A free lock alone does not prove it: the lock may have gone with its file or its descriptor. A
listing or a lock that could not be looked at says nothing.

When no file can be made
========================

/tmp is full, or the folder is not ours alone: then a segment is memory of the same format (``memfd``), within a bound
(SUMO_MEMORY_MAX_MB) that is the process's own. The process's own drainer sees the segment, and so does the extension,
which gets a descriptor of it before its first line (:mod:`sumo_internal.extension.keeper`): SHUTDOWN and a kill lose
nothing. The segment's size is sealed, so that no process can cut it. The memory of delivered segments is given back at
once. Where a function uses up its descriptors, some that are set aside are used. A segment that the extension does not
have (it is not up yet, it keeps as many as it may, or not even a spare descriptor was left) is *unprotected*: the
segment is offered again whenever there is a chance, the invocation is held until it is delivered, and its lines are
counted as unprotected. Each new segment is a file again as soon as one can be made; a full segment that was delivered
has just given back the room for one.

A forked child has no drainer for what is in its memory. So, where /tmp has little room left, the parent makes the
child's first segment before the fork, in memory that both have (:mod:`sumo_internal.spool.others`). Its name has no
process number yet; the child puts its own into the header.

When the function empties the folder
====================================

A map works on without its file. A process's own drainer drains what the process has mapped; the drainer that has a
living child's segment mapped drains that. The next segment makes the folder, the lock and the counts again. At the end
of each invocation the writer looks whether its files are there.

The extension gets a descriptor of each segment when it is made, as it does of memory: the children's too, and those
with lines that are held back. It gets what it could not get then (it was not up yet) before the next invocation. At
the end of the init it gets what an earlier generation has left. What children have left in the folder by the end of an
invocation is mapped in their parent then, for its drainer. A segment whose file is gone and that the extension does not
get is unprotected. If its process dies before that look, its lines are lost and counted nowhere.

Nor is a line promised whose writer is killed while :meth:`Spool.append` runs for it, or while the line is left with
another call.

When C code forks
=================

A child that Python has not forked has its parent's map and offsets. The kernel wipes one page in it
(``MADV_WIPEONFORK``), whose first byte each line looks at: the child becomes a writer of its own before it writes.
"""
