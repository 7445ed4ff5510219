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

# The environment is rebuilt in place whenever the lock file changes.
$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
