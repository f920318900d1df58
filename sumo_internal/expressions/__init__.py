"""Users' regular expressions: which are taken, and where in a text they match."""
