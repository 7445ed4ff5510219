"""The page holds the configuration twice, to be read and to be saved, and the command that runs it."""

import base64
import html
import re

import pytest

from lxmert_tickets.report.configuration_page import configuration_page

OVERLAY = "experiment: mine\nseeds: [0, 1]\nscenes:\n  seed: 3\n  note: a <b> & c\n"


def test_what_is_shown_and_what_is_saved_are_the_configuration() -> None:
    page = configuration_page(OVERLAY, "scenes", "mine", 2)
    shown = re.findall(r"<pre>(.*?)</pre>", page, flags=re.DOTALL)[1]
    assert html.unescape(re.sub(r"</?b>", "", shown)) == OVERLAY
    saved = re.search(r'download="mine.yaml" href="data:application/yaml;base64,(.*?)"', page)
    assert saved is not None
    assert base64.b64decode(saved[1]).decode() == OVERLAY


@pytest.mark.parametrize(("data", "configs"), [("scenes", "mine.yaml"), ("vqa2", "configs/vqa2.yaml mine.yaml")])
def test_the_command_lays_it_over_what_it_was_laid_over(data: str, configs: str) -> None:
    assert f"<pre>snakemake --cores all --configfile {configs}</pre>" in configuration_page(OVERLAY, data, "mine", 2)


def test_sections_stand_out() -> None:
    bold = re.findall(r"<b>(.*?)</b>", configuration_page(OVERLAY, "scenes", "mine", 2))
    assert bold == ["experiment", "seeds", "scenes"]
