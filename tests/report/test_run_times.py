"""Benchmarks become a table by rule: sums and peaks are those of the jobs."""

import re
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from lxmert_tickets.report.run_times import OF_NETWORKS, RunTime, read_run_times, run_times_page

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def rows(page: str) -> list[tuple[str, ...]]:
    return re.findall(r"<tr><th>([^<]+)</th><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", page)


def test_every_job_is_read_under_the_name_of_its_rule(tmp_path: Path) -> None:
    for name, line in {
        "pretrain.tsv": "12.5\t0:00:12\t345.6\t1\t1\t1\t0\t0\t99\t12",
        "predict.0.low_magnitude/s97.5.tsv": "1.25\t0:00:01\t200\t1\t1\t1\t0\t0\t99\t1",
        "score.0.dense.tsv": "0.2\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tNA",
        "show_a.tsv": "0.3\t0:00:00\t0.00\t0.00\t0.00\t0.00\t0.00\t0.00\t0.00\t0.00",
        "show_b.tsv": "0.4\t0:00:00\t-\t-\t-\t-\t-\t-\t-\t-",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{HEAD}{line}\n")
    assert sorted(read_run_times(tmp_path, [0], ["dense", "low_magnitude/s97.5"])) == [
        RunTime("predict", 1.25, 200.0), RunTime("pretrain", 12.5, 345.6), RunTime("score", 0.2, None),
        RunTime("show_a", 0.3, None), RunTime("show_b", 0.4, None),
    ]  # fmt: skip


def test_networks_no_longer_in_the_experiment_and_lines_cut_off_are_left_out(tmp_path: Path) -> None:
    whole = f"{HEAD}2\t0:00:02\t200\t1\t1\t1\t0\t0\t99\t1\n"
    names = {"finetune.0", "finetune.1", "retrain.0.a.50", "retrain.0.b.50", "predict.0.a/s50", "predict.0.a/s60",
             "prune_round.0.a.50", "prune_round.1.a.50", "prune_random.0.b.50", "prune_complement.0.b.50",
             "snapshot_initial_weights.1", "score.1.dense", "draw_images.2014"}  # fmt: skip
    for name in names:
        (tmp_path / f"{name}.tsv").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.tsv").write_text(whole)
    (tmp_path / "pretrain.tsv").write_text(f"{HEAD}12")
    (tmp_path / "build_answers.tsv").write_text(f"{HEAD}2\t0:00:02\t20")  # cut off from 2,048 MB
    (tmp_path / "draw_accuracy.tsv").write_text(whole.replace("2\t0", "nan\t0"))
    (tmp_path / "make_table.tsv").write_bytes(HEAD.encode() + 40 * b"\0\xff")
    found = read_run_times(tmp_path, [0], ["dense", "a/s50"])
    assert [one.rule for one in found] == ["draw_images", "finetune", "predict", "prune_round", "retrain"]


def test_rules_of_networks_are_those_that_have_a_seed() -> None:
    rules = "".join(path.read_text() for path in (Path(__file__).parents[2] / "rules").glob("*.smk"))
    assert set(re.findall(r'benchmark_of\("(\w+)", "seed"', rules)) == OF_NETWORKS


def test_the_rule_that_took_longest_comes_first_with_sum_longest_and_peak() -> None:
    jobs = [RunTime("a", 1, 10.0), RunTime("b", 2, None), RunTime("a", 4, 30.0), RunTime("c", 50, 999.6)]
    page = run_times_page(jobs)
    assert rows(page) == [
        ("c", "1", "50 s", "50 s", "1,000 MB"),
        ("a", "2", "5 s", "4 s", "30 MB"),
        ("b", "1", "2 s", "2 s", ""),
    ]
    assert re.findall(r"width:(.*?)%", page) == ["100.0", "10.0", "4.0"]  # of the longest
    assert "4 jobs, 57 s of work" in page


@example([RunTime("a", 0, None)])
@given(st.lists(st.builds(RunTime, st.sampled_from("abc"), st.floats(0, 1e6), st.none() | st.floats(1, 1e5))))
def test_no_job_is_lost_and_bars_are_no_longer_than_their_column(jobs: list[RunTime]) -> None:
    page = run_times_page(jobs)
    assert sum(int(row[1]) for row in rows(page)) == len(jobs)
    assert all(0 <= float(width) <= 100 for width in re.findall(r"width:([\d.]+)%\"", page))
