# Short targets; everything they need they make. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV := $(VENV)/.dev
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps
# The pins are complete: a resolver beside them could only look for newer releases, and fails when it finds one.
LOCKED := $(PIP) --require-hashes
SEEDS ?= 1-2000
SECONDS ?= 60
FUZZ ?= 100000
SUDO := $(shell [ $$(id -u) = 0 ] || echo sudo)
NODES ?= 3
CHURN_SECONDS ?= 600
FENCING_SECONDS ?= 300
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' cqueue/__init__.py)
TAG ?= v$(VERSION)
IMAGE ?= ghcr.io/cqueue/cqueue
DOCS := $(VENV)/.docs
LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: help run cluster test lint format types layers unit contract manual probe simulate docker browser screenshots faults fuzz churn fencing bench scale soak audit lock changelog clean \
	docs docs-serve tools package publish login image push-image github-release check-tag

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

run: $(READY) ## serve a queue on localhost:3000
	@exec $(BIN)/cqueue serve

cluster: $(READY) ## serve a three-node cluster on ports 3001 to 3003
	@exec $(BIN)/cqueue dev

test: lint types layers unit ## lint, types, layers and all tests

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(DEV) ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(DEV)
	$(BIN)/mypy

layers: $(DEV)
	$(BIN)/lint-imports

unit: $(DEV)
	$(BIN)/pytest -n 2 tests/core --cov=cqueue.core --cov-report=term-missing:skip-covered --cov-fail-under=100
	$(BIN)/pytest -n 2 -m "not contract" --ignore=tests/core --ignore=tests/docker --ignore=tests/browser tests

contract: $(DEV) ## write docs/openapi.json anew
	$(BIN)/python -m tests.contract.write

manual: $(DEV) ## write docs/cli.md anew
	$(BIN)/python -m tests.cli.manual

probe: $(DEV) ## ask a served node for a minute whether it keeps its contract
	$(BIN)/pytest -n 2 -m contract tests/contract

simulate: $(READY) ## run thousands of simulated clusters: SEEDS=1-2000 SECONDS=60 NODES=3
	$(BIN)/cqueue simulate --seed $(SEEDS) --seconds $(SECONDS) --nodes $(NODES)

docker: $(DEV) ## tests with a real Docker engine
	tests/docker/engine.sh $(BIN)/pytest -m docker tests/docker

browser: $(DEV) ## tests with pages in a real browser
	tests/browser/chromium.sh
	$(BIN)/pytest -m browser tests/browser

screenshots: $(DEV) ## take the pictures of the page at /ui anew, into docs/images
	tests/browser/chromium.sh
	$(BIN)/python -m tests.browser.screenshots

bench: $(DEV) ## measure this machine; prints ratios, writes bench-results.json
	$(BIN)/python -m benchmarks.bench

faults: $(DEV) ## real nodes under kill -9, SIGSTOP and cut links for a minute; as root, or without cut links
	FAULTS_SECONDS=60 $(BIN)/pytest -s tests/cluster/test_history.py

fuzz: $(DEV) ## odd input on every port of real nodes, so many of each kind: FUZZ=100000
	FUZZ=$(FUZZ) $(BIN)/pytest -s tests/fuzz

churn: $(DEV) ## consumers that hang up and are killed, and leaders that change, for ten minutes: CHURN_SECONDS=600
	CHURN_SECONDS=$(CHURN_SECONDS) $(BIN)/pytest -s tests/cluster/test_churn.py

fencing: $(DEV) ## workers and nodes under kill -9, SIGSTOP and cut links, effects counted, for five minutes: FENCING_SECONDS=300
	FENCING_SECONDS=$(FENCING_SECONDS) $(BIN)/pytest -s tests/cluster/test_fencing.py

scale: $(DEV) ## a million jobs, waiting consumers, failover, overload and the price of syncing; writes scale-results.json
	$(BIN)/python -m benchmarks.depth
	$(BIN)/python -m benchmarks.million
	$(BIN)/python -m benchmarks.failover
	$(BIN)/python -m benchmarks.fsync
	$(BIN)/python -m benchmarks.waiting
	$(BIN)/python -m benchmarks.auth
	$(BIN)/python -m benchmarks.scrape
	$(BIN)/python -m benchmarks.overload

soak: $(DEV) ## three nodes under full load for ten minutes; writes scale-results.json
	$(BIN)/python -m benchmarks.soak

audit: $(DEV) ## ask PyPI for known holes in pinned packages; STRICT=1 fails where it does not answer
	$(BIN)/python requirements/audit.py $(if $(STRICT),--strict)

lock: $(DEV) ## pin requirements/*.txt anew
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) requirements/build.in -o requirements/build.txt
	$(LOCK) pyproject.toml --group dev -c requirements/run.txt -o requirements/dev.txt
	$(LOCK) --group docs -c requirements/dev.txt -o requirements/docs.txt

changelog: $(DEV) ## write CHANGELOG.md from the commits
	$(BIN)/git-cliff -o CHANGELOG.md

docs: $(DOCS) ## build the documentation site into site/; a dead link fails it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: $(DOCS) ## serve the documentation on localhost:8000, anew with each change
	@exec $(BIN)/mkdocs serve

tools: ## install what some tests ask for beside Python: HAProxy, jq, promtool (Debian or Ubuntu)
	$(SUDO) apt-get -q update
	$(SUDO) apt-get -q install -y --no-install-recommends haproxy jq prometheus

check-tag:
	@test "$(TAG)" = "v$(VERSION)" || { echo "the tag is $(TAG), and cqueue/__init__.py says $(VERSION)" >&2; exit 1; }

package: $(DEV) check-tag ## make the wheel and the source distribution in dist/
	rm -rf dist
	$(BIN)/uv build -q --build-constraint requirements/build.txt --require-hashes

publish: $(DEV) ## put dist/ on PyPI; in a workflow that PyPI trusts, without a password
	$(BIN)/uv publish --trusted-publishing automatic

image: check-tag ## build the image for this machine
	docker build -t $(IMAGE):$(VERSION) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) .

login:
	@docker login $(firstword $(subst /, ,$(IMAGE))) --username "$(REGISTRY_USER)" --password-stdin

push-image: check-tag ## build the image with its provenance and parts list, and put it into the registry
	docker buildx inspect cqueue >/dev/null 2>&1 || docker buildx create --name cqueue --driver docker-container
	docker buildx build --builder cqueue --push --provenance mode=max --sbom true \
		-t $(IMAGE):$(VERSION) -t $(IMAGE):latest \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) .

github-release: $(DEV) check-tag
	$(BIN)/git-cliff --latest --strip header | gh release create "$(TAG)" --verify-tag --title "$(TAG)" --notes-file -

clean: ## remove what the targets made
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .coverage*

$(READY): requirements/run.txt requirements/build.txt pyproject.toml
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) ..."
	@$(LOCKED) -r requirements/build.txt
	@$(LOCKED) --no-build-isolation -r requirements/run.txt
	@$(PIP) --no-build-isolation -e .
	@touch $@

$(DOCS): requirements/docs.txt $(READY)
	@$(LOCKED) -r requirements/docs.txt
	@touch $@

$(DEV): requirements/dev.txt $(READY)
	@$(LOCKED) -r requirements/dev.txt
	@$(BIN)/python -m pip check -q --disable-pip-version-check
	@touch $@
