# Every target sets up what it needs on a fresh machine.
.DEFAULT_GOAL := help
.PHONY: help run test library parity bench lint format constraints

ENV := PYTHONDONTWRITEBYTECODE=1 TF_CPP_MIN_LOG_LEVEL=2 TF_ENABLE_ONEDNN_OPTS=1

help: ## say what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

run: ## the main job: fine-tune, distil, evaluate, gate, push and serve on real reviews
	@./bootstrap tfx
	@$(ENV) .venvs/tfx/bin/tfmodels run text_classification $(ARGS)

test: ## the test suite on the newest full stack that this machine can run
	@./bootstrap tfx
	@$(ENV) .venvs/tfx/bin/python -m pytest -n 2 -m "not parity" $(ARGS)

library: ## the library half on the newest TensorFlow and Keras, and the models on JAX
	@./bootstrap library
	@$(ENV) .venvs/library/bin/python -m pytest -n 2 -m "not parity and not e2e" --ignore=tests/pipelines $(ARGS)
	@$(ENV) KERAS_BACKEND=jax .venvs/library/bin/python -m pytest -n 2 tests/ops tests/layers tests/models $(ARGS)

parity: ## outputs and gradients against torch and transformers, in an environment of their own
	@./bootstrap parity
	@$(ENV) .venvs/parity/bin/python -m pytest tests/parity -m parity $(ARGS)

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
