"""The terminal shows Table 1 and where every file is."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from made_up import WITH_LONGER_NAMES, results
from rich.console import Console

from lxmert_tickets.errors import ArtifactError
from lxmert_tickets.report.names import row_label
from lxmert_tickets.report.results import METRICS
from lxmert_tickets.report.tables import as_csv, as_markdown, table_1, text_of
from lxmert_tickets.report.terminal import show_experiment


def shown(folder: Path, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show_experiment(folder, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def with_table(folder: Path, n_seeds: int) -> Path:
    return with_results(folder, results(n_seeds))


def with_results(folder: Path, data: pd.DataFrame) -> Path:
    (folder / "tables").mkdir(parents=True)
    table = table_1(data, 50.0, ["test-dev", "test-std"], "val")
    (folder / "tables" / "table1.csv").write_text(as_csv(table), encoding="utf-8")
    (folder / "tables" / "table1.md").write_text(as_markdown(table), encoding="utf-8")
    return folder


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_the_table_has_the_numbers_of_its_file(tmp_path: Path, n_seeds: int) -> None:
    table = table_1(results(n_seeds), 50.0, ["test-dev", "test-std"], "val")
    lines = [line.strip() for line in shown(with_table(tmp_path, n_seeds), width=80).splitlines()]
    assert list(METRICS.values()) in [line.split() for line in lines]
    for split in table.splits:
        below = lines[lines.index(split) + 1 :]
        for line, (name, row) in zip(below, table.rows.items(), strict=False):
            assert line.startswith(row_label(name))
            cells = [text_of(row[split, metric]).replace("± ", "±") for metric in METRICS]
            assert re.findall(r"\d+\.\d\d(?: ±\d+\.\d\d)?", line) == cells


def test_in_80_columns_rows_of_both_splits_are_lines_of_equal_width(tmp_path: Path) -> None:
    data = results(3)
    data["number"] += data["seed"] * data["split"].eq("test-std") * 20  # a deviation of two digits, in one of them
    text = shown(with_results(tmp_path, data), width=80)
    assert re.search(r" ±\d\d\.\d\d ", text)
    rows = [line for line in text.splitlines() if line.count("±") == 4]
    assert [row.split("  ")[0].strip() for row in rows] == 2 * [
        "Full", "Low-magnitude pruned", "High-magnitude pruned", "Random pruned"
    ]  # fmt: skip
    assert len({len(row) for row in rows}) == 1


def test_a_narrow_terminal_cuts_off_no_name_and_no_number(tmp_path: Path) -> None:
    folder = with_results(tmp_path, results(3, WITH_LONGER_NAMES))
    assert shown(folder, width=20).split() == shown(folder, width=80).split()
    assert "…" not in shown(folder, width=20)


def test_long_names_wrap_and_long_numbers_do_not(tmp_path: Path) -> None:
    data = results(3, WITH_LONGER_NAMES)
    data["number"] += data["seed"] * 20
    text = shown(with_results(tmp_path, data), width=80)
    assert sum(line.count("±") == 4 for line in text.splitlines()) == 2 * 7
    assert "…" not in text


def test_one_seed_is_not_called_a_mean(tmp_path: Path) -> None:
    assert "±" not in (text := shown(with_table(tmp_path, 1)))
    assert "one seed" in text


def test_several_seeds_are_counted(tmp_path: Path) -> None:
    assert "mean ± sample standard deviation over 3 seeds" in shown(with_table(tmp_path, 3))


def test_a_row_with_fewer_seeds_than_others_says_so(tmp_path: Path) -> None:
    data = results(3)
    data = data[data["subnetwork"].ne("random") | data["split"].eq("test-dev") | data["seed"].eq(0)]
    rows = [line for line in shown(with_results(tmp_path, data)).splitlines() if "Random pruned" in line]
    assert ["(n = 1)" in row for row in rows] == [False, True]
    assert "Full (n" not in shown(tmp_path)


def test_a_row_without_scores_does_not_count_its_seeds(tmp_path: Path) -> None:
    data = results(3)
    text = shown(with_results(tmp_path, data[data["subnetwork"].ne("random") | data["split"].eq("test-dev")]))
    assert text.count("Random pruned") == 2
    assert "(n =" not in text
    assert "nan" not in text


def test_names_that_look_like_numbers_are_shown(tmp_path: Path) -> None:
    data = results(1).replace({"subnetwork": {"random": "nan"}})
    assert "Nan pruned" in shown(with_results(tmp_path, data))


def test_only_files_that_exist_are_listed_whatever_their_folder_is_called(tmp_path: Path) -> None:
    folder = with_table(tmp_path / "[bold]scenes", 1)
    (folder / "figures").mkdir()
    for name in ("figures/figure1.png", "figures/figure1.svg", "figures/examples.html", "results.csv"):
        (folder / name).touch()
    listed = [line.strip().split(maxsplit=1) for line in shown(folder, width=20).splitlines() if str(folder) in line]
    assert listed == [
        ["tables", f"{folder}/tables/table1.csv"],
        ["tables", f"{folder}/tables/table1.md"],
        ["figures", f"{folder}/figures/examples.html"],
        ["figures", f"{folder}/figures/figure1.png"],
        ["results", f"{folder}/results.csv"],
    ]


def test_an_unfinished_experiment_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"table1\.csv: no such file; expected a finished experiment\. Run snakemake"
    ):
        shown(tmp_path)
    (with_table(tmp_path, 1) / "tables" / "table1.md").unlink()
    with pytest.raises(ArtifactError, match=r"table1\.md: no such file; expected a finished experiment"):
        shown(tmp_path)


HEADER = "row,val n_seeds," + ",".join(f"val {metric} {part}" for metric in METRICS for part in ("mean", "std"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b\n1,2\n", "columns a, b; expected row, and of each split n_seeds, yes_no mean"),
        ("row\ndense\n", "columns row; expected row, and of each split"),
        (HEADER.removesuffix(",val overall std") + f"\ndense,1{',1' * 7}\n", "columns row, val n_seeds,"),
        (f"{HEADER}\ndense,1,high{',1' * 7}\n", "no numbers in val yes_no mean; expected numbers"),
        (f"{HEADER}\n", "no numbers in val n_seeds,"),
        (f"{HEADER}\ndense,1{',1' * 3}", "is cut off; expected a line break at its end"),
    ],
)
def test_a_damaged_table_is_refused_with_what_to_do(tmp_path: Path, text: str, found: str) -> None:
    (with_table(tmp_path, 1) / "tables" / "table1.csv").write_text(text)
    with pytest.raises(ArtifactError, match=rf"table1\.csv: {found}.*\. Delete it and run snakemake again"):
        shown(tmp_path)


@pytest.mark.parametrize("text", ["", "| a tab"])
def test_a_caption_that_is_cut_off_is_refused_before_anything_is_shown(tmp_path: Path, text: str) -> None:
    (with_table(tmp_path, 1) / "tables" / "table1.md").write_text(text)
    console = Console(file=io.StringIO())
    with pytest.raises(ArtifactError, match=r"table1\.md: is cut off"):
        show_experiment(tmp_path, console)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""
