# Every target sets up what it needs on a fresh machine.
.DEFAULT_GOAL := help
.PHONY: help run test library jax parity bench lint format constraints

ENV := PYTHONDONTWRITEBYTECODE=1 TF_CPP_MIN_LOG_LEVEL=2 TF_ENABLE_ONEDNN_OPTS=1
# Neighbouring tests share fixtures and stay with one worker; whoever is done takes over half of the other's rest.
WORKERS := -n 2 --dist worksteal
TESTS := tests/ops tests/layers tests/models
# Nearly all that JAX does here is compile programs that run once.
QUICK_XLA := "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

help: ## say what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

run: ## the main job: fine-tune, distil, evaluate, gate, push and serve on real reviews
	@./bootstrap tfx
	@$(ENV) .venvs/tfx/bin/tfmodels run text_classification $(ARGS)

test: ## the test suite on the newest full stack that this machine can run
	@./bootstrap tfx
	@$(ENV) .venvs/tfx/bin/python -m pytest $(WORKERS) -m "not parity" $(ARGS)

library: ## the library half on the newest TensorFlow and Keras: all but whole runs and what a model learns in them
	@./bootstrap library
	@$(ENV) .venvs/library/bin/python -m pytest $(WORKERS) -m "not parity and not e2e and not learns" \
		--ignore=tests/pipelines --ignore=tests/benchmarks $(ARGS)

jax: ## the operations, layers and models on JAX; TESTS="tests/ops tests/models/test_registry.py" is a shorter run
	@./bootstrap library
	@$(ENV) KERAS_BACKEND=jax XLA_FLAGS=$(QUICK_XLA) .venvs/library/bin/python -m pytest $(WORKERS) $(TESTS) $(ARGS)

parity: ## outputs and gradients against torch and transformers, in an environment of their own
	@./bootstrap parity
	@$(ENV) .venvs/parity/bin/python -m pytest $(WORKERS) tests/parity -m parity $(ARGS)

bench: ## the benchmarks: ratios of two things run side by side
	@./bootstrap tfx
	@$(ENV) .venvs/tfx/bin/python -m benchmarks $(ARGS)

lint: ## format and style checks
	@./bootstrap tfx
	@.venvs/tfx/bin/ruff format --check . && .venvs/tfx/bin/ruff check .

format: ## mend what lint finds
	@./bootstrap tfx
	@.venvs/tfx/bin/ruff format . && .venvs/tfx/bin/ruff check --fix .

constraints: ## pin every stack afresh after a change of setup.py
	@./bootstrap uv
	@constraints/compile.sh
