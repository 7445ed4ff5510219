"""The configuration of an experiment as a page: all that is needed to run it again."""

import base64
import re
from html import escape

from lxmert_tickets.report.pages import page

STYLE = "pre{font:13px/1.5 ui-monospace,monospace;background:#f6f6f6;padding:1em;overflow-x:auto}"
COMMANDS = {"scenes": "", "vqa2": "configs/vqa2.yaml "}  # what the experiment is laid over, in addition to config.yaml


def configuration_page(overlay: str, data: str, experiment: str, training_version: int) -> str:
    """Return a page of `overlay`, which is YAML, and how to run it; `data` is scenes or vqa2."""
    name = f"{experiment}.yaml"
    file = f"data:application/yaml;base64,{base64.b64encode(overlay.encode()).decode()}"
    lines = re.sub(r"^(\w+)(?=:)", r"<b>\1</b>", escape(overlay), flags=re.MULTILINE)
    body = (
        "<p>Everything that decides a result of this experiment; <code>config.yaml</code> explains each line. To run "
        f'it again, save it as <a download="{name}" href="{file}">{name}</a> in the folder of the workflow, and</p>'
        f"<pre>snakemake --cores all --configfile {COMMANDS[data]}{name}</pre>"
        "<p>There it is laid over <code>config.yaml</code>: to leave out a subnetwork that only the latter has, add a "
        "line <code>its_name: null</code> under <code>subnetworks</code>.</p>"
        f"<p>The networks were trained by version {training_version} of the training code "
        "(<code>CHANGELOG.md</code> says what changed with each).</p>"
        f"<pre>{lines}</pre>"
    )
    return page("Configuration", body, STYLE)
