# make demo    train and render the comparison of blurry and sharp predictions
# make test    all tests, 9 to 14 minutes         make quick   the fast ones, under one
# make lint    ruff and mypy; CI runs lint and test
# make docs    the site, into site/
# make experiments  long experiments, resumable                 make bench   speed
# make reliability  faults, kills, damaged and hostile files: everything of docs/guide/reliability.md, under 45 minutes
.PHONY: demo test quick reliability lint docs experiments bench lock clean
.DELETE_ON_ERROR:
export UV_PYTHON_DOWNLOADS = never
export UV_SYSTEM_CERTS = 1
# Every test that starts a process would compile the libraries again where bytecode is not written.
export UV_COMPILE_BYTECODE = 1
PYTHON ?= python3
BIN = .venv/bin
# Tests start processes: one thread each, so that they do not compete for the cores. An empty PYTHONDONTWRITEBYTECODE is
# none: without bytecode, every process compiles the package and the tests again.
TEST_ENV = OMP_NUM_THREADS=1 MPLBACKEND=Agg PYTHONDONTWRITEBYTECODE=

demo: .venv/installed
	$(BIN)/vidpred demo

test: .venv/installed
	$(TEST_ENV) $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not reliability"

quick: .venv/installed
	$(TEST_ENV) $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not slow and not reliability"

reliability: .venv/installed
	$(TEST_ENV) $(BIN)/python -m pytest tests/reliability tests/test_checkpoint.py tests/test_config.py \
	  tests/training/test_trainer.py tests/training/test_early_stopping.py tests/training/test_worker_failures.py tests/commands/test_diagnose.py \
	  tests/data/test_index.py tests/data/test_bad_videos.py tests/data/test_video.py tests/data/test_sources.py \
	  tests/data/test_what_players_play.py tests/data/test_mutated_videos.py tests/data/test_pieces.py \
	  tests/streaming/test_ends_of_sources.py tests/data_prep/test_archives.py \
	  tests/inference/test_predict_outputs.py tests/benchmarks/test_gpu.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

experiments: .venv/installed
	$(BIN)/python -m benchmarks.experiments

bench: .venv/installed
	$(BIN)/python -m benchmarks.training_step

# Everything comes from the lock, with hashes; the package itself is built with the locked build tools.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

lock:
	$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --extra dev -o requirements.lock pyproject.toml

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
