"""Jobs as a cloud runs them, for Snakemake's cluster-generic executor: in empty folders, given only a script.

`pods.py start FOLDER SCRIPT` prints the name of a pod that runs SCRIPT; `pods.py status FOLDER NAME` prints its status.
"""

import os
import subprocess
import sys
from pathlib import Path

# What an image would hold: Python with the packages.
IMAGE = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/tmp", "OMP_NUM_THREADS": "1"}
RUN = 'sh "$0.sh" >"$0.log" 2>&1; echo $? >"$0.tmp"; mv "$0.tmp" "$0.status"'


def start(pods: Path, script: Path) -> str:
    """Start a pod that runs `script`; return its name."""
    pods.mkdir(exist_ok=True)
    pod = pods / f"pod{len(list(pods.glob('*.sh')))}"
    pod.mkdir()
    pod.with_suffix(".sh").write_text(script.read_text())
    image = IMAGE | {"PYTHONPATH": os.environ["POD_PYTHONPATH"]}
    nowhere = subprocess.DEVNULL
    subprocess.Popen(
        ["sh", "-c", RUN, str(pod)], cwd=pod, env=image, stdin=nowhere, stdout=nowhere, stderr=nowhere,
        start_new_session=True,
    )  # fmt: skip
    return pod.name


def status(pods: Path, name: str) -> str:
    """Return the status of the pod `name`, in Snakemake's words."""
    ended = pods / f"{name}.status"
    if not ended.exists():
        return "running"
    return "success" if ended.read_text().strip() == "0" else "failed"


if __name__ == "__main__":
    _, command, folder, what = sys.argv
    print(start(Path(folder), Path(what)) if command == "start" else status(Path(folder), what))  # noqa: T201
