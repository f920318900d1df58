"""The external extension's process: its life, and Lambda's own events as records in a spool of its own."""
