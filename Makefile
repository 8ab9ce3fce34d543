# Two commands for a bare machine with Python >= 3.11: `make demo` and `make test`. Each sets up what it needs.
.DEFAULT_GOAL := help
.PHONY: help demo test lint format build bench bench-quality bench-live bench-experiments bench-simulator bench-million soak opensearch destroy lock clean
SHELL := /bin/sh
BIN := .venv/bin
DEPLOYED = $(or $(PREFIX),tandem-$(or $(PROFILE),dev))
# One BLAS thread per process: with a second busy process on the machine, two threads run slower than one.
export OPENBLAS_NUM_THREADS ?= 1

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## data -> check -> train -> gate -> publish -> recommendations -> evaluation; DATA=path for your own
	@scripts/setup.sh local
	@$(BIN)/tandem demo $(if $(DATA),--data $(DATA))

test: ## the whole test suite, a file at a time on each of WORKERS cores (ARGS=tests/stores for a part)
	@scripts/setup.sh local test
	@[ -d node_modules ] || ! command -v npm >/dev/null || npm ci --silent
	@$(BIN)/python -m pytest -n $(or $(WORKERS),2) --dist loadfile $(ARGS)

lint: ## ruff, mypy, import-linter
	@scripts/setup.sh local test lint
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: ## apply ruff's formatting and safe fixes
	@scripts/setup.sh local test lint
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

build: ## what is deployed: two bundles of functions (arm64) and the archive of the jobs, checked, with sizes
	@scripts/setup.sh local infra
	@$(BIN)/python -m infra.bundle $(ARGS)

bench: ## speed and memory, side by side with what they are compared to (JSON in .bench/)
	@scripts/setup.sh local test
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quality: ## the quality table from real files (DATA=../shared/data, ARGS="--only gowalla --markdown docs/quality.md")
	@scripts/setup.sh local test
	@$(BIN)/python -m benchmarks.quality --data $(or $(DATA),../shared/data) $(ARGS)

bench-live: ## what first clicks get, and how soon new items are there
	@scripts/setup.sh local test
	@$(BIN)/python -m benchmarks.live_quality $(ARGS)
	@$(BIN)/python -m benchmarks.live_items

bench-experiments: ## the statistics of tests held against what is true: assignment, A/A, coverage, off-policy, 200 worlds (half an hour)
	@scripts/setup.sh local test
	@$(BIN)/python -m benchmarks.assignment
	@$(BIN)/python -m benchmarks.experiment_statistics
	@$(BIN)/python -m benchmarks.simulated_coverage
	@$(BIN)/python -m benchmarks.off_policy
	@$(BIN)/python -m benchmarks.popular_world

bench-simulator: ## the full simulated world: 20,000 users, four arms, 36 days, nights, and a twin of each arm
	@scripts/setup.sh local test
	@$(BIN)/python -m benchmarks.simulator $(ARGS)

bench-million: ## a million items: train, load, verify, query (half an hour; WORK=folder keeps what was made)
	@scripts/setup.sh local test
	@$(BIN)/python -m benchmarks.index --items 1000000 --users 100000 --work $(or $(WORK),.bench/million) $(ARGS)

soak: ## hundreds of kills of train, export, load, publish, writers of profiles and exposures, and whole nights; thousands of requests to a failing engine
	@scripts/setup.sh local test
	@$(BIN)/python -m benchmarks.kill_soak $(ARGS)
	@$(BIN)/python -m benchmarks.loader_soak
	@$(BIN)/python -m benchmarks.profile_soak
	@$(BIN)/python -m benchmarks.exposure_soak
	@$(BIN)/python -m benchmarks.night_soak
	@$(BIN)/python -m benchmarks.faults

opensearch: ## start the search server that the tests use (stop it with `tandem opensearch stop`)
	@scripts/setup.sh local
	@$(BIN)/tandem opensearch start

destroy: ## take a deployment down: says what is lost, asks, destroys, says what is left (PROFILE=dev PREFIX= ARGS= YES=1)
	@$(BIN)/tandem aws leftovers --prefix $(DEPLOYED) --before
	@[ "$(YES)" = 1 ] || { printf 'Type %s to destroy it: ' $(DEPLOYED); read -r answer; [ "$$answer" = $(DEPLOYED) ]; }
	@npx cdk destroy --all --force -c profile=$(or $(PROFILE),dev) -c prefix=$(DEPLOYED) $(ARGS); status=$$?; \
		$(BIN)/tandem aws leftovers --prefix $(DEPLOYED) && exit $$status

lock: ## compile constraints.txt from pyproject.toml
	@scripts/setup.sh local
	@$(BIN)/uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--no-annotate --no-header --all-extras pyproject.toml -o constraints.txt

clean: ## remove the environment, caches and local state
	@[ ! -x $(BIN)/tandem ] || $(BIN)/tandem opensearch stop >/dev/null 2>&1 || true
	@rm -rf .venv .tandem .bench build cdk.out node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
