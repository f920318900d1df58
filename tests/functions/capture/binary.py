"""Bytes below the text, and wrappers around them."""

import io
import sys


def handler(event, context):
    sys.stdout.buffer.write("bytes ä €\n".encode())
    sys.stdout.buffer.writelines([b"two ", b"pieces\n"])
    for byte in "cut in every character: ä € \U0001f600\n".encode():
        sys.stdout.buffer.write(bytes([byte]))
    sys.stdout.buffer.flush()
    sys.stdout.buffer.raw.write(b"raw\n")
    sys.stderr.buffer.write(b"on stderr\n")
    sys.stderr.buffer.flush()
    wrapper = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", write_through=True)
    print("through a wrapper", file=wrapper, flush=True)
    wrapper.detach()
    print("original", file=sys.__stdout__, flush=True)
    print("original", file=sys.__stderr__)
