"""``make soak``: random faults for minutes, and the books: is every line accounted for?

``run`` is the command, ``faults`` what goes wrong, ``books`` the balance.
"""
