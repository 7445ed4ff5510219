"""Processes of this machine."""

DRIFT_SECONDS = 60.0  # by which clocks may differ: that of a disk elsewhere, and that of the kernel's start


def runs(process: int, since: float | None = None) -> bool:
    """Tell whether `process` is there, and was there at `since` (seconds since 1970).

    Numbers of processes come again: at the latest when the machine, or a container, has started anew.
    """
    import psutil  # noqa: PLC0415 (jobs do without)

    try:
        found = psutil.Process(process)
        began: float = found.create_time()
        is_dead = found.status() == psutil.STATUS_ZOMBIE  # nobody has asked for its exit status
    except psutil.NoSuchProcess:
        return bool(psutil.pid_exists(process))  # another user's, where /proc hides those
    except psutil.AccessDenied:
        return True
    return not is_dead and (since is None or began <= since + DRIFT_SECONDS)
