# What can be done here; `make` alone lists it. All set-up is done by the targets that need it.

CONFIG ?= configs/flights.toml
ARGS ?=
EXTRAS ?=
export PYTHON
# What make was told is for its own lines, not for a make that these start.
unexport ARGS EXTRAS CONFIG PYTHONHOME PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help init run test check e2e lint format bench year notebook docs ui report scan cicd-demo airflow doctor setup lock clean

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-17s %s\n", $$1, $$2}'

init: ## Write a configuration for your own data (ARGS="my.csv --label price")
	@sh tools/setup.sh run $(EXTRAS)
	@.venv/bin/python -m pipeline init $(ARGS)

run: ## Run the pipeline on this machine (CONFIG=configs/flights.toml, ARGS="--span 4")
	@sh tools/setup.sh run $(EXTRAS)
	@.venv/bin/python local_runner.py --config $(CONFIG) $(ARGS)

test: ## Run the tests (ARGS="-k canary", EXTRAS=pytorch for those of PyTorch)
	@sh tools/setup.sh dev $(or $(EXTRAS),--offered)
	@.venv/bin/python -m pytest $(ARGS)

check: ## Run the tests that take seconds, not minutes (ARGS="-k canary")
	@sh tools/setup.sh dev $(EXTRAS)
	@.venv/bin/python -m pytest -m "not e2e" $(ARGS)

e2e: ## Run the whole pipeline on a small slice of the data, and the tests of what came of it
	@sh tools/setup.sh dev $(EXTRAS)
	@.venv/bin/python -m pytest -m e2e tests/end_to_end/test_pipeline.py $(ARGS)

lint: ## Check format, style, types and the rules of who imports whom
	@sh tools/setup.sh dev $(EXTRAS)
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m tools.terraform
	.venv/bin/python -m pipeline cloudbuild check cloudbuild.yaml deploy/cloudbuild/*.yaml
	.venv/bin/zizmor --offline --no-progress --quiet .github
	.venv/bin/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema -q --builtin-schema vendor.github-actions .github/actions/*/action.yml
	.venv/bin/check-jsonschema -q --builtin-schema vendor.gitlab-ci .gitlab-ci.yml
	.venv/bin/check-jsonschema -q --builtin-schema vendor.renovate renovate.json

format: ## Format the code and mend what can be mended by itself
	@sh tools/setup.sh dev $(EXTRAS)
	.venv/bin/ruff check --fix-only
	.venv/bin/ruff format

bench: ## Measure against TFX, and growth; writes benchmarks/RESULTS.md (ARGS="taxi startup")
	@sh tools/setup.sh dev $(EXTRAS)
	@.venv/bin/python -m benchmarks $(ARGS)

year: ## Play a year of retraining, by the policy and by fixed rules (ARGS=--quick: see that it works)
	@sh tools/setup.sh dev $(EXTRAS)
	@.venv/bin/python -m benchmarks.year $(ARGS)

notebook: ## Open the notebooks in JupyterLab (ARGS=--render writes docs/notebooks)
	@sh tools/setup.sh run notebook
	@.venv/bin/python -m tools.notebooks $(ARGS)

docs: ## Build the site of docs/ into build/site (ARGS=--serve shows it, and changes as you write)
	@sh tools/setup.sh run docs
	@.venv/bin/python -m tools.docs $(ARGS)

ui: ## Open MLflow's pages on the project's own store (ARGS="--port 5001")
	@sh tools/setup.sh run $(EXTRAS)
	@.venv/bin/python -m pipeline registry ui --config $(CONFIG) $(ARGS)

report: ## Show the reports of the runs in a browser (ARGS="--port 8091")
	@sh tools/setup.sh run $(EXTRAS)
	@.venv/bin/python -m pipeline report --serve --config $(CONFIG) $(ARGS)

scan: ## Scan the image that was built for vulnerabilities that have a fix (ARGS=--deployed)
	@sh tools/setup.sh run $(EXTRAS)
	@.venv/bin/python -m tools.scan $(ARGS)

cicd-demo: ## Show a git push that is tested, released, run and taken back, on this machine
	@sh tools/setup.sh dev $(EXTRAS)
	@.venv/bin/python -m tools.cicd_demo $(ARGS)

airflow: ## Start Airflow on the pipeline (ARGS="--port 8081", ARGS=--test: test its DAG)
	@sh tools/setup.sh $(if $(findstring --test,$(ARGS)),dev,run) $(EXTRAS)
	@.venv/bin/python -m tools.airflow --config $(CONFIG) $(ARGS)

doctor: ## Say what was found on this machine and what will be used
	@sh tools/python.sh -m tools.doctor

setup: ## Set up everything that run, test and lint need (PYTHON=/path/to/python3.12, EXTRAS=pytorch)
	@sh tools/setup.sh dev $(EXTRAS)

lock: ## Resolve the dependencies of pyproject.toml anew into the lock files
	@sh tools/python.sh -m tools.lock $(ARGS)

clean: ## Remove all that was made here: environment, output, caches
	rm -rf .venv .tools output build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
