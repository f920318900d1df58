"""Output that bypasses Python's streams: system calls, C code, child processes."""

import ctypes
import faulthandler
import os
import subprocess
import sys


def handler(event, context):
    os.write(1, b"os.write\n")
    with open(1, "w", closefd=False) as file:
        print("a file of its own on the descriptor", file=file)
    subprocess.run(["/bin/echo", "a child process"], check=True)
    libc = ctypes.CDLL(None)
    libc.puts(b"C code")
    libc.fflush(None)
    sys.stdout.flush()
    faulthandler.dump_traceback()
