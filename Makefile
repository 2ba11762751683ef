# `make book` and `make test` need Python 3.11 or newer and make; everything else is installed into .venv.
# Name another interpreter with `make book PYTHON=python3.12`; `make env CONSTRAINTS=` takes the newest versions.

PYTHON      ?= python3
CONSTRAINTS ?= constraints.txt
WORKERS     ?= 2
VENV        := .venv
PY          := $(VENV)/bin/python
ENV         := $(VENV)/.installed

# What the chapters compute on: when it changes, they are all executed again.
INPUTS      := data_registry.py constraints.txt $(wildcard results/*.yaml results/*.parquet) $(shell find stlearn_lib -name '*.py' | LC_ALL=C sort)
NOTEBOOKS   := --nbval-lax --nbval-current-env --nbval-cell-timeout=600 --nbval-sanitize-with=tests/nbval_sanitize.cfg

# Chapters run in book/: folders that are named relative to this one are handed on in full.
in_full = $(if $(filter-out /%,$(firstword $($1))),$(CURDIR)/$($1),$($1))
ifdef STLEARN_DATA_MIRROR
export STLEARN_DATA_MIRROR := $(call in_full,STLEARN_DATA_MIRROR)
endif
ifdef STLEARN_CACHE
export STLEARN_CACHE := $(call in_full,STLEARN_CACHE)
endif

.DEFAULT_GOAL := help
.PHONY: help env data book check-book notebooks test check wheel constraints clean clean-env

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(ENV) ## Set up the environment in .venv

$(ENV): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Python 3.11 or newer is needed. Name one: make $(MAKECMDGOALS) PYTHON=python3.12'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --editable '.[book,test]' $(addprefix --constraint ,$(CONSTRAINTS))
	@touch $@

data: $(ENV) ## Fetch the sections that the book reads, and say whether they are real
	$(PY) book/fetch_data.py

# Chapters are executed side by side, as many as there are cores, into Jupyter's cache, from which the book takes them;
# what failed there is executed again and reported by the book. The cache knows the chapters' text only, so it is thrown
# away when code, versions or data change.
book: export JUPYTERCACHE := $(CURDIR)/_build/.jupyter_cache
book: $(ENV) ## Execute every chapter and build _build/html/index.html
	@mkdir -p _build
	$(PY) book/fetch_data.py > _build/inputs.new
	@cat $(INPUTS) | cksum >> _build/inputs.new
	@cmp -s _build/inputs.new _build/inputs || rm -rf _build/.jupyter_cache
	@mv _build/inputs.new _build/inputs
	@rm -rf _build/html
	@mkdir -p $(JUPYTERCACHE)
	$(VENV)/bin/jcache notebook add book/*.ipynb
	$(VENV)/bin/jcache project execute --executor local-parallel --timeout 600 --verbosity WARNING
	$(VENV)/bin/jupyter-book build . --all --nitpick --warningiserror --keep-going

check-book: $(ENV) ## Check the pages that `make book` made: links, alternative texts, data
	$(PY) -m pytest tests/check_built_book.py

notebooks: $(ENV) ## Execute the chapters in place: the outputs that are committed
	$(PY) book/chapters.py

# Two workers on two cores: more threads in each would only get in one another's way.
book test: export OPENBLAS_NUM_THREADS ?= 1
book test: export OMP_NUM_THREADS ?= 1
test: $(ENV) ## Run unit tests, doctests, reference values and the notebooks
	$(PY) -m pytest -n $(WORKERS) --dist loadfile $(NOTEBOOKS)

check: $(ENV) ## The gate: ruff, mypy, pytest with warnings as errors
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -n $(WORKERS) --dist loadfile

wheel: $(ENV) ## Build the wheel into dist/
	$(PY) -m build --wheel --no-isolation

constraints: ## Resolve the ranges of pyproject.toml anew and write constraints.txt
	$(MAKE) clean-env env CONSTRAINTS=
	@sed -n '/^#/p' constraints.txt > constraints.new
	$(PY) -m pip freeze --all --exclude-editable | grep -Ev '^(pip|wheel|triton)==|^(cuda|nvidia)-' \
		| sed 's/+.*//' | LC_ALL=C sort -f >> constraints.new
	@mv constraints.new constraints.txt

clean: ## Remove what was built; .venv and downloaded data stay
	rm -rf _build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

clean-env: ## Remove .venv
	rm -rf $(VENV)
