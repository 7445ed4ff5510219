"""`python -m lxmert_tickets`."""

import sys

from lxmert_tickets.cli import main

if __name__ == "__main__":
    sys.exit(main())
