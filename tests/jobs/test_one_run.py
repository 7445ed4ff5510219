"""All jobs of a run have the configuration and the code that it was started with."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from script_runs import wait_until
from snakemake.exceptions import WorkflowError
from snakemake.script import PythonScript
from workflow_runs import ROOT, copy_project, jobs_of, run_snakemake, snakemake

from lxmert_tickets.configuration.files import read_configuration
from lxmert_tickets.jobs import one_run
from lxmert_tickets.jobs.code_digest import code_digest
from lxmert_tickets.jobs.one_run import VARIABLE, Run, code_at_start, fail_jobs_of_changed_code, run_of_this_job, stamps

CODE = code_digest(ROOT / "workflow_scripts/score.py")
OTHER_CODE = "0123456789abcdef"
RULES = [script.stem for script in (ROOT / "workflow_scripts").glob("*.py")]


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the environment variable after the test."""
    monkeypatch.setenv(VARIABLE, "")


@pytest.mark.usefixtures("variable")
def test_jobs_get_what_the_run_was_started_with() -> None:
    run = Run({"experiment": 'it\'s "é" $HOME `x`', "lr": 5e-5, "seeds": [0, 1], "none": None}, {"score": CODE})
    run.tell_jobs()
    assert run_of_this_job() == run


@pytest.mark.usefixtures("variable")
def test_linux_takes_the_variable_of_a_thousand_subnetworks() -> None:
    subnetworks = {f"random_{seed}": {"keep": "random", "sparsities": list(range(5, 100, 5))} for seed in range(1000)}
    Run({"subnetworks": subnetworks}).tell_jobs()
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


@pytest.mark.usefixtures("variable")
def test_where_no_run_has_told_a_job_reads_the_files_itself() -> None:
    assert run_of_this_job() is None


@pytest.mark.usefixtures("variable")
def test_a_run_that_is_started_anew_ignores_what_an_earlier_one_told(tmp_path: Path) -> None:
    earlier = read_configuration(ROOT, [ROOT / "configs/smoke.yaml"]) | {"experiment": "earlier"}
    Run(earlier, dict.fromkeys(RULES, OTHER_CODE)).tell_jobs()
    assert "make_scenes val" in jobs_of(snakemake(tmp_path, "results/smoke/data/val/scenes.json", "--dry-run"))


@pytest.mark.usefixtures("variable")
def test_what_is_added_to_config_yaml_during_a_run_is_for_the_next_one(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    smoke, base = Path("configs/smoke.yaml"), project / "config.yaml"
    code = {path.stem: code_digest(path) for path in (project / "workflow_scripts").glob("*.py")}
    Run(read_configuration(project, [project / smoke]), code).tell_jobs()
    before = base.read_text()
    base.write_text(before.replace("\nsubnetworks:", "\nsubnetworks:\n  added: {keep: random, sparsities: [50]}\n"))
    assert base.read_text() != before
    job = run_snakemake(project, "--mode", "remote", "--dry-run", "--cores", "1", "--configfile", str(smoke))
    jobs = jobs_of(job)
    assert "retrain 0 random 50" in jobs
    assert not [one for one in jobs if "added" in one]


@pytest.mark.usefixtures("variable")
def test_a_job_of_another_process_whose_code_has_changed_does_not_begin(tmp_path: Path) -> None:
    run = Run(read_configuration(ROOT, [ROOT / "configs/smoke.yaml"]), dict.fromkeys(RULES, OTHER_CODE))
    run.tell_jobs()
    job = snakemake(tmp_path, "results/smoke/data/val/scenes.json", "--mode", "remote")
    assert job.returncode == 1
    assert "make_scenes: the code has changed since Snakemake was started: start it again." in job.stdout + job.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("file", ["lxmert_tickets/data/answers.py", "workflow_scripts/build_answers.py"])
def test_a_job_whose_code_is_edited_after_the_start_fails_and_an_earlier_one_does_not(
    tmp_path: Path, file: str
) -> None:
    project = copy_project(tmp_path / "project")
    command = [sys.executable, "-m", "snakemake", "results/smoke/data/answers.json", "--cores", "1"]
    with subprocess.Popen(
        [*command, "--configfile", "configs/smoke.yaml"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as run:
        log = project / "results/smoke/logs/make_scenes.train.log"
        wait_until(lambda: log.exists() or run.poll() is not None)
        with (project / file).open("a") as edited:
            edited.write("EDITED = True\n")
        said = run.communicate()[0].decode()
    assert run.returncode == 1
    assert "build_answers: the code has changed since Snakemake was started: start it again." in said
    assert (project / "results/smoke/data/train/annotations.json").exists()
    assert not (project / "results/smoke/data/answers.json").exists()


def test_a_job_whose_code_is_edited_while_snakemake_builds_its_graph_fails(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    with (project / "Snakefile").open("a") as snakefile:  # its end is read before there is a graph
        snakefile.write("\nwith open(f'{ROOT}/lxmert_tickets/data/scenes/render.py', 'a') as edited:\n")
        snakefile.write("    edited.write('EDITED = True\\n')\n")
    run = snakemake(tmp_path, "results/smoke/data/val/scenes.json", project=project)
    assert run.returncode == 1
    assert "make_scenes: the code has changed since Snakemake was started: start it again." in run.stderr
    assert not (tmp_path / "results/smoke/data/val/scenes.json").exists()


def test_a_job_of_another_process_fails_unless_the_code_of_its_rule_is_that_of_the_start() -> None:
    assert Run({}, {"score": CODE}).check_code("score") == CODE
    with pytest.raises(WorkflowError, match=r"score: the code has changed since Snakemake was started.*git add"):
        Run({}, {"score": OTHER_CODE}).check_code("score")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the scripts that jobs are run with."""
    ran: list[str] = []
    monkeypatch.setattr(PythonScript, "execute_script", lambda job, file, edit: ran.append(file))
    code_at_start.cache_clear()
    fail_jobs_of_changed_code.__wrapped__()
    code_at_start()
    return ran


def execute(script: str, **params: str) -> None:
    PythonScript.execute_script(SimpleNamespace(params=params), script)


def edit_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    edited = [(path, changed + 1, size) for path, changed, size in stamps()]
    assert any(path.endswith("training/schedule.py") for path, *_ in edited)
    monkeypatch.setattr(one_run, "stamps", lambda: edited)


def test_a_job_whose_own_code_has_changed_fails_since_the_earlier_code_would_be_recorded(
    ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_a_module(monkeypatch)
    with pytest.raises(WorkflowError, match="score: the code has changed since Snakemake was started"):
        execute("tmp12.score.py", code=OTHER_CODE)
    assert ran == []


def test_a_file_in_the_midst_of_an_edit_is_changed_code(ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def half_written(script: Path) -> str:
        return str(compile("def (", script, "exec"))

    edit_a_module(monkeypatch)
    monkeypatch.setattr(one_run, "current_code_digest", half_written)
    with pytest.raises(WorkflowError, match="score: the code has changed since Snakemake was started"):
        execute("tmp12.score.py", code=CODE)
    assert ran == []


def test_an_edit_of_other_code_stops_no_job(ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    edit_a_module(monkeypatch)
    execute("tmp12.score.py", code=CODE)
    execute("tmp12.train.py")  # its code is no param: TRAINING_VERSION is
    execute("tmp12.theirs.py", code="a workflow that imports this one may call anything so")
    assert ran == ["tmp12.score.py", "tmp12.train.py", "tmp12.theirs.py"]


def test_digests_are_computed_only_once_files_have_changed(ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_run, "current_code_digest", pytest.fail)
    execute("tmp12.score.py", code=CODE)
    assert ran == ["tmp12.score.py"]


@pytest.mark.parametrize(("text", "later_ns"), [("X = 2", 1), ("X = 20", 0)], ids=["size", "time"])
def test_an_edit_is_noticed_though_it_keeps_the_size_or_the_time_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, later_ns: int
) -> None:
    monkeypatch.setattr(one_run, "PACKAGE", tmp_path)
    edited = tmp_path / "below/a.py"
    edited.parent.mkdir()
    edited.write_text("X = 1")
    before, changed = stamps(), edited.stat().st_mtime_ns
    edited.write_text(text)
    os.utime(edited, ns=(changed, changed + later_ns))
    assert stamps() != before


def test_links_of_editors_and_files_just_removed_stop_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_run, "PACKAGE", tmp_path)
    monkeypatch.setattr(one_run, "SCRIPTS", tmp_path / "none")
    (tmp_path / "a.py").touch()
    before = stamps()
    assert [path for path, *_ in before] == [str(tmp_path / "a.py")]
    (tmp_path / ".#a.py").symlink_to("user@host.123:456")  # as Emacs does
    assert stamps() == before
    (tmp_path / "b.py").symlink_to("removed.py")  # found, and gone when it is looked at
    assert stamps() == before
