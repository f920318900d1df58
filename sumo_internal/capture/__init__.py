"""Where a line is heard, and the record that becomes of it."""
