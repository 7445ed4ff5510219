"""`python -m lxmert_tickets`."""

import signal
import sys

from lxmert_tickets.cli import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # end as a shell expects of a program that Ctrl-C stops, without a traceback
        sys.stderr.write("interrupted\n")
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
