# Needs a Python from 3.10 on and make; everything else is installed into .venv, without root.

# Nothing here depends on a PYTHON* variable of the caller's, and nothing passes with the help of one.
$(foreach name,$(filter PYTHON%,$(.VARIABLES)),$(eval unexport $(name)))

# What .venv is made from. A version manager's python3.11 may be on PATH and still not run, so it is asked.
IS_USABLE := import sys; sys.exit(sys.version_info < (3, 10))
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3.10 python3.15 python3
PYTHON ?= $(shell for name in $(PYTHONS); do "$$name" -c '$(IS_USABLE)' 2>/dev/null && echo "$$name" && break; done)

VENV_PYTHON := .venv/bin/python
VENV_READY := .venv/.ready
VENV_DEMO := .venv/.demo
VENV_CLI := .venv/.cli
VENV_FUZZ := .venv/.fuzz

.PHONY: help demo test test-pythons fetch-python test-python fetch-arm64 test-arm64 test-short soak-guest fuzz audit bench bench-check bench-instructions bench-profile soak lint layer release publish clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { \
		line = sprintf("  make %-19s", $$1); count = split($$2, words, " "); \
		for (each = 1; each <= count; each++) { \
			if (length(line) + length(words[each]) > 78) { print line; line = sprintf("%26s", "") } \
			line = line " " words[each] \
		} print line }' $(MAKEFILE_LIST)

# By the environment, where make puts what it is given: a name may have a quote in it.
OWN := $(if $(FUNCTION),--function "$$FUNCTION" $(if $(HANDLER),--handler "$$HANDLER") $(if $(EVENT),--event "$$EVENT"))
STORY := $(if $(FAULT),"$$FAULT") $(if $(MODE),--mode="$$MODE")

demo: $(VENV_DEMO) ## See a small function's lines reach Sumo Logic, on this machine (FAULT=outage|throttle|kill|timeout|debug, MODE=snapstart|managed|durable), or your own (FUNCTION=app.py HANDLER=handler EVENT=event.json)
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m $(if $(OWN),demo.own $(OWN),demo.run $(STORY))

# The tests start many processes: more workers than this slow each other down. Some of what they try is a race with the
# machine (a freeze, a kill, a hold of two seconds): what has failed beside others is run once more, alone, and has to pass.
PYTEST := "$(VENV_PYTHON)" -m pytest
PARALLEL := --numprocesses auto --maxprocesses 4 --dist worksteal
ALONE := { echo "what has failed is run once more, alone"; $(PYTEST) --last-failed --last-failed-no-failures none; }

test: $(VENV_READY) ## Run the whole test suite, and its in-process part on every other Python of this machine
	$(PYTEST) $(PARALLEL) || $(ALONE)
	@$(MAKE) --no-print-directory test-pythons

test-pythons: $(VENV_READY) ## Run the in-process part of the tests on every other Python of this machine
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m each_python

# The newest Pythons are in no stable distribution: their packages are unpacked into .cache, where the build finds them too.
ON_ONE := $(addprefix tests/test_,$(addsuffix .py,main_path kills modes costs encoding capture durable_path hostile))

fetch-python: $(VENV_READY)
	@PYTHONPATH=.:tools "$(VENV_PYTHON)" -m debian_python --unless-found $(or $(VERSION),$(error VERSION=3.14, for example))

test-python: fetch-python ## Run the in-process tests and the main path on one Python, fetched if need be (VERSION=3.14)
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m each_python --only $(VERSION)
	$(PYTEST) $(PARALLEL) -k "py$(VERSION)- or zstd" $(ON_ONE) || $(ALONE)

fetch-arm64: $(VENV_READY)
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m arm64

test-arm64: fetch-arm64 ## Run the main path, a kill and SHUTDOWN on an aarch64 Python, under emulation
	$(PYTEST) tests/test_arm64.py

# What has failed on machines that are not ours: commands, shells, terminals, users, paths.
SHORT := $(addprefix tests/test_,$(addsuffix .py,structure config launch next_wrapper main_path modes floors fleet examples readme demo))

test-short: $(VENV_READY) ## Run the part of the tests that depends on the machine and its user
	$(PYTEST) --quiet $(PARALLEL) $(SHORT) || $(ALONE)

soak: $(VENV_READY) ## Ten minutes of random faults, and the books: is every line accounted for? (MINUTES=1, SEED=…, RUN=…)
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m soak.run --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(if $(RUN),--run $(RUN))

soak-guest: $(VENV_READY) ## Ten minutes of functions that do everything to themselves, with the layer and without (MINUTES=1, SEED=…)
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m soak.guest --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(addprefix --story=,$(STORY))

fuzz: $(VENV_FUZZ) ## Ten minutes of made-up bytes for every parser that meets bytes of others (MINUTES=1, ONLY=answer,events)
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m fuzz.run --minutes $(or $(MINUTES),10) $(if $(ONLY),--only $(ONLY))

bench: $(VENV_READY) ## Measure what the layer and its alternatives cost (QUICK=1, ONLY=log_info,print, KEEP=1, PEER_LAYER=FOLDER)
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m bench.run $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) $(if $(KEEP),--keep) \
		$(if $(PEER_LAYER),--layer '$(PEER_LAYER)' --variables '$(PEER_VARIABLES)')

bench-check: $(VENV_READY) ## Measure again what has a budget: what is over it, or worse than was kept? (QUICK=1, ONLY=…)
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m bench.run --check $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

bench-instructions: $(VENV_READY) ## Count the instructions of a start and of a line, with valgrind (FOLDER=an unpacked layer)
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m bench.instructions $(FOLDER)

bench-profile: $(VENV_READY) ## Show where the CPU of shipping goes, by part, function and (with strace) system call
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m bench.profiles
	PYTHONPATH=.:tools "$(VENV_PYTHON)" -m bench.shares

lint: $(VENV_READY) ## Check style (ruff) and types (mypy)
	"$(VENV_PYTHON)" -m ruff check
	"$(VENV_PYTHON)" -m mypy

layer: $(VENV_CLI) ## Build layer/dist/sumo-internal-extension.zip
	"$(VENV_PYTHON)" -m layer.build

release: $(VENV_READY) ## Build a release of what is committed into layer/dist/release: layer, bill of materials, wheel, sdist, sums
	"$(VENV_PYTHON)" -m layer.release $(if $(MISSING_IS_FINE),--missing-is-fine)

audit: $(VENV_READY) ## Ask whether a vulnerability is known of what the layer carries
	"$(VENV_PYTHON)" -m layer.advisories

publish: layer ## Put the layer into regions of your AWS account (REGIONS="eu-west-1 us-east-1", PUBLIC=1)
	"$(VENV_PYTHON)" -m sumo_internal publish $(addprefix --region ,$(REGIONS)) $(if $(PUBLIC),--public)

clean: ## Remove everything that these commands have made
	rm -rf .cache .hypothesis .venv build layer/dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# install EXTRA: what an extra needs, into .venv. What pip has to say goes into a file: it is a page where there is no network.
INSTALL_LOG := .venv/install.log
install = "$(VENV_PYTHON)" -m pip install --quiet --disable-pip-version-check --editable '.[$(1)]' 2>$(INSTALL_LOG) || \
	{ echo "it could not be installed; is there a way to a package index? $(INSTALL_LOG) has pip's own words" >&2; exit 1; }

# What the demo needs is an eighth of what the tests need, and what puts the layer into an account a quarter.
$(VENV_DEMO): setup.cfg pyproject.toml | .venv/bin/python
	@echo "installing what the demo needs into .venv (half a minute, 40 MB; once)"
	@$(call install,demo)
	@touch $@

$(VENV_READY): setup.cfg pyproject.toml | .venv/bin/python
	@echo "installing what the commands need into .venv (about a minute, 300 MB; once)"
	@$(call install,dev)
	@touch $@ $(VENV_DEMO) $(VENV_CLI)

$(VENV_CLI): setup.cfg pyproject.toml | .venv/bin/python
	@echo "installing what the layer's commands need into .venv (half a minute, 80 MB; once)"
	@$(call install,cli)
	@touch $@ $(VENV_DEMO)

$(VENV_FUZZ): $(VENV_READY)
	@$(call install,fuzz)
	@touch $@

# Interrupted, make removes the file that it was to make, and the next call begins anew; a traceback says no more.
.venv/bin/python:
	@mkdir -p .venv
	@echo "making .venv with $(PYTHON)"
	@"$(or $(PYTHON),$(error Python 3.10 or later is needed on PATH (python3.10 to python3.15, or python3); or name one: make PYTHON=/path/to/python3))" -m venv .venv 2>$(INSTALL_LOG) || { tail -n 1 $(INSTALL_LOG) >&2; exit 1; }
