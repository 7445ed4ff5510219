"""How jobs run: as forks, with a log, locks and a GPU, and only on the code that will be recorded."""
