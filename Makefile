# Trunkstream: `make` or `make help` lists what there is. Every target gets what it needs: as root by apt-get,
# otherwise it prints the one command to type.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
export PATH := $(HOME)/.cargo/bin:$(PATH)

CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
DEBUG_BINARY := $(CARGO_TARGET_DIR)/debug/trunkstream
RELEASE_BINARY := $(CARGO_TARGET_DIR)/release/trunkstream

# The Python of the pipecat bot in tests/end_to_end/pipecat.rs; the scanners of probes.rs stand beside it.
PIPECAT_PYTHON := $(CURDIR)/.venv/bin/python
export PIPECAT_PYTHON

# Recordings, figures and plots of `make quality`.
QUALITY_DIR := $(CARGO_TARGET_DIR)/quality
export QUALITY_DIR

BUILD_TOOLS := cc=gcc pkg-config=pkg-config pc:opus=libopus-dev
TEST_TOOLS := $(BUILD_TOOLS) python3=python3 python3-venv=python3-venv sipp=sip-tester tshark=tshark dumpcap=tshark \
	baresip=baresip-core nft=nftables ip=iproute2 openssl=openssl kamailio=kamailio sipsak=sipsak
QUALITY_TOOLS := $(BUILD_TOOLS) python3=python3 python3-venv=python3-venv python3-dev=python3-dev

.PHONY: help demo build release test test-rust test-slow sipp captures bench bench-media bench-floor quality docs lint fuzz \
	fmt deny build-tools test-tools quality-tools clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 24

demo: build-tools ## one call on this machine: caller, bridge and bot over real sockets; says whether the audio is intact
	@echo 'building (the first time takes some minutes) ...'
	cargo build --locked
	$(DEBUG_BINARY) demo

build: build-tools ## the debug binary
	cargo build --locked

release: build-tools ## the binary to run: target/release/trunkstream
	cargo build --locked --release

test: test-tools captures .venv/ready ## everything: unit tests, stories, SIPp scenarios, pipecat, Kamailio, scanners, captures
	cargo build --locked
	cargo test --locked --no-fail-fast

test-rust: build-tools ## only the tests that need no other tool
	cargo test --locked --lib --bins

test-slow: test-tools ## what takes minutes: SIP's 32 s timers, load, soak
	cargo build --locked --release
	sip-fixtures/run.sh --bridge $(RELEASE_BINARY) slow
	cargo test --locked --release --test churn

sipp: test-tools ## the SIPp scenarios alone
	cargo build --locked
	sip-fixtures/run.sh --bridge $(DEBUG_BINARY) fast

captures: test-tools ## pcap/ is what its generator makes, and tshark sees in it what its tables say
	python3 pcap/gen.py --check
	pcap/verify.sh

bench: build-tools ## every bench, those of `bench-media` among them; wants a quiet machine
	cargo build --locked --release
	VARIANTS=all cargo bench --locked --no-fail-fast --bench '*'

bench-media: build-tools ## the bridge under load beside what it is measured by, about twenty minutes; one table, then what fails
	cargo build --locked --release
	VARIANTS=all cargo bench --locked --bench floor

bench-floor: build-tools ## the raw system-call loop beside the bridge, 500 calls; the last line is `ratio N.NN`
	cargo build --locked --release
	cargo bench --locked --bench floor

# One part of bench-media each; CALLS and SECONDS change the size.
bench-floor-1000: ## the same with 1000 calls
bench-floor-flat: ## the cost of a call at 100 and at 1000 calls
bench-floor-16k: ## a 16 kHz stream beside an 8 kHz one
bench-floor-wss: ## wss beside ws
bench-floor-20ms: ## 20 ms chunks beside 100 ms
bench-floor-yardstick: ## the bridge beside a plain tokio bridge, a task and an interval per call
bench-floor-shards: ## two media threads beside one
bench-floor-stall: ## the process stands still for 500 ms: echo delay before and after
bench-floor-flood: ## 64 datagrams at a time on one call's port: the others' pacing
bench-floor-loaded: ## SCHED_FIFO beside a busy loop on the same core
bench-floor-%: build-tools
	cargo build --locked --release
	VARIANTS=$(if $(filter 1000,$*),floor-1000,$*) cargo bench --locked --bench floor

quality: quality-tools .venv-quality/ready ## PESQ, STOI, delay, gaps: tables and plots in target/quality; fails where a gate does
	.venv-quality/bin/python benches/quality/report.py speech $(QUALITY_DIR)
	cargo bench --locked --profile dev --bench quality
	.venv-quality/bin/python benches/quality/report.py judge $(QUALITY_DIR)

# What cargo-fuzz passes, without the address sanitizer, which wants a nightly compiler: the targets hold no unsafe code.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing
FUZZ_HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
FUZZ_BINARIES := $(CURDIR)/fuzz/target/$(FUZZ_HOST)/release
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
# Executions of each target; a crash leaves its octets in fuzz/artifacts.
RUNS ?= 10000000

fuzz: build-tools ## every fuzz target, 10^7 executions each (RUNS=…); hours on one core, TARGETS=… names some
	@.ci/need g++=g++
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --locked --release --manifest-path fuzz/Cargo.toml --target $(FUZZ_HOST) --target-dir fuzz/target
	@for target in $(or $(TARGETS),$(FUZZ_TARGETS)); do \
		mkdir -p fuzz/corpus/$$target fuzz/artifacts/$$target fuzz/seeds/$$target; \
		echo "--- $$target"; \
		$(FUZZ_BINARIES)/$$target -runs=$(RUNS) -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=fuzz/artifacts/$$target/ fuzz/corpus/$$target fuzz/seeds/$$target || exit 1; \
	done

docs: build-tools ## the API documentation, warnings are errors: target/doc/trunkstream/index.html
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

lint: build-tools ## format and clippy, warnings are errors
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

fmt: ## formats the sources
	cargo fmt

deny: build-tools ## licences, advisories and sources of the dependencies
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check

clean: ## removes what was built, the Python environment too
	cargo clean
	rm -rf .venv .venv-quality

build-tools:
	@command -v cargo >/dev/null || { echo "Rust is missing: https://rustup.rs, then come back" >&2; exit 1; }
	@.ci/need $(BUILD_TOOLS)

test-tools: build-tools
	@.ci/need $(TEST_TOOLS)
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed, found $$(python3 --version)" >&2; exit 1; }
	@[ "$$(id -u)" -eq 0 ] || dumpcap -D >/dev/null 2>&1 || { \
		printf 'capturing and replaying need rights:\n\n  sudo setcap cap_net_raw,cap_net_admin=eip %s\n  sudo setcap cap_net_raw=eip %s\n\n' \
			"$$(command -v dumpcap || echo /usr/bin/dumpcap)" "$$(command -v sipp || echo /usr/bin/sipp)" >&2; exit 1; }

quality-tools: build-tools
	@.ci/need $(QUALITY_TOOLS)
	@.ci/need espeak-ng=espeak-ng || echo 'going on with the built-in voice'

.venv/ready: tests/pipecat/requirements.txt tests/sipvicious/requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check $(addprefix --requirement ,$^)
	touch $@

.venv-quality/ready: benches/quality/requirements.txt
	python3 -m venv .venv-quality
	.venv-quality/bin/pip install --quiet --disable-pip-version-check --requirement benches/quality/requirements.txt
	touch $@
