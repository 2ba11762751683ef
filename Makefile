# `make book` and `make test` need Python 3.11 or newer and make; everything else is installed into .venv.
# Name another interpreter with `make book PYTHON=python3.12`; `make env CONSTRAINTS=` takes the newest versions.

PYTHON      ?= python3
CONSTRAINTS ?= constraints.txt
WORKERS     ?= 2
CHAPTER     ?= book/01_one_section.ipynb
COLAB_IMAGE ?= us-docker.pkg.dev/colab-images/public/cpu-runtime
VENV        := .venv
PY          := $(VENV)/bin/python
ENV         := $(VENV)/.installed

# What the chapters compute on: when it changes, they are all executed again.
INPUTS      := data_registry.py constraints.txt $(wildcard results/*.yaml results/*.parquet) $(shell find stlearn_lib -name '*.py' | LC_ALL=C sort)
# A worker that dies ends the tests: pytest-xdist may wait for ever for what it had left to do.
PYTEST      := $(PY) -m pytest -n $(WORKERS) --dist loadfile --max-worker-restart 0
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
.PHONY: help env data book check-book browser check-links pdf notebooks slides exercises colab colab-image test lint check \
	wheel constraints check-release release-archive publish-release clean clean-env

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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
# away when code, versions or data change, and so are the pages that Sphinx has made; else it makes those anew that
# changed. After a warning all are: of a page that Sphinx does not read again it would not warn a second time.
book: export JUPYTERCACHE := $(CURDIR)/_build/.jupyter_cache
book: $(ENV) ## Execute every chapter and build _build/html/index.html
	@mkdir -p _build
	$(PY) book/fetch_data.py > _build/inputs.new
	@cat $(INPUTS) | cksum >> _build/inputs.new
	@cmp -s _build/inputs.new _build/inputs || rm -rf _build/.jupyter_cache _build/.doctrees
	@mv _build/inputs.new _build/inputs
	@[ -z "$$(find _toc.yml _config.yml book/extensions/*.py -newer _build/.doctrees 2> /dev/null)" ] || rm -rf _build/.doctrees
	@[ -d _build/.doctrees ] || rm -rf _build/html
	@mkdir -p $(JUPYTERCACHE)
	$(VENV)/bin/jcache notebook add book/*.ipynb
	$(VENV)/bin/jcache project execute --executor local-parallel --timeout 600 --verbosity WARNING
	$(VENV)/bin/jupyter-book build . --nitpick --warningiserror --keep-going || { rm -rf _build/.doctrees; exit 1; }

check-book: $(ENV) ## Check the pages that `make book` made, and read them in a browser (needs Chromium)
	$(PY) -m pytest -n $(WORKERS) tests/check_built_book.py tests/check_pages_in_browser.py

browser: $(ENV) ## Install the Chromium that checks and prints the book, and the packages that it needs
	$(VENV)/bin/playwright install --with-deps chromium

check-links: $(ENV) ## Try every address on the network that the book, the code and the data's registry name
	$(PY) -m book.links

pdf: $(ENV) ## Print the built book as _build/pdf/from_tissue_image_to_gene_expression.pdf (needs Chromium)
	@test -f _build/html/index.html || $(MAKE) book
	$(PY) -m book.pdf

notebooks: $(ENV) ## Execute the chapters in place: the outputs that are committed
	$(PY) book/chapters.py

colab: ## Run CHAPTER as on Colab, in a fresh environment: its first cell installs the last commit
	@environment=$$(mktemp -d) && trap 'rm -rf "$$environment"' EXIT && set -x \
		&& $(PYTHON) -m venv "$$environment" \
		&& "$$environment/bin/python" -m pip install --quiet --upgrade pip ipykernel nbclient pyyaml \
		&& "$$environment/bin/python" -m book.colab $(CHAPTER)

# The image's own command would serve notebooks and never end.
colab-image: ## Run CHAPTER in the image that Colab publishes of its runtime (needs Docker)
	docker run --rm --entrypoint python3 --volume '$(CURDIR):/checkout:ro' --workdir /checkout \
		--volume '$(abspath $(or $(STLEARN_CACHE),.stlearn-cache)):/cache' --env STLEARN_CACHE=/cache \
		--env STLEARN_REQUIRE_REAL_DATA $(COLAB_IMAGE) -m book.colab $(CHAPTER)

slides: $(ENV) ## Make a slide deck of each chapter in _build/course
	$(PY) -m book.course_material slides

exercises: $(ENV) ## Make exercise sheets and, apart, their solutions in _build/course
	$(PY) -m book.course_material exercises

# Two workers on two cores: more threads in each would only get in one another's way.
book test: export OPENBLAS_NUM_THREADS ?= 1
book test: export OMP_NUM_THREADS ?= 1
test: $(ENV) ## Run unit tests, doctests, reference values and the notebooks
	$(PYTEST) $(NOTEBOOKS)

lint: $(ENV) ## Run ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m mypy

check: lint ## The gate: ruff, mypy, pytest with warnings as errors
	$(PYTEST)

wheel: $(ENV) ## Build the wheel into dist/
	$(PY) -m build --wheel --no-isolation

constraints: ## Resolve the ranges of pyproject.toml anew and write constraints.txt
	$(MAKE) clean-env env CONSTRAINTS=
	@sed -n '/^#/p' constraints.txt > constraints.new
	$(PY) -m pip freeze --all --exclude-editable | grep -Ev '^(pip|wheel|triton)==|^(cuda|nvidia)-' \
		| sed 's/+.*//' | LC_ALL=C sort -f >> constraints.new
	@mv constraints.new constraints.txt

check-release: $(ENV) ## Does TAG name the version, is it dated, and will Zenodo read the citation?
	@version=$$($(PY) -c 'import stlearn_lib; print(stlearn_lib.__version__)') && test "$$TAG" = "v$$version" \
		|| { echo "The tag is '$$TAG', but stlearn_lib/__init__.py says $$version."; exit 1; }
	@! grep -n '^## .*unreleased' CHANGELOG.md || { echo 'CHANGELOG.md gives this version no date yet.'; exit 1; }
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

release-archive: $(ENV) ## Gather in dist/ what a release keeps: packages, book, exact versions, ledger, checksums
	@test -f _build/html/index.html || { echo 'The book comes first: make book'; exit 1; }
	rm -rf dist
	$(PY) -m build --no-isolation
	cd _build && $(abspath $(PY)) -m zipfile --create ../dist/book.zip html
	cp constraints.txt results/ledger.csv results/ledger.parquet $(wildcard _build/pdf/*.pdf) dist
	{ $(PY) -VV && uname -srm; } | sed 's/^/# /' > dist/environment.txt
	$(PY) -m pip freeze --all --exclude-editable >> dist/environment.txt
	cd dist && sha256sum * > SHA256SUMS

publish-release: ## Make the GitHub release of TAG from dist/ (needs gh)
	gh release create "$$TAG" --verify-tag --generate-notes dist/*

clean: ## Remove what was built; .venv and downloaded data stay
	rm -rf _build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

clean-env: ## Remove .venv
	rm -rf $(VENV)
