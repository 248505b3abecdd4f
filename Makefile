# Knoop. `make` alone lists what there is. Needs Debian 12 or 13 (or Raspberry Pi OS), git, make and Python ≥ 3.11;
# what else is missing is installed by bench/debian-packages, or it says what to type.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
RUN := $(BIN)/python
FAULT_PACKAGES := prosody strace libfaketime
FIRMWARE_PACKAGES := device-tree-compiler dosfstools e2fsprogs fdisk mtools openssl squashfs-tools
SEED ?= 7
SOAK_MINUTES ?= 30
FUZZ_MINUTES ?= 25
IMAGE_PACKAGES := mmdebstrap arch-test qemu-user-static debian-archive-keyring squashfs-tools mtools dosfstools \
    e2fsprogs fdisk device-tree-compiler kmod cpio zstd xz-utils
IMAGE_TEST_PACKAGES := qemu-system-arm ipxe-qemu mtools e2fsprogs device-tree-compiler zbar-tools go-sendxmpp \
    openssh-client iproute2
CUTS ?= 5
UNITS_PACKAGES := systemd-container mmdebstrap debian-archive-keyring openssl
BOARD_PACKAGES := qemu-system-arm mmdebstrap device-tree-compiler debian-archive-keyring
PIP := $(BIN)/pip --quiet --disable-pip-version-check install

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help .venv check test attacks fuzz faults faults-quick soak interop test-board test-units test-image bench-board deb image demo bench bench-quick \
    lock clean prosody fault-tools firmware-tools

help:  ## list these targets
	@sed -n 's/^\([a-z.-]*\):.*  ## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

.venv: .venv/.complete  ## make the virtual environment from the hash-locked requirements

check: .venv  ## lint (ruff, nearly all rules) and types (mypy --strict)
	$(BIN)/ruff check
	$(BIN)/mypy

test: .venv fault-tools firmware-tools  ## all tests, those against a real Prosody on loopback included
	$(RUN) -m pytest --numprocesses 5 --dist loadfile

attacks: .venv prosody  ## hostile servers, strangers and neighbours against a whole node: no output moves, nobody learns
	$(RUN) -m pytest tests/attacks --numprocesses 3 --dist loadfile

# Beside .venv, not in it: 35 MB for this one target, and only for x86-64.
fuzz: .venv build/fuzz/.complete  ## by hand: whatever may come in, led by coverage, FUZZ_MINUTES=25 of it; build/fuzz/report.txt
	PYTHONPATH=build/fuzz/packages $(RUN) -m tests.fuzz.run --minutes $(FUZZ_MINUTES) --seed $(SEED)

faults: .venv fault-tools  ## 10,000 events over 200 faults (SEED=7), MQTT beside it, then what else can go wrong: an hour
	@bench/debian-packages ejabberd mosquitto
	$(RUN) -m tests.faults.run --seed $(SEED)
	$(RUN) -m pytest tests/faults --long

faults-quick: .venv fault-tools  ## the quick part of it, which `make test` has as well
	$(RUN) -m pytest tests/faults

soak: .venv fault-tools  ## memory, descriptors and threads over half an hour (SOAK_MINUTES=30) of readings and faults
	$(RUN) -m tests.faults.soak --minutes $(SOAK_MINUTES) --seed $(SEED)

interop: .venv  ## the node on Prosody and on ejabberd, through other people's clients, fifty nodes in a room
	@bench/debian-packages prosody ejabberd python3-nbxmpp go-sendxmpp profanity tmux
	$(RUN) -m pytest tests/interop

test-board: .venv prosody  ## real lines of a real kernel, without a Raspberry Pi: both halves in an emulated arm64 board
	@bench/debian-packages $(BOARD_PACKAGES)
	$(RUN) -m pytest tests/board --numprocesses 2 --dist worksteal

# The first card alone: of it times are compared. A building of the image comes before, when there is none of this recipe.
test-image: .venv prosody image  ## the image starts on emulated machines, from a flashed card to an answer in chat; CUTS=5
	@bench/debian-packages $(IMAGE_TEST_PACKAGES)
	$(RUN) -m pytest tests/image/test_node.py --seed $(SEED)
	$(RUN) -m pytest tests/image --ignore tests/image/test_node.py --seed $(SEED) --cuts $(CUTS) --numprocesses 2 --dist loadfile

# As root: it boots Debians. Those are made at the first time, which takes a minute or two, and kept in ~/.cache/knoop.
test-units: .venv prosody  ## the units and the package in Debian 12 and 13 that are booted by systemd-nspawn; needs root
	@bench/debian-packages $(UNITS_PACKAGES)
	$(RUN) -m tests.units.roots
	$(RUN) -m pytest tests/units --numprocesses 2 --dist worksteal

deb: .venv  ## Debian packages for 12 and 13 into dist/, for this machine's architecture or ARCH=arm64|amd64
	@command -v dpkg-deb >/dev/null || bench/debian-packages dpkg
	for suite in bookworm trixie; do $(RUN) systemd/deb/build.py --suite $$suite $(if $(ARCH),--arch $(ARCH)) || exit 1; done

bench-board: .venv  ## what lines cost on the emulated board, by gpiod and by lgpio: ratios
	@bench/debian-packages $(BOARD_PACKAGES)
	$(RUN) -m tests.board.bench

image: .venv  ## as root: build/image/knoop-….img for an SD card, 10 minutes the first time, then two
	@bench/debian-packages $(IMAGE_PACKAGES)
	PYTHONPATH=firmware $(RUN) -m knoop_firmware.build

demo: .venv prosody  ## a private server and a node with real readings: chat with it, or watch the tour (</dev/null)
	$(RUN) -m knoop_bench.demo

bench: .venv prosody  ## measure stanzas, CPU and memory against a private Prosody, and every driver
	$(BIN)/knoop bench --local
	$(BIN)/knoop bench --drivers
	$(RUN) -m pytest tests/bench/test_benchmarks.py tests/bench/test_driver_benchmarks.py \
	    --benchmark-enable --benchmark-timer=time.process_time --benchmark-columns=min,median,rounds --benchmark-warmup=on -q

bench-quick: .venv prosody  ## the same in a minute: ratios only
	$(BIN)/knoop bench --local --quick
	$(BIN)/knoop bench --drivers --quick

lock: .lock/bin/uv  ## write requirements*.txt anew from pyproject.toml
	bench/lock .lock/bin/uv

clean:  ## remove everything that make made
	rm -rf .venv .lock .demo build dist .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find bench hw node tests -name __pycache__ -type d -prune -exec rm -rf {} +

prosody:
	@bench/debian-packages prosody

fault-tools:
	@bench/debian-packages $(FAULT_PACKAGES)

firmware-tools:
	@bench/debian-packages $(FIRMWARE_PACKAGES)

# Two steps, so that a change of pyproject.toml does not fetch everything again.
.venv/.packages: requirements-build.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Knoop needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): name another with \`make PYTHON=…\`." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || bench/debian-packages python3-venv
	$(PYTHON) -m venv --clear .venv
	$(PIP) --require-hashes --only-binary :all: -r requirements-build.txt
	$(PIP) --require-hashes --no-build-isolation --use-pep517 -r requirements-dev.txt
	@touch $@

.venv/.complete: .venv/.packages pyproject.toml
	$(PIP) --no-deps --no-build-isolation --no-index -e .
	@touch $@

build/fuzz/.complete: requirements-fuzz.txt .venv/.packages | .venv/.complete
	@rm -rf build/fuzz/packages && mkdir -p build/fuzz
	$(PIP) --require-hashes --only-binary :all: --target build/fuzz/packages -r requirements-fuzz.txt
	@touch $@

.lock/bin/uv:
	$(PYTHON) -m venv --clear .lock
	.lock/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
