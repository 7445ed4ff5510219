"""Fetch one file as a process of its own: `python fetching.py URL TARGET LOCK`."""

import logging
import sys
from pathlib import Path

from lxmert_tickets.downloads.fetch import fetch

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    fetch([sys.argv[1]], Path(sys.argv[2]), lock=Path(sys.argv[3]))
