# Four commands: `make demo`, `make test`, `make check`, `make bench`. Each first makes `.venv` in this
# folder and installs into it what is missing; once that is done nothing here needs a network.
#
#   make PYTHON=python3.12      the interpreter that `.venv` is made from (3.11 or newer)
#   make test ARGS='-k markup'  more words for pytest
#   make test WORKERS=0         all tests in one process; those of full size need it
#   make bench ARGS=--quick     more words for benchmarks/run.py

PYTHON ?= python3
# The networks of the tests are small: processes side by side help, threads only wait for each other.
# A file's tests stay together (`--dist loadfile`), so that what they share is made once.
OMP_NUM_THREADS ?= 1
WORKERS ?= auto
ARGS =
BIN = .venv/bin
OFFLINE = HF_HUB_OFFLINE=1
PYTEST = $(OFFLINE) OMP_NUM_THREADS=$(OMP_NUM_THREADS) $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile $(ARGS)
# The official client of another model, pointed at our server in the tests. What it needs to run its own
# model, 750 MB, it does not need to ask ours.
CLIENT = 'moondream>=2'
EXAMPLE = src/kosmos2/assets/examples/snowman.jpg

.PHONY: help demo test check bench fix clean

help:
	@echo 'make demo    caption a picture with the model in the package, draw its boxes on demo.png'
	@echo 'make test    the tests'
	@echo 'make check   format, lint, types, import rows, then the tests: what CI runs'
	@echo 'make bench   how fast it is, against transformers: 25 minutes, 20 GiB; ARGS=--quick takes 5'
	@echo 'make fix     format, and mend what ruff can mend'
	@echo 'make clean   delete what these commands left behind, except .venv'

demo: .venv/.installed
	$(OFFLINE) $(BIN)/kosmos2 caption $(EXAMPLE) --save demo.png
	@echo "The picture with its boxes: $$(pwd)/demo.png"

test: .venv/.installed-dev
	$(PYTEST)

check: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

# No OMP_NUM_THREADS here: everybody takes what is there. `exec`, so that Ctrl-C is between the two.
bench: .venv/.installed-dev
	@exec env $(OFFLINE) $(BIN)/python benchmarks/run.py $(ARGS)

fix: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build dist demo.png .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is a copy of the pyproject.toml that was installed: a fresh checkout of the same text costs
# nothing, a changed one is installed again. What `dev` installs is enough for the demo.
.venv/.installed: .venv/.made pyproject.toml
	@cmp -s pyproject.toml .venv/.installed-dev || cmp -s pyproject.toml $@ \
		|| $(BIN)/python -m pip install -e .
	@cp pyproject.toml $@

.venv/.installed-dev: .venv/.made pyproject.toml
	@cmp -s pyproject.toml $@ || { $(BIN)/python -m pip install -e '.[dev]' \
		&& $(BIN)/python -m pip install --no-deps $(CLIENT); }
	@cp pyproject.toml $@

# The stamp comes last, so an environment that was left half made is made again.
.venv/.made:
	@command -v $(PYTHON) >/dev/null || { \
		echo "make: there is no '$(PYTHON)' here; install Python 3.11 or newer," \
			"or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $$($(PYTHON) --version 2>&1) is too old, kosmos2 needs 3.11 or newer;" \
			"say where one is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv || { \
		echo "make: $(PYTHON) could not make .venv; on Debian and Ubuntu install python3-venv;" \
			"if a broken .venv is here, delete it and try again" >&2; exit 1; }
	@touch $@
