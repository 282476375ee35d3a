# Everything lives in .venv and var/; nothing outside this folder is touched but missing Debian packages (`make test`, as root).
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY = PASSIVE

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-sqlite test-postgres lint format audit cuda bench bench-weights bench-recipe bench-ablation bench-resnet bench-survival bench-zones calibrate side-channel faults .venv dev packages

help:  ## list the targets
	@grep -E '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

.venv:  ## Python packages to run with (instant when nothing changed)
	@sh tools/install.sh "$(PYTHON)" $(VENV) requirements.txt

dev: .venv
	@sh tools/install.sh "$(PYTHON)" $(VENV) requirements-dev.txt

packages:
	@sh tools/packages.sh

demo: .venv  ## the whole loop, from training to the report, in a few minutes
	@$(BIN)/python manage.py demo $(DEMO)

serve: .venv  ## web, workers and broker on this machine; Ctrl-C ends all
	@$(BIN)/python manage.py serve $(SERVE)

# One thread a process, and compiled tests are kept. What the tests on PostgreSQL say is told when they are through.
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: export PYTHONDONTWRITEBYTECODE =
test: dev packages  ## the whole test suite
	@$(MAKE) --no-print-directory --jobs=2 test-sqlite test-postgres

test-sqlite:
	$(BIN)/python -m pytest -m "not long and not cuda" -n 4 --dist loadfile --no-loadscope-reorder $(PYTEST)

test-postgres:
	@said=$$($(BIN)/python -m tests.with_postgres $(BIN)/python -m pytest -m store $(PYTEST) 2>&1); code=$$?; \
	echo "$$said"; exit $$code

lint: dev  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: dev  ## put the formatting right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit: .venv  ## known vulnerabilities of the installed packages (needs a network and pipx)
	pipx run pip-audit --path $(VENV)/lib/python3.11/site-packages

side-channel: dev packages  ## can a program tell the altered image by anything but its pixels? a few minutes
	@$(BIN)/python -m benchmarks.side_channel $(SIDE_CHANNEL)

calibrate: dev  ## do tests and intervals keep their promise? simulated studies of known truth, some minutes
	@$(BIN)/python -m benchmarks.calibrate $(CALIBRATE)

faults: dev packages  ## 200 random kills and other faults while people answer and models train: about half an hour
	@$(BIN)/python -m pytest -q -m long tests/faults
	@FUZZ=3 $(BIN)/python -m tests.with_postgres $(BIN)/python -m pytest -q tests/study/test_fuzz.py
	@$(BIN)/python -m tests.faults.storm $(FAULTS)

cuda: dev  ## on a machine with a CUDA device: the tests that need one, then how fast it trains (some minutes)
	$(BIN)/python -m pytest -m cuda tests/cuda $(PYTEST)
	$(BIN)/python -m benchmarks.bench_cuda $(CUDA)

bench: dev  ## ours and others side by side, workers, a second host, the desk and exports (an hour or two; finished trainings are kept)
	$(BIN)/python -m benchmarks.bench_workers
	$(BIN)/python -m benchmarks.bench_hosts
	$(BIN)/python -m benchmarks.bench_desk
	$(BIN)/python -m benchmarks.bench_export
	$(BIN)/python -m benchmarks.side_by_side $(BENCH)

bench-recipe: dev  ## every training recipe from scratch against its bars: about two hours; finished runs are kept
	$(BIN)/python -m benchmarks.bench_recipe $(BENCH)

bench-ablation: dev  ## WaNet's published training and ours, one factor at a time: about half an hour; finished runs are kept
	$(BIN)/python -m benchmarks.bench_ablation $(BENCH)

bench-resnet: dev  ## can a ResNet-18 be backdoored here? about half an hour; finished runs are kept
	$(BIN)/python -m benchmarks.bench_resnet $(BENCH)

bench-survival: dev  ## how well each attack sits, and what files, tuning, pruning and inversion leave of it: half an hour
	$(BIN)/python -m benchmarks.bench_survival $(BENCH)

bench-zones: dev  ## is regression more vulnerable than classification? about half an hour; finished runs are kept
	$(BIN)/python -m benchmarks.bench_zones $(BENCH)

bench-weights: dev  ## what a hand in the weights can do, to recognition and to gaze: about half an hour; finished runs are kept
	$(BIN)/python -m benchmarks.bench_weights $(BENCH)
