# `make help` lists the targets. Each makes the environment first where it is missing or older than the lock.
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
.PHONY: help setup run encoders serve web screenshots test test-fast test-web lint mlflow doctor bench lock clean

help:  ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## the virtual environment, from the lock; does nothing where it is there
	@$(PYTHON) deploy/bootstrap.py

run: setup  ## sample data where data/ is empty, features, the whole pipeline to a pushed model, its evaluation
	@sqidflow data sample --if-missing
	@dvc repro --force

encoders: setup  ## the packages of the encoders clip and sentence-transformers, and the model their tests use
	@python -m pip install --quiet --no-warn-conflicts -c requirements.lock -r requirements-encoders.lock

serve: setup  ## the search service and, where Node is there, its page, after `make run` (SERVE_PORT=8000)
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory web || echo "the page could not be built; the API serves all the same"; fi
	@sqidflow serve --port $(SERVE_PORT)

test: setup  ## all tests, in two processes (TEST_WORKERS=2)
	@$(PYTEST)

test-fast: setup  ## the tests that start no pipeline, service, browser or notebook
	@$(PYTEST) -m "not slow"

web: web/dist/index.html  ## the page, into web/dist; needs Node 20.19 or newer and nothing else

web/dist/index.html: web/node_modules/.package-lock.json $(shell find web/src web/public web/*.html web/*.json web/*.ts -type f)
	@cd web && npm run --silent build

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	@command -v npm >/dev/null || { echo "make web: there is no npm; install Node.js 20.19 or newer" >&2; exit 2; }
	@cd web && npm ci --no-progress --loglevel=error
	@touch $@

test-web: setup  ## the page's tests; on Debian, as root, Chromium is installed first where it is missing
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
		echo "Chromium is missing and could not be installed: what needs it is skipped"
	@python -m pytest tests/web

screenshots: setup web  ## the pictures of docs/web.md anew, from the service over this checkout's own run
	@cd web && npm run --silent screenshots

lint: setup  ## style, and which package may import which
	@ruff check .
	@lint-imports --no-cache

mlflow: setup  ## the runs in a browser (PORT=5000)
	@mkdir -p var/mlflow
	@echo "MLflow on http://127.0.0.1:$(PORT)  (Ctrl-C ends it)"
	@mlflow ui --backend-store-uri sqlite:///var/mlflow/mlflow.db --host 127.0.0.1 --port $(PORT)

doctor: setup  ## what this machine has, and how to get what is missing
	@sqidflow doctor

bench: setup  ## the benches of docs/performance.md
	@sqidflow bench run
	@sqidflow bench layout

lock: setup  ## write requirements.lock anew from pyproject.toml
	@uv pip compile pyproject.toml --extra dev --python-version 3.11 --universal --quiet --upgrade \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock

clean:  ## delete what is derived: artifacts/, var/ (MLflow runs and the local DVC remote too), web/dist/; data/ stays
	@rm -rf artifacts var web/dist
