"""Warnings, first as Python prints them, then through ``logging``."""

import logging
import warnings


def handler(event, context):
    warnings.warn("printed", UserWarning, stacklevel=1)
    logging.captureWarnings(True)
    warnings.warn("logged", UserWarning, stacklevel=1)
    logging.captureWarnings(False)
