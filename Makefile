# make run: the quickstart, from nothing to verified model files. make test: every check. Both install what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Byte code is made when a module is first imported: most of torch's and the exporters' never are, and making all of it
# took two thirds of the installation.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt

.PHONY: help install run test fast-tests test-all lint docs docs-serve mutants device-tools browser boards lock clean
help:
	@echo 'make run       install and run the quickstart experiment (about ten minutes on 2 cores)'
	@echo 'make test      install and run linters, type checker, import contract and tests'
	@echo 'make test-all  the same with the slow tests'
	@echo 'make docs      the documentation as a site, in site/index.html; make docs-serve shows it while it is written'
	@echo 'make mutants ROOM=latency  change a folder of hwnas at random: do its own tests notice? (ten minutes)'
	@echo 'make install   the virtual environment $(VENV) alone'
	@echo 'make lock      pin the dependencies again (constraints.txt)'

install: $(VENV)/.installed

# ARGS: settings, such as ARGS='seed=1 name=second'.
run: install
	$(BIN)/hwnas run $(ARGS)

# What only one core works at runs beside the tests.
test: $(VENV)/.installed-test device-tools
	@$(MAKE) --no-print-directory --jobs 2 lint fast-tests

# Two processes, each with whole files: the tests of a file share what is slow to make.
fast-tests:
	$(BIN)/pytest -n 2 --dist loadfile -m 'not slow'

test-all: lint device-tools browser boards
	$(BIN)/pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The theme says of MkDocs 2, at length, that it will not be of use: we stay with 1.
docs docs-serve: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict --clean

docs-serve: $(VENV)/.installed-docs
	$(BIN)/mkdocs serve

# Not in CI. ROOM: a folder of hwnas, such as latency or export/check; another SEED draws other changes.
MUTANTS ?= 100
SEED ?= 0
mutants: $(VENV)/.installed-mutation
	@test -n '$(ROOM)' || { echo 'which folder of hwnas? make mutants ROOM=latency'; exit 1; }
	nice -n 19 $(BIN)/python benchmarks/mutants.py $(ROOM) --mutants $(MUTANTS) --seed $(SEED)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo 'hwnas needs Python 3.10 or newer; name one with make PYTHON=/path/to/python3'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq python3-venv; } || \
	  { echo 'this Python has no venv module: install it (Debian: apt-get install python3-venv)'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --upgrade 'pip>=24'

# The editable install follows the sources; only changed dependencies need a new one.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[all]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[all,test]'
	@touch $@

# Without torch and runtimes: sources are read, not imported.
$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[docs]'
	@touch $@

$(VENV)/.installed-mutation: $(VENV)/.installed-test
	$(PIP) -e '.[all,test,mutation]'
	@touch $@

# What tests of devices talk to: a real sshd, the adb client, compilers for TVM. Without them they skip, saying so.
device-tools:
	@PATH="$$PATH:/usr/sbin"; command -v sshd >/dev/null && command -v adb >/dev/null && command -v g++ >/dev/null && \
	  command -v aarch64-linux-gnu-g++ >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openssh-server adb g++ g++-aarch64-linux-gnu >/dev/null; } || \
	  echo 'tests of SSH, ADB and TVM will be skipped: install openssh-server, adb, g++ and g++-aarch64-linux-gnu'

# What the slow tests open the report in. Without it they skip, saying so.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver >/dev/null; } || \
	  echo 'tests of the report in a browser will be skipped: install chromium and chromium-driver'

# What the slow tests measure and run bundles on: boards of another processor, emulated. Without them they skip, saying so.
boards: $(VENV)/.installed-test device-tools
	@command -v debootstrap >/dev/null && command -v qemu-aarch64-static >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap qemu-user-static >/dev/null; } || \
	  echo 'tests on emulated boards will be skipped: install debootstrap and qemu-user-static'
	@$(BIN)/python -m tests.boards.root

lock:
	$(BIN)/python -m pip install --quiet uv
	# backports.strenum 1.3 refuses Python 3.11, which uv, looking for one lock for all versions, does not see.
	printf 'torch==2.13.0\nbackports-strenum<1.3\n' > $(VENV)/lock-bounds.txt
	$(BIN)/uv pip compile --universal --python-version 3.10 --all-extras -c $(VENV)/lock-bounds.txt \
	  --no-annotate --no-header --quiet pyproject.toml -o constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist site
