# `make` alone lists what there is. Variables: PORT_BASE, REPLICAS, CLOUDS, FLEET, REAP_EVERY_S, LEASE_S, OMS_HOME,
# OMS_FLEET (the fleet's name: two stacks that share clouds need two); a home remembers them, an empty one goes back to
# the default. Of `clean`: FORCE. Of `soak`: SECONDS, SEED, OPERATIONS. Of `long`: ONLY, as in ONLY="race or demo".
# Of `image`: BASE, TAG.
# PYTHON is another Python for any of them, by name or path, as in `make test PYTHON=python3.13`.

# Each version of Python that is named has an environment of its own; the machine's python3 has `.venv`.
ifeq ($(strip $(PYTHON)),)
INTERPRETER := python3
VENV := .venv
else
INTERPRETER := $(PYTHON)
VERSION := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
$(if $(VERSION),,$(error PYTHON=$(PYTHON) is no Python that starts: expected its name or path, as in PYTHON=python3.13))
VENV := .venv-$(VERSION)
endif
# Only what was given: one that is empty says something, too.
$(foreach it,PORT_BASE REPLICAS CLOUDS FLEET REAP_EVERY_S LEASE_S OMS_HOME OMS_FLEET FORCE,\
	$(if $(filter undefined,$(origin $(it))),,$(eval export $(it))))

# Tests that have a whole stack or a real OpenStack under them have the machine for themselves; all others go first,
# three at a time, and of these first the files that take longest: no worker is left alone with one of them in the end.
ALONE := tests/clouds tests/faults/churn tests/faults/hostility tests/faults/soak tests/e2e
LONGEST := tests/local tests/faults tests/gateway tests/api
OTHERS := $(filter-out $(LONGEST) $(ALONE) %__pycache__,$(patsubst %/,%,$(wildcard tests/*/)))

# Folders of scripts, some of which are named alike: mypy looks at each folder by itself.
SCRIPTS := infra/openstack-sim infra/openstack-lab infra/image

.DEFAULT_GOAL := help
.PHONY: help venv up demo status down test long soak bench check format lock imagelock image clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

venv: $(VENV)/.made ## the virtual environment, with everything that is needed

$(VENV)/.made: requirements.lock pyproject.toml
	@echo "installing into $(VENV)"
	@"$(INTERPRETER)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@test -x $(VENV)/bin/python || "$(INTERPRETER)" -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python -r requirements.lock
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --no-deps -e .
	@touch $@

up: venv ## start everything; again at any time: start what does not run, and anew what changed
	@$(VENV)/bin/python -m infra.local.stack up

demo: up ## up, then 45 instances over all regions, and ten destroyed
	@$(VENV)/bin/python -m infra.local.demo

status: venv ## what runs, and whether it answers
	@$(VENV)/bin/python -m infra.local.stack status

down: venv ## end what `up` started; the data stays
	@$(VENV)/bin/python -m infra.local.stack down

test: venv ## all tests, each with services of its own
	@$(VENV)/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder $(addprefix --ignore=,$(ALONE)) $(LONGEST) $(OTHERS)
	@$(VENV)/bin/pytest $(ALONE)

long: venv ## what takes minutes each on the real OpenStack: a race for the last slots, functions killed at random, ...
	@$(VENV)/bin/pytest -m long $(if $(ONLY),-k "$(ONLY)") tests/e2e tests/image

soak: venv ## load and every fault at once, for long; then everything has to add up
	@$(VENV)/bin/python -m tests.faults.soak.run --seconds $(or $(SECONDS),900) \
		--operations $(or $(OPERATIONS),5000) $(if $(SEED),--seed $(SEED))

bench: venv ## measurements, as ratios side by side; see bench/README.md
	@$(VENV)/bin/python bench/run.py

check: venv ## lint, formatting, types and import rules: what CI runs before the tests
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(foreach it,$(SCRIPTS),MYPYPATH=$(it):$(it)/inside $(VENV)/bin/mypy $(it) &&) true
	@$(VENV)/bin/lint-imports

format: venv ## mend what ruff can mend
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

LOCKED := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url

lock: venv ## lock the newest versions that pyproject.toml allows: of everything, and of what the image has
	@$(LOCKED) --upgrade --all-extras --group dev pyproject.toml -o requirements.lock
	@$(MAKE) --no-print-directory imagelock

# pbr names setuptools among its needs, and runs without.
imagelock: venv ## lock what the image has, at the versions of requirements.lock
	@$(LOCKED) --generate-hashes --constraint requirements.lock --no-emit-package setuptools \
		--extra functions pyproject.toml -o infra/image/requirements.lock
	@$(LOCKED) --generate-hashes --constraint requirements.lock --group build -o infra/image/build.lock

image: ## build the image of the functions with buildah; see docs/operating/image.md
	@"$(INTERPRETER)" infra/image/build.py $(if $(BASE),--base "$(BASE)") $(if $(TAG),--tag "$(TAG)")

clean: venv ## end every stack below this folder and forget all data
	@$(VENV)/bin/python -m infra.local.stack clean
