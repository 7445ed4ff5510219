"""Processes of this machine."""

DRIFT_SECONDS = 60.0  # by which clocks may differ: that of a disk elsewhere, and that of the kernel's start


def runs(process: int, since: float | None = None) -> bool:
    """Tell whether `process` is there, and was there at `since` (seconds since 1970).

    Numbers of processes come again: at the latest when the machine, or a container, has started anew.
    """
    import psutil  # noqa: PLC0415 (jobs do without)

    try:
        began: float = psutil.Process(process).create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's, where the system does not tell
        return True
    return since is None or began <= since + DRIFT_SECONDS
