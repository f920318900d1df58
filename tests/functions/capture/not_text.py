"""What is no text: bytes that are no UTF-8, and lone surrogates, which stderr escapes."""

import sys


def handler(event, context):
    sys.stdout.buffer.write(b"\x89PNG\r\n\x1a\x00\xff\xfe\n")
    sys.stdout.buffer.write(b"half a character \xe2\x82")
    sys.stdout.buffer.flush()
    print("nul \0, bell \a, escape \x1b[31m, separator \u2028")
    print("a lone surrogate: \udc80", file=sys.stderr)
