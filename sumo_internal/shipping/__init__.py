"""From the spool to a destination: when to ship, the loop that does it, and what follows each answer."""
