"""Every way to install the dependencies gives the same versions: pip, conda on CPU and GPU, the container."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

PROJECT = Path(__file__).resolve().parents[1]
CPU = PROJECT / "envs/lxmert-tickets.yaml"
CUDA = PROJECT / "envs/lxmert-tickets-cuda.yaml"
ON_CONDA_FORGE = {"torch": "pytorch", "isal": "python-isal", "matplotlib": "matplotlib-base", "PyYAML": "pyyaml"}
# Snakemake runs outside the environments that it makes, and `status` beside it; transformers is what tests and
# benchmarks compare with.
NOT_IN_JOBS = {"snakemake", "psutil", "transformers"}


def pins(text: str) -> dict[str, str]:
    """Return package -> version of requirements in pip's form; each must be pinned."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), lines
    return dict(line.split("==") for line in lines)


LOCKED = pins((PROJECT / "requirements.lock").read_text())
JOBS_NEED, _, DEVELOPERS_NEED = (PROJECT / "requirements.txt").read_text().partition("# to develop\n")


def specs(environment: Path) -> dict[str, list[str]]:
    """Return package -> version (and build, if any) of a conda environment."""
    return {spec.split("=")[0]: spec.split("=")[1:] for spec in yaml.safe_load(environment.read_text())["dependencies"]}


def test_the_lock_file_has_every_requirement_in_its_version() -> None:
    wanted = pins(JOBS_NEED) | pins(DEVELOPERS_NEED)
    assert {name: LOCKED.get(name) for name in wanted} == wanted


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.14"])
@pytest.mark.parametrize(
    "platforms",
    [
        [f"manylinux_2_{libc}_{processor}" for libc in range(17, 29)] + [f"manylinux2014_{processor}"]
        for processor in ("x86_64", "aarch64")
    ]
    + [[f"macosx_{version}_0_arm64" for version in range(11, 15)]],
    ids=["linux-x86_64", "linux-aarch64", "macos-arm64"],
)
def test_no_package_needs_a_compiler(python: str, platforms: list[str], tmp_path: Path) -> None:
    """But for immutables on Python 3.14, which the Makefile asks a compiler for; connection_pool is plain Python."""
    packages = tmp_path / "requirements.txt"
    compiled = {"3.11": set(), "3.14": {"immutables"}}[python]
    packages.write_text("".join(f"{name}=={LOCKED[name]}\n" for name in LOCKED.keys() - compiled))
    ask = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", f"--target={tmp_path}"]
    built = ["--only-binary=:all:", "--no-binary=connection_pool", f"--python-version={python}"]
    there = [f"--platform={platform}" for platform in platforms]
    told = subprocess.run(
        [*ask, *built, *there, f"--requirement={packages}"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert f"torch-{LOCKED['torch']}" in told.stdout


@pytest.mark.parametrize("environment", [CPU, CUDA], ids=["cpu", "cuda"])
def test_a_conda_environment_has_what_jobs_need_in_the_locked_versions_and_nothing_else(environment: Path) -> None:
    names = pins(JOBS_NEED).keys() - NOT_IN_JOBS
    found = {name: version for name, (version, *_) in specs(environment).items()}
    assert found.pop("python") == "3.11"
    assert found == {ON_CONDA_FORGE.get(name, name): LOCKED[name] for name in names}


@pytest.mark.parametrize(("environment", "build"), [(CPU, "cpu*"), (CUDA, "cuda*")], ids=["cpu", "cuda"])
def test_a_conda_environment_takes_one_build_of_pytorch_from_one_channel(environment: Path, build: str) -> None:
    content = yaml.safe_load(environment.read_text())
    assert content["channels"] == ["conda-forge", "nodefaults"]
    assert specs(environment).pop("pytorch") == [LOCKED["torch"], build]
    assert all(len(rest) == 1 for name, rest in specs(environment).items() if name != "pytorch")


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ((3, 10), "Python 3.11 to 3.14 is needed, this is 3.10: make PYTHON="),
        ((3, 15), "Python 3.11 to 3.14 is needed, this is 3.15: make PYTHON="),
        ((3, 14), "On Python 3.14, a C compiler (no-compiler) and "),
    ],
)
def test_set_up_names_what_another_python_lacks_before_it_makes_anything(
    tmp_path: Path, version: tuple[int, int], told: str
) -> None:
    python = tmp_path / "python"
    pretend = f"import sys; sys.version_info = {version}; exec(sys.argv[2])"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$@"\n')
    python.chmod(0o755)
    command = ["make", "setup", f"PYTHON={python}", f"VENV={tmp_path / 'made'}", "CC=no-compiler"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith(told)
    assert not (tmp_path / "made").exists()


def test_rules_name_exactly_the_environments_that_exist() -> None:
    named = re.findall(r'"\.\./(envs/.+?\.yaml)"', (PROJECT / "rules/common.smk").read_text())
    assert {PROJECT / name for name in named} == {CPU, CUDA} == set((PROJECT / "envs").iterdir())


def test_the_container_has_a_compiler_and_installs_the_lock_file() -> None:
    """Whether the image builds, only a container runtime can show."""
    with open(PROJECT / "Dockerfile", "rb") as file:
        steps = [step for step in DockerfileParser(fileobj=file).structure if step["instruction"] != "COMMENT"]
    assert [step["instruction"] for step in steps] == ["FROM", "RUN", "COPY", "RUN", "ENV", "WORKDIR", "CMD"]
    base, compiler, copied, run = (step["value"] for step in steps[:4])
    assert base == f"python:{specs(CPU)['python'][0]}-slim"
    assert " gcc " in compiler  # for Triton
    here, there = copied.split()
    assert (PROJECT / here).is_file()
    assert run.startswith("python -m pip install ")
    assert run.endswith(f" --requirement {there}")


def test_the_entry_for_the_workflow_catalog_says_what_the_rules_support() -> None:
    usage = yaml.safe_load((PROJECT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    deployed = usage["software-stack-deployment"]
    assert deployed == {"conda": True, "apptainer": False, "apptainer+conda": False, "report": True}
    rules = "".join(path.read_text() for path in PROJECT.glob("rules/*.smk"))
    assert ("    conda:\n" in rules) == deployed["conda"]
    assert ("container:" in rules) == deployed["apptainer"]
    assert "report(" in rules
