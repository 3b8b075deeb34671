# `make help` lists the targets. Each creates the environment first if it is missing or older than the lock.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := $(abspath $(or $(SQIDFLOW_VENV),.venv))
export PATH := $(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
PORT ?= 5000
SERVE_PORT ?= 8000
TEST_WORKERS ?= 2
# A file is tested by one process, and files are taken in the order of tests/conftest.py.
PYTEST := python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup run encoders serve web screenshots test test-fast test-web lint types docs tables reproduce rehearse dependencies mlflow doctor bench lock clean

help:  ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## create the virtual environment from the lock; does nothing if it is up to date
	@$(PYTHON) deploy/bootstrap.py

run: setup  ## sample data (if data/ is empty), features, pipeline to a pushed model, evaluation, index
	@sqidflow data sample --if-missing
	@dvc repro --force
	@echo; echo "next: make serve (search in a browser), make mlflow (the runs); before typing sqidflow: . $(VENV)/bin/activate"

encoders: setup  ## install the encoders clip and sentence-transformers, and the model that their tests use
	@python -m pip install --quiet --no-warn-conflicts -c requirements.lock -r requirements-encoders.lock

serve: setup  ## start the search service after `make run`; builds its page if Node is installed (SERVE_PORT=8000)
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory web || echo "the page could not be built; the API works without it"; fi
	@sqidflow serve --port $(SERVE_PORT)

test: setup  ## run all tests in two processes (TEST_WORKERS=2)
	@$(PYTEST)

test-fast: setup  ## run the tests that start no pipeline, service, browser or notebook
	@$(PYTEST) -m "not slow"

web: web/dist/index.html  ## build the page into web/dist; needs only Node 20.19 or newer

web/dist/index.html: web/node_modules/.package-lock.json $(shell find web/src web/public web/*.html web/*.json web/*.ts -type f 2>/dev/null)
	@cd web && npm run --silent build

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	@command -v npm >/dev/null || { echo "make web: npm not found; install Node.js 20.19 or newer" >&2; exit 2; }
	@cd web && npm ci --no-progress --loglevel=error
	@touch $@

test-web: setup  ## run the page's tests; as root on Debian it installs Chromium first if it is missing
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
		echo "Chromium is missing and could not be installed: tests that need it are skipped"
	@python -m pytest tests/web

screenshots: setup web  ## take the screenshots of docs/web.md again, from this checkout's own run
	@cd web && npm run --silent screenshots

lint: setup  ## check style, import layers and types
	@ruff check .
	@ruff format --check --quiet .
	@lint-imports --no-cache
	@mypy

types: setup  ## check types with mypy; strict for what serves
	@mypy

docs: setup  ## build the documentation into site/; fails at a broken link
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "site/ is built; to read and search it: python -m http.server --directory site 8010"

tables: setup  ## write the tables of README and docs that come from metrics/
	@python deploy/docs_tables.py

reproduce: run  ## sample, pipeline, all models, audit, all benchmarks, tables of the docs (hours; MEASURE="typing run" for some)
	@sqidflow compare
	@sqidflow audit --card docs/model_card.md
	@python deploy/reproduce.py $(MEASURE)
	@python deploy/docs_tables.py

rehearse: setup  ## carry out the steps of the serving image without a container engine, after `make run`
	@python deploy/rehearse_serving.py

dependencies: setup  ## check the dependencies for known faults and list their licences (needs a network)
	@uvx pip-audit --requirement requirements.lock --no-deps --disable-pip
	@uvx pip-licenses --python $(VENV)/bin/python --order license --summary

mlflow: setup  ## show the runs in a browser (PORT=5000)
	@mkdir -p var/mlflow
	@python -m sqidflow.tracking.ui http://127.0.0.1:$(PORT)
	@mlflow ui --backend-store-uri sqlite:///var/mlflow/mlflow.db --host 127.0.0.1 --port $(PORT)

doctor: setup  ## check this machine; says how to get what is missing
	@sqidflow doctor

bench: setup  ## run the benchmark `run` of docs/performance.md
	@sqidflow bench run

lock: setup  ## resolve requirements.lock again from pyproject.toml
	@uv pip compile pyproject.toml --extra dev --python-version 3.11 --universal --quiet --upgrade \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock

clean:  ## delete derived files: artifacts/, var/ (also MLflow runs and the local DVC remote), web/dist/, site/; keeps data/
	@rm -rf artifacts var web/dist site
