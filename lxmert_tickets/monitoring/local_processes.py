"""Processes of this machine."""

DRIFT_SECONDS = 60.0  # by which clocks may differ: that of a remote disk, and the one behind start times of processes


def runs(process: int, since: float | None = None) -> bool:
    """Return whether `process` exists, and did so at `since` (seconds since 1970).

    Process ids are reused, at the latest when the machine or container has restarted.
    """
    import psutil  # noqa: PLC0415 (jobs do without)

    try:
        found = psutil.Process(process)
        began: float = found.create_time()
        is_dead = found.status() == psutil.STATUS_ZOMBIE  # it has ended, but was not waited for
    except psutil.NoSuchProcess:
        return bool(psutil.pid_exists(process))  # another user's, where /proc hides those
    except psutil.AccessDenied:
        return True
    return not is_dead and (since is None or began <= since + DRIFT_SECONDS)
