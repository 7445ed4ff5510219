"""The report as a reader sees it: one file, opened offline in a real Chromium, every section and result."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from browser import Page, open_page
from workflow_runs import ROOT, snakemake

from lxmert_tickets.configuration.files import laid_over
from lxmert_tickets.configuration.reading import read_experiment
from lxmert_tickets.report.examples import N_EXAMPLES

pytestmark = pytest.mark.browser
RESULTS = {
    "1 Table 1": ["Table 1"],
    "2 Figure 1": ["Accuracy against sparsity"],
    "3 By kind of question": ["By first words", "By type of answer"],
    "4 Questions and answers": ["Answers of each network", "Balanced pairs"],
    "5 Where the pruned weights sat": ["Sparsity of each layer"],
    "6 Training": ["Learning curves"],
    "7 How it was made": ["Configuration", "Time and memory"],
}
NETWORKS = [
    "Full",
    "Low-magnitude pruned, 50\u00a0%",
    "Low-magnitude pruned, 75\u00a0%",
    "High-magnitude pruned, 50\u00a0%",
    "Random pruned, 50\u00a0%",
]
EYE, EXPLANATION = 0, 1  # the buttons beside a result
# The image that is shown, and how many colours it has.
IMAGE = "document.querySelector('#app img:not(nav img)')"
COLORS = f"""(() => {{
    const canvas = document.createElement('canvas'), image = {IMAGE};
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(pixels.buffer)).size;
}})()"""


@pytest.fixture(scope="module")
def report(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the smoke grid, alone in a folder."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    run = snakemake(smoke, "all", "--report", str(file))
    assert run.returncode == 0, run.stdout + run.stderr
    return file


@pytest.fixture(scope="module")
def browser(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The report in a browser."""
    with open_page(tmp_path_factory.mktemp("browser")) as page:
        page.open(report)
        yield page


@pytest.fixture
def page(browser: Page, report: Path) -> Iterator[Page]:
    """The report, just opened; nothing that a test does may cause an error or a request to elsewhere."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(report)
    browser.wait_for("document.querySelector('nav li a') !== null")
    yield browser
    assert browser.complaints == []
    assert set(browser.requests) == {report.as_uri()}


def click(page: Page, what: str) -> None:
    """Click the line of the menu that reads `what`."""
    found = f"[...document.querySelectorAll('nav li a')].find(link => link.innerText === {json.dumps(what)})"
    page.wait_for(f"{found} !== undefined")
    page.evaluate(f"{found}.click()")


def press(page: Page, result: str, button: int) -> None:
    """Press a button beside a result of the section that is open: EYE or EXPLANATION."""
    row = f"[...document.querySelectorAll('nav tbody tr')].find(row => row.cells[0].innerText === {json.dumps(result)})"
    page.wait_for(f"{row} !== undefined")
    page.evaluate(f"{row}.querySelectorAll('a')[{button}].click()")


OF_A_SPLIT = [
    "Accuracy against sparsity", "By type of answer", "By first words", "Answers of each network", "Balanced pairs",
]  # fmt: skip


def show(page: Page, category: str, result: str) -> None:
    click(page, category)
    press(page, result, EYE)


def texts(page: Page, selector: str) -> list[str]:
    """Return the texts of these elements of the page that is shown."""
    found = f"[...document.querySelectorAll({json.dumps(selector)})].map(element => element.innerText.trim())"
    return list(page.evaluate(found, inside=True))


def test_the_menu_has_every_section_and_every_result(page: Page) -> None:
    labels = "Object.values(parts).flat().map(path => results[path].labels.result)"
    listed = page.evaluate(f"Object.entries(categories).map(([name, parts]) => [name, {labels}])")
    assert {name: sorted(found) for name, found in listed} == RESULTS


@pytest.mark.parametrize(("category", "result"), [(name, one) for name, several in RESULTS.items() for one in several])
def test_a_result_is_drawn_and_explained(page: Page, category: str, result: str) -> None:
    show(page, category, result)
    page.wait_for(f"document.querySelector('#app iframe') !== null || ({IMAGE} ?? {{}}).naturalWidth > 0")
    if page.evaluate("document.querySelector('#app iframe') !== null"):
        page.wait_for("document.readyState === 'complete' && document.querySelector('h1') !== null", inside=True)
        images = "[...document.images].filter(image => !(image.complete && image.naturalWidth > 0)).length"
        assert page.evaluate(images, inside=True) == 0
    else:
        assert page.evaluate(COLORS) > 20
    press(page, result, EXPLANATION)
    page.wait_for("document.querySelector('nav .document, nav p') !== null")
    explained = page.evaluate("document.querySelector('nav').innerText")
    assert len(explained) > 300
    assert not any(sign in explained for sign in ("{{", "{%", "System Message", "``"))
    assert re.search(r" [.,:)](?!\d)|\( | (on|from|of|in|with) (against|epochs)", explained) is None  # a missing name
    assert result not in OF_A_SPLIT or re.search(r"\btest-dev\b", explained)


def test_the_explanation_of_the_layer_figure_names_its_subnetwork_and_ranking(page: Page) -> None:
    click(page, "5 Where the pruned weights sat")
    press(page, "Sparsity of each layer", EXPLANATION)
    page.wait_for("document.querySelector('nav .document, nav p') !== null")
    explained = page.evaluate("document.querySelector('nav').innerText")
    assert "low-magnitude pruned" in explained
    assert "Weights of all layers compete" in explained
    assert "by itself" not in explained


def test_table_1_has_a_row_for_each_network(page: Page) -> None:
    show(page, "1 Table 1", "Table 1")
    page.wait_for("document.querySelectorAll('tbody tr').length === 4", inside=True)
    cells = texts(page, "tbody td")
    assert len(cells) == 4 * 2 * 4
    assert all(cells)


def test_examples_have_pictures_and_an_answer_of_each_network_with_its_mark(page: Page) -> None:
    show(page, "4 Questions and answers", "Answers of each network")
    page.wait_for(f"document.querySelectorAll('article img').length === {N_EXAMPLES}", inside=True)
    assert texts(page, "article tbody th") == NETWORKS * N_EXAMPLES
    assert set(texts(page, "article td:first-child")) <= {"✓", "◐", "✗"}
    assert all(texts(page, "article td:nth-child(2)"))
    assert all(texts(page, "article h2"))
    counted = [int(text) for text in texts(page, "#sums td")]
    assert [sum(counted[k : k + 3]) for k in range(0, len(counted), 3)] == [N_EXAMPLES] * len(NETWORKS)


def test_the_experiment_can_be_run_again_from_the_configuration_shown(page: Page, smoke: Path) -> None:
    show(page, "7 How it was made", "Configuration")
    page.wait_for("document.querySelectorAll('pre').length === 2", inside=True)
    shown = texts(page, "pre")[1]
    download = page.evaluate("fetch(document.querySelector('a[download]').href).then(file => file.text())", inside=True)
    assert yaml.safe_load(shown) == yaml.safe_load(download)
    defaults = yaml.safe_load((ROOT / "config.yaml").read_text())
    overlay = yaml.safe_load((ROOT / "configs/smoke.yaml").read_text())
    assert read_experiment(laid_over(defaults, yaml.safe_load(shown))) == read_experiment(laid_over(defaults, overlay))


def test_time_and_memory_are_shown_for_each_rule(page: Page) -> None:
    show(page, "7 How it was made", "Time and memory")
    page.wait_for("document.querySelector('tbody th') !== null", inside=True)
    rules = texts(page, "tbody th")
    assert {"pretrain", "finetune", "retrain", "predict", "make_table", "draw_accuracy", "show_examples"} <= set(rules)
    assert len(rules) == len(set(rules))


def test_the_first_page_explains_and_draws_the_workflow(page: Page) -> None:
    page.wait_for("document.querySelector('#rulegraph canvas, #rulegraph svg')?.getBoundingClientRect().width > 100")
    explained = page.evaluate("document.querySelector('.prose').innerText")
    assert "How much of LXMERT can be pruned away" in explained
    assert "seeds 0, 1" in explained
    # Snakemake centres it: were it taller than the window, no scrolling would show its top.
    assert page.evaluate("document.querySelector('.prose').getBoundingClientRect().height") < 650
    assert not any(sign in explained for sign in ("{{", "{%", "System Message", "``"))


def test_statistics_are_drawn(page: Page) -> None:
    click(page, "Statistics")
    for figure in ("#runtimes", "#timeline"):
        drawn = f"document.querySelector('{figure} canvas, {figure} svg')?.getBoundingClientRect()"
        page.wait_for(f"{drawn}.width > 100 && {drawn}.height > 100")


def test_an_error_in_a_frame_and_a_request_elsewhere_would_be_noticed(tmp_path: Path) -> None:
    frame = "<script>fetch('http://example.org/')</script>"
    (tmp_path / "wrong.html").write_text(f'<iframe srcdoc="{frame}"></iframe>')
    with open_page(tmp_path) as page:
        page.open(tmp_path / "wrong.html")
        page.wait_for_complaints({"exception", "log", "not loaded"})
        assert "http://example.org/" in page.requests
