"""What a user imports: the drop-in logging handler, and what structlog is given."""
