"""The page holds the configuration twice, to read and to download, and the command that runs it."""

import base64
import html
import re

import pytest

from lxmert_tickets.report.configuration_page import configuration_page

OVERLAY = "experiment: mine\nseeds: [0, 1]\nscenes:\n  seed: 3\n  note: a <b> & c\n"


def test_the_text_shown_and_the_download_are_the_configuration() -> None:
    page = configuration_page(OVERLAY, "scenes", "mine", 2)
    assert "</style>\n<h1>Configuration</h1>\n<p>" in page
    assert "trained by version 2 of the training code" in page
    shown = re.findall(r"<pre>(.*?)</pre>", page, flags=re.DOTALL)[1]
    assert html.unescape(re.sub(r"</?b>", "", shown)) == OVERLAY
    saved = re.search(r'download="mine.yaml" href="data:application/yaml;base64,(.*?)"', page)
    assert saved is not None
    assert base64.b64decode(saved[1]).decode() == OVERLAY


@pytest.mark.parametrize(("data", "configs"), [("scenes", "mine.yaml"), ("vqa2", "configs/vqa2.yaml mine.yaml")])
def test_the_command_applies_the_overlay_to_the_same_base_configuration(data: str, configs: str) -> None:
    assert f"<pre>snakemake --cores all --configfile {configs}</pre>" in configuration_page(OVERLAY, data, "mine", 2)


def test_sections_are_bold() -> None:
    bold = re.findall(r"<b>(.*?)</b>", configuration_page(OVERLAY, "scenes", "mine", 2))
    assert bold == ["experiment", "seeds", "scenes"]
