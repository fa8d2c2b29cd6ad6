# Needs nothing but make and Python 3.10 or newer.
#
# pip's own settings hold. On Linux the default index has torch with CUDA, several GB: where no GPU is to be used, set
# PIP_EXTRA_INDEX_URL (or PIP_INDEX_URL) to an index with torch's CPU wheels before the first `make`.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# Number of test processes, and what else pytest should get: make test JOBS=4 PYTEST_ARGS="-k dice".
JOBS ?= 2
PYTEST_ARGS ?=
# The tests of a file go to one process, so that what they share (trained runs, above all) is made once.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
# One thread a process: several thread pools on few cores are slower than one thread each.
ONE_THREAD := OMP_NUM_THREADS=1

# The first Python that constraints.txt was made for, else any newer one. Looked for only where .venv is to be made.
ifndef PYTHON
PYTHON = $(shell for range in '(3, 10) <= v < (3, 14)' '(3, 10) <= v'; do \
	for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
		if "$$p" -c "import sys; v = sys.version_info[:2]; sys.exit(not ($$range))" >/dev/null 2>&1; then \
			echo "$$p"; exit; \
		fi; \
	done; \
done)
endif

.PHONY: help demo test test-long lint docs reference picture tutorials format coverage bench bench-short bench-page bench-parts scale dead intervals clean \
	install install-dev

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: install ## train and compare STL, HPS, MTAN and CTAN on generated phantoms (minutes)
	$(BIN)/crosstask demo

test: install-dev ## run the tests
	$(ONE_THREAD) $(PYTEST) $(PYTEST_ARGS)

test-long: install-dev ## run the tests that are left out of `make test`: the rest of sets of which a part is in it
	$(ONE_THREAD) $(PYTEST) -m long $(PYTEST_ARGS)

lint: install-dev ## check style and types; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install-dev ## build the site into build/docs; a broken link or reference is an error
	$(BIN)/python -m sphinx -q -E -W --keep-going -b html -d build/docs-read docs build/docs
	@echo "Site: build/docs/index.html"

reference: install-dev ## write the pages of keys, commands and configurations anew
	$(BIN)/python docs/make_reference.py

picture: install-dev ## take the picture of the demo's page anew, for the first page (needs a Chromium)
	$(BIN)/python docs/make_picture.py

tutorials: install-dev ## follow every tutorial, command by command, with data of test size (a minute or two)
	rm -rf build/tutorials
	$(ONE_THREAD) $(BIN)/python tests/tutorials.py build/tutorials

format: install-dev ## mend style where ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: install-dev ## run the tests and show the lines that none of them runs
	$(ONE_THREAD) $(PYTEST) --cov --cov-report=term --cov-report=html $(PYTEST_ARGS)

bench: install-dev ## measure speed against its bounds, as one table (an hour; goes on where it was stopped)
	$(BIN)/python benchmarks/table.py

bench-short: install-dev ## parts of the same in small, as CI runs them: fails where a ratio is far off its bound (seconds)
	$(BIN)/python benchmarks/table.py --short --again --only compare_scale,startup,volumes

bench-page: install-dev ## the same as bench, and its table into docs/performance.md
	$(BIN)/python benchmarks/table.py --page docs/performance.md

scale: install-dev ## compute the page of 10^6 cases on 64 GPUs anew, from benchmarks/scale_inputs.json
	$(BIN)/python benchmarks/scale_model.py --page docs/scale.md --figure docs/images/scale.svg

bench-parts: install-dev ## seconds of training steps, store reads and the parts of a comparison, one by one (minutes)
	$(ONE_THREAD) $(BIN)/python benchmarks/step_time.py
	$(ONE_THREAD) $(BIN)/python benchmarks/store_read.py
	$(ONE_THREAD) $(BIN)/python benchmarks/parts.py

dead: install-dev ## train 20 seeds of every method on the demo's phantoms: does any miss a structure? (an hour)
	$(ONE_THREAD) $(BIN)/python benchmarks/dead_structures.py demo/dead -j $(JOBS)

intervals: install-dev ## simulate benchmarks with known effects: do intervals hold them, and verdicts? (two hours)
	$(ONE_THREAD) $(BIN)/python benchmarks/coverage.py -j $(JOBS)

clean: ## remove caches and build output; keeps .venv, data and runs
	rm -rf build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

install: $(VENV)/.installed ## make .venv and install crosstask into it

install-dev: $(VENV)/.installed-dev ## the same, with the tools for tests and style

# A stamp is as new as the last installation that went through, so pip runs again only after a change of versions.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing crosstask into $(VENV) (the first time this downloads some hundred MB to GBs, mostly torch)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing crosstask and its tools into $(VENV) (the first time this downloads some hundred MB to GBs)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@python="$(PYTHON)"; \
	if [ -z "$$python" ] || ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
		echo "make: $${python:-python3} is no Python 3.10 or newer; install one, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $$python has no venv or ensurepip; install them (Debian: python3-venv), or set PYTHON to another" >&2; \
		exit 1; \
	}; \
	"$$python" -c 'import sys; sys.exit(sys.version_info >= (3, 14))' || \
		echo "make: $$python is newer than the versions in constraints.txt; if pip fails, set PYTHON to 3.10 to 3.13" >&2; \
	echo "Making $(VENV) with $$python"; \
	"$$python" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
