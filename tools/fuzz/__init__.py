"""``make fuzz``: every parser that meets bytes of others, fed with what coverage-guided mutation comes up with.

``run`` is the command, ``one`` the process that feeds one parser, ``parsers`` what is fed and what may never happen.
What was found becomes a file in ``tests/fuzz_cases/``, which ``tests/test_fuzz.py`` feeds to the parser for ever.
"""
