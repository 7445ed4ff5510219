"""The configurations that come with the workflow, and changes to them."""

import copy
from pathlib import Path
from typing import Any

import yaml

from lxmert_tickets.configuration.experiment import Experiment
from lxmert_tickets.configuration.files import laid_over
from lxmert_tickets.configuration.reading import read_experiment

PROJECT = Path(__file__).resolve().parents[1]
SHIPPED: dict[str, Any] = yaml.safe_load((PROJECT / "config.yaml").read_text(encoding="utf-8"))
SMOKE: dict[str, Any] = yaml.safe_load((PROJECT / "configs" / "smoke.yaml").read_text(encoding="utf-8"))
VQA2: dict[str, Any] = yaml.safe_load((PROJECT / "configs" / "vqa2.yaml").read_text(encoding="utf-8"))
SECTIONS = [name for name, value in SHIPPED.items() if isinstance(value, dict)]
NO_STAGES = {"subnetworks", "checkpoints", "gpus", "logging"}
STAGES = [name for name in SECTIONS if name not in NO_STAGES]  # what results are made of
REMOVED = object()


def with_value(place: str, value: Any) -> dict[str, Any]:
    """Return the shipped configuration with another value at `place`, such as "scenes.sets.val.images"."""
    config = copy.deepcopy(SHIPPED)
    *sections, key = place.split(".")
    part = config
    for section in sections:
        part = part.setdefault(section, {})
    if value is REMOVED:
        del part[key]
    else:
        part[key] = value
    return config


def experiment(**changed: Any) -> Experiment:
    return read_experiment(laid_over(SHIPPED, changed))
