# make demo   the paper's table and figure on the embedded data set, in four to sixteen minutes on two cores
# make test   the tests; make test-slow for those that take longer
# make check  linters and type checks
# make bench  speed, against other code and the machine's limit: seven to fifteen minutes (BENCH="--only NAME": a part)
# make setup  the environment alone
# make clean  remove the environment; results stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# One job, one CPU thread, unless a rule says otherwise.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow check bench setup clean

demo: $(READY)
	@started=$$(date +%s) \
	&& folder=$$($(BIN)/python -m lxmert_tickets show --folder) \
	&& $(BIN)/snakemake --cores all --quiet rules reason host --report "$$folder/report.html" --report-after-run \
	&& $(BIN)/python -m lxmert_tickets show "$$folder" \
	&& echo "done in $$(( $$(date +%s) - started )) s"

# Test files run in parallel, one process per core, at most four (tests/conftest.py).
test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint

bench: $(READY)
	$(BIN)/python -m benchmarks.bench $(BENCH)

setup: $(READY)

# Packages have builds for Python 3.11 to 3.14, but immutables, which Snakemake imports, none for 3.14: pip compiles it.
define SUITABLE
import os, shutil, sys, sysconfig
here = "%d.%d" % sys.version_info[:2]
compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
header = os.path.join(sysconfig.get_path("include"), "Python.h")
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit("Python 3.11 to 3.14 is needed, this is " + here + ": make PYTHON=python3.13")
if here == "3.14" and not (shutil.which(compiler) and os.path.exists(header)):
    sys.exit("On Python 3.14, a C compiler (" + compiler + ") and " + header + " are needed to build a package: "
             "install gcc and python3-dev, or make PYTHON=python3.13")
endef
export SUITABLE

# The environment is rebuilt in place whenever the lock file changes.
$(READY): requirements.lock
	@$(PYTHON) -c "$$SUITABLE"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
