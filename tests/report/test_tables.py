"""Table 1: the right numbers, the same in every format, in the order of the configuration."""

import csv
import io
import re
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from browser import Page, open_page
from jinja2 import Template
from made_up import MODELS, results

from lxmert_tickets.report.names import row_label
from lxmert_tickets.report.results import METRICS
from lxmert_tickets.report.tables import (
    Cell,
    Table,
    as_csv,
    as_html,
    as_latex,
    as_markdown,
    caption,
    table_1,
    text_of,
)

TESTED = ("test-dev", "test-std")
COLUMNS = [(split, metric) for split in TESTED for metric in METRICS]
ROWS = ["Full", "Low-magnitude pruned", "High-magnitude pruned", "Random pruned"]


def table(n_seeds: int = 3) -> Table:
    return table_1(results(n_seeds), 50.0, TESTED, "val")


def expected_cells(n_seeds: int = 3) -> list[list[str]]:
    """Return the cells as they should read, computed by numpy."""
    data = results(n_seeds)
    rows = []
    for name, sparsity in MODELS:
        if (name, sparsity) != ("low_magnitude", 25.0):
            of_model = data[(data["subnetwork"] == name) & (data["sparsity"] == sparsity)]
            values = [of_model[of_model["split"] == split][metric].to_numpy() for split, metric in COLUMNS]
            spread = [f" ± {np.std(value, ddof=1):.2f}" if n_seeds > 1 else "" for value in values]
            rows.append([f"{np.mean(value):.2f}{after}" for value, after in zip(values, spread, strict=True)])
    return rows


class Cells(HTMLParser):
    """Collects the cells of a table's body, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open.pop() != tag:  # as <meta> has no end
            pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data


def from_csv(text: str) -> list[list[str]]:
    rows = []
    for row in csv.DictReader(io.StringIO(text)):
        pairs = [(row[f"{split} {metric} mean"], row[f"{split} {metric} std"]) for split, metric in COLUMNS]
        rows.append([row_label(row["row"]), *(" ± ".join(filter(None, pair)) for pair in pairs)])
    return rows


def from_markdown(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def from_latex(text: str) -> list[list[str]]:
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().replace(r"$\pm$", "±")
    return [[cell.strip() for cell in line.removesuffix(r"\\").split("&")] for line in body.splitlines()]


def from_html(text: str) -> list[list[str]]:
    parser = Cells()
    parser.feed(text)
    return parser.rows[2:]


FORMATS = [(as_csv, from_csv), (as_markdown, from_markdown), (as_latex, from_latex), (as_html, from_html)]


@pytest.mark.parametrize("n_seeds", [1, 2, 3])
@pytest.mark.parametrize(("write", "read"), FORMATS)
def test_every_format_carries_mean_and_sample_deviation_of_every_cell(
    write: object, read: object, n_seeds: int
) -> None:
    assert callable(write)
    assert callable(read)
    cells = [[label, *row] for label, row in zip(ROWS, expected_cells(n_seeds), strict=True)]
    assert read(write(table(n_seeds))) == cells


def test_every_format_names_split_and_answer_type_above_the_numbers() -> None:
    found, types = table(), list(METRICS.values())
    header = as_markdown(found).splitlines()[0]
    assert [cell.strip() for cell in header.strip("|").split("|")[1:]] == [f"{s} {t}" for s in TESTED for t in types]
    latex = as_latex(found).partition(r"\midrule")[0]
    assert tuple(re.findall(r"\\multicolumn\{4\}\{c\}\{(.*?)\}", latex)) == TESTED
    assert f" & {' & '.join(2 * types)} " in latex
    parser = Cells()
    parser.feed(as_html(found))
    assert parser.rows[:2] == [["", *TESTED], ["", *2 * types]]


def test_rows_are_the_full_model_and_the_subnetworks_in_the_order_of_the_configuration() -> None:
    assert list(table().rows) == ["dense", "low_magnitude", "high_magnitude", "random"]
    turned = results(models=tuple(reversed(MODELS)))
    assert list(table_1(turned, 50.0, TESTED, "val").rows) == ["random", "high_magnitude", "low_magnitude", "dense"]


def test_a_subnetwork_that_lacks_the_sparsity_has_no_row() -> None:
    assert list(table_1(results(), 25.0, TESTED, "val").rows) == ["dense", "low_magnitude"]


def test_one_seed_gives_no_deviation_in_any_format() -> None:
    written = "".join(write(table(1)) for write in (as_csv, as_markdown, as_latex, as_html))
    assert not re.search(r"±|\\pm|nan", written)
    assert "one seed" in written


def test_the_caption_gives_the_number_of_seeds() -> None:
    for write in (as_markdown, as_html):
        assert "at 50 % sparsity, mean ± sample standard deviation over 3 seeds" in write(table())


def test_cells_with_fewer_seeds_show_their_number_of_seeds_for_each_split() -> None:
    data = results(3)
    data = data[data["split"].eq("test-dev") | data["seed"].eq(0)]
    found = table_1(data, 50.0, TESTED, "val")
    for row in csv.DictReader(io.StringIO(as_csv(found))):
        assert (row["test-dev n_seeds"], row["test-std n_seeds"]) == ("3", "1")
    for write in (as_markdown, as_html, as_latex):
        assert write(found).count("(n = 1)") == len(ROWS) * len(METRICS)
    assert "over 3 seeds. " in f"{caption(found)} "


def test_the_caption_says_if_cells_have_different_seeds() -> None:
    data = results(2)
    data = data[data["subnetwork"].eq("dense") == data["seed"].eq(0)]
    assert "one seed, not the same in every cell." in caption(table_1(data, 50.0, TESTED, "val"))
    data = results(3)
    data = data[data["seed"].ne(data["subnetwork"].eq("dense") * 2)]
    assert "over 2 seeds, not the same in every cell." in caption(table_1(data, 50.0, TESTED, "val"))


def test_the_caption_says_how_answers_were_scored_and_notes_only_what_is_shown() -> None:
    data = results()
    data.loc[data["split"] == "val", "measure"] = "soft labels"
    notes = ["Val is small."]
    assert caption(table_1(data, 50.0, TESTED, "val", notes)).startswith("Official VQA accuracy in percent")
    assert "Val is small." not in caption(table_1(data, 50.0, TESTED, "val", notes))
    found = caption(table_1(data, 50.0, (), "val", notes))
    assert found.startswith("Accuracy by soft labels in percent")
    assert found.endswith(" No score of a test split is known yet: this is val. Val is small.")
    assert "No score of test or dev is known yet: this is val." in caption(table_1(data, 50.0, ("test", "dev"), "val"))


def test_latex_is_well_formed() -> None:
    written = as_latex(table())
    assert r"\usepackage{booktabs}" in written  # else \toprule is an error
    code = "\n".join(line for line in written.splitlines() if not line.startswith("%"))
    assert code.count("{") == code.count("}")
    assert re.findall(r"\\(begin|end)\{tabular\}", code) == ["begin", "end"]
    assert r"\begin{tabular}{l" + "r" * len(COLUMNS) + "}" in code
    rows = [line for line in code.splitlines() if line.endswith(r"\\")]
    spans = [sum(map(int, re.findall(r"\\multicolumn\{(\d+)\}", row))) for row in rows]
    n_columns = [row.count("&") + 1 + span - row.count(r"\multicolumn") for row, span in zip(rows, spans, strict=True)]
    assert n_columns == [1 + len(COLUMNS)] * (2 + len(ROWS))
    assert re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", code) == [("2", "5"), ("6", "9")]
    assert written.isascii()


def test_latex_escapes_what_it_would_read_as_mathematics() -> None:
    data = results().replace({"split": {"test-dev": "test_dev"}})
    assert r"{test\_dev}" in as_latex(table_1(data, 50.0, ["test_dev"], "val"))


def test_all_markdown_rows_have_the_same_number_of_columns() -> None:
    lines = [line for line in as_markdown(table()).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 2}


def test_html_is_self_contained_and_closes_every_tag() -> None:
    written = as_html(table())
    assert written.startswith("<!doctype html>")
    for tag in ("html", "table", "thead", "tbody", "tr", "th", "td"):
        assert len(re.findall(rf"<{tag}[ >]", written)) == written.count(f"</{tag}>")
    assert "http" not in written


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("browser")) as page:
        yield page


def show_in_frame(browser: Page, file: Path, width: int) -> None:
    """Show the table as the report does: in a frame, here of `width` pixels."""
    data = results()
    data["number"] += data["seed"] * data["split"].eq("test-std") * 20  # a deviation of two digits
    written = escape(as_html(table_1(data, 50.0, TESTED, "val")))
    file.write_text(f'<iframe style="border:0;width:{width}px" srcdoc="{written}"></iframe>', encoding="utf-8")
    browser.open(file)
    browser.wait_for(f"document.querySelector('table') !== null && innerWidth === {width}", inside=True)


@pytest.mark.browser
@pytest.mark.parametrize("width", [950, 1000, 1150, 1201, 1400])
def test_the_whole_table_is_visible_in_a_window_of_usual_width(browser: Page, tmp_path: Path, width: int) -> None:
    show_in_frame(browser, tmp_path / "frame.html", width)
    assert browser.evaluate("document.querySelector('table').getBoundingClientRect().right", inside=True) < width
    assert browser.evaluate("parseFloat(getComputedStyle(document.querySelector('td')).fontSize)", inside=True) > 11


@pytest.mark.browser
def test_in_a_narrow_window_the_table_scrolls_and_the_page_does_not(browser: Page, tmp_path: Path) -> None:
    show_in_frame(browser, tmp_path / "frame.html", 500)
    assert browser.evaluate("document.documentElement.scrollWidth", inside=True) <= 500
    browser.evaluate("document.querySelector('table').parentElement.scrollLeft = 10000", inside=True)
    assert browser.evaluate("document.querySelector('table').getBoundingClientRect().right", inside=True) < 500


def test_a_kind_of_question_that_a_split_lacks_leaves_its_cells_empty() -> None:
    data = results()
    data.loc[data["split"] == "test-std", "number"] = float("nan")
    found = table_1(data, 50.0, TESTED, "val")
    for write, read in FORMATS:
        assert [row[1 + COLUMNS.index(("test-std", "number"))] for row in read(write(found))] == [""] * len(ROWS)
    assert {row["test-std n_seeds"] for row in csv.DictReader(io.StringIO(as_csv(found)))} == {"3"}


@pytest.mark.parametrize(
    ("cell", "text"),
    [(Cell(72.454, 0.5, 3), "72.45 ± 0.50"), (Cell(100.0, None, 1), "100.00"), (Cell(1, 0, 2), "1.00 ± 0.00")],
)
def test_a_cell_reads_as_in_the_paper(cell: Cell, text: str) -> None:
    assert text_of(cell) == text


def test_before_evalai_has_scored_anything_the_table_shows_minival_and_says_so() -> None:
    found = table_1(results(), 50.0, ("test-dev2015", "test-std2015"), "val", ["Chosen by lot."])
    assert found.splits == ("val",)
    text = as_markdown(found)
    assert "No score of test-dev2015 or test-std2015 is known yet: this is val. Chosen by lot." in text
    assert text.splitlines()[0] == "|  | val Yes/No | val Number | val Other | val Overall |"
    for rendered in (as_html(found), as_latex(found)):
        assert "this is val. Chosen by lot." in rendered


def test_a_score_of_a_network_that_the_table_leaves_out_shows_no_empty_columns() -> None:
    data = results()
    known = data[data["split"].eq("val") | data["sparsity"].eq(25)]
    assert table_1(known, 50.0, TESTED, "val").splits == ("val",)


def test_what_evalai_has_scored_is_shown_and_the_rest_left_blank() -> None:
    data = results()
    of_dense = data["subnetwork"].eq("dense")
    known = data[data["split"].eq("val") | (data["split"].eq("test-dev") & (of_dense | data["seed"].eq(1)))]
    found = table_1(known, 50.0, TESTED, "val")
    assert found.splits == ("test-dev",)
    assert "known yet" not in caption(found)
    low = data[data["subnetwork"].eq("low_magnitude") & data["sparsity"].eq(50) & data["split"].eq("test-dev")]
    lines = as_markdown(found).splitlines()
    assert f"{low[low['seed'].eq(1)]['overall'].iloc[0]:.2f} (n = 1)" in lines[3]
    assert "(n =" not in lines[2]
    only_dense = table_1(data[data["split"].eq("val") | of_dense], 50.0, TESTED, "val")
    assert [cell.strip() for cell in as_markdown(only_dense).splitlines()[3].split("|")[2:-1]] == [""] * 8


@pytest.mark.parametrize(
    ("prunable", "said", "not_said"),
    [
        ([], "*Prunable* are the matrices of the layers; embeddings and the answer layer stay.", "match"),
        (["*", "a.*"], "*Prunable* are the matrices that match ``*``, ``a.*``. *Sparsity*", "embeddings"),
    ],
)
def test_the_caption_says_which_weights_were_prunable(prunable: list[str], said: str, not_said: str) -> None:
    caption = Template((Path(__file__).parents[2] / "report/table1.rst").read_text(encoding="utf-8"))
    job = SimpleNamespace(params={"sparsity": 50, "prunable": prunable}, config={})
    text = " ".join(caption.render(snakemake=job).split())
    assert said in text
    assert not_said not in text
