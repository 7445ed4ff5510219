"""`python -m lxmert_tickets`."""

import signal
import sys

try:
    from lxmert_tickets.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"error: {error}; expected the packages of requirements.lock. Run make setup, then . .venv/bin/activate")

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # end as a shell expects of a program that Ctrl-C stops, without a traceback
        sys.stderr.write("interrupted\n")
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
