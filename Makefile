.DEFAULT_GOAL := help
PY := .venv/bin/python
# A file's tests stay together, in one process: what they share is started once. What waits for
# real servers comes first. The third process steps back for the others, and gets no tests about
# time, which fail where more processes than a small machine has cores are equals (tests/sharing.py).
PARALLEL := --tx 2*popen --tx popen//nice=5 --max-worker-restart=8 --dist loadfile --no-loadscope-reorder
# What was compiled is kept, whatever the machine is used to: hundreds of services are started.
export PYTHONDONTWRITEBYTECODE :=
.PHONY: help setup setup-dev run demo demo-sip test search coverage unit lint style types compiled tests-alone types-meanwhile base-meanwhile format bare bench bench-sip bench-registry bench-many bench-docs bench-stalls bench-overload eval eval-full eval-structure mutants docs lock clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 18

setup: ## Make the virtual environment from the lock
	@scripts/setup run

setup-dev:
	@scripts/setup dev

run: setup ## Set everything up, make the demonstration calls, keep serving
	@.venv/bin/zhenxian demo --keep-serving

demo: setup ## Make the demonstration calls; fails if a verdict is not the expected one
	@.venv/bin/zhenxian demo

demo-sip: setup-dev ## Calls through two Kamailios and a hostile middle, then 300 a second for a minute
	@scripts/peers sip
	@$(PY) -m bench.sip.demo

test: setup-dev ## Checks and the whole test suite, with real peers; or TESTS="tests/unit/certs"
	@scripts/peers test
	@$(MAKE) --no-print-directory -j 2 --output-sync style compiled
	@$(MAKE) --no-print-directory -j 3 tests-alone types-meanwhile base-meanwhile; \
		status=$$?; cat build/types.txt; exit $$status

search: setup-dev ## Property tests with new examples: finds what the same ones of make test do not
	@scripts/peers test
	@HYPOTHESIS_PROFILE=search scripts/in-memory $(PY) -m pytest -q $(PARALLEL) $$(grep -rl 'hypothesis\|schemathesis' tests --include='test_*.py')

coverage: setup-dev ## The whole suite again, slower, and which lines and branches no test reached
	@scripts/peers test
	@scripts/in-memory $(PY) -m pytest -q $(PARALLEL) --cov --cov-report=term:skip-covered

unit: setup-dev ## Only the tests that need no socket and no peer
	@scripts/in-memory $(PY) -m pytest -q $(PARALLEL) tests/unit tests/property tests/test_vectors.py

lint: setup-dev ## Style, types, import arrows, Dockerfile, generated pages
	@$(MAKE) --no-print-directory style types

style:
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/lint-imports
	@.venv/bin/hadolint Dockerfile
	@$(PY) -m scripts.reference --check

types:
	@.venv/bin/mypy

# What these two need of the cores is what tests that wait leave. A base that could not be made is
# made once more by the test that needs it, which then says why it could not.
tests-alone:
	@scripts/in-memory $(PY) -m pytest -q --durations=20 $(PARALLEL) $(TESTS)

types-meanwhile:
	@mkdir -p build
	@nice -n 5 .venv/bin/mypy --no-error-summary >build/types.txt

base-meanwhile:
	@[ -n "$(TESTS)" ] || PYTHONPATH=tests/e2e nice -n 5 $(PY) -m container >/dev/null 2>&1 || true

# So that test processes do not compile the same tests at the same time.
compiled:
	@$(PY) -m pytest -qq --collect-only $(TESTS) >/dev/null || true

format: setup-dev ## Bring the code into the common form
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bare: ## Try the README's two commands on a new Debian 12, as root and as an ordinary user
	@scripts/bare

bench: setup-dev ## Measure against secsipidx and OpenSSL, then all of bench-many; half an hour
	@scripts/peers bench
	@$(PY) -m bench
	@$(MAKE) --no-print-directory bench-many

bench-sip: setup-dev ## What the service adds to a call through two Kamailios, in some twenty minutes; writes build/bench-sip.json
	@scripts/peers bench-sip
	@$(PY) -m bench.sip

bench-registry: setup-dev ## The registry at 1, 10 and 100 million holdings; half an hour, 10 GB
	@$(PY) -m bench.registry

bench-many: setup-dev ## Two workers, a fleet's node, a nation; an open loop; start and memory; a fleet's exchange
	@scripts/peers bench
	@$(PY) -m bench.many
	@$(PY) -m bench.openloop
	@$(PY) -m bench.start
	@$(PY) -m bench.exchange

bench-docs: setup-dev ## Put what make bench measured last into docs/performance.md
	@$(PY) -m bench --update-docs
	@$(PY) -m bench.many --update-docs
	@$(PY) -m bench.openloop --update-docs
	@$(PY) -m bench.start --update-docs
	@$(PY) -m bench.exchange --update-docs

bench-stalls: setup-dev ## How much administration slows calls; two minutes
	@$(PY) -m bench.stalls

bench-overload: setup-dev ## What others wait while three times as many calls come as can be answered
	@$(PY) -m bench.overload

eval: setup-dev ## Who is labelled, lowered, refused, kind by kind; half an hour on two cores
	@$(PY) -m bench.evaluation.stages

eval-full: setup-dev ## The same with 1,000 callers of each honest kind; stopped, it goes on where it was
	@$(PY) -m bench.evaluation.stages --full

eval-structure: setup-dev ## How well the spread of displays alone finds pools; ten minutes
	@$(PY) -m bench.evaluation

mutants: setup-dev ## Mutate one check at a time; report which mutants no test notices
	@$(PY) -m scripts.mutants

docs: setup-dev ## Regenerate the reference pages (settings, reasons, permissions, states of a node)
	@$(PY) -m scripts.reference

lock: setup-dev ## Resolve the dependencies anew
	@$(PY) -m pip install -q uv
	@.venv/bin/uv pip compile -q --upgrade --no-strip-extras --generate-hashes --python-version 3.11 --no-emit-index-url --extra build pyproject.toml -o requirements.lock
	@.venv/bin/uv pip compile -q --upgrade --no-strip-extras --generate-hashes --python-version 3.11 --no-emit-index-url --extra build --extra aws-lc --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	@.venv/bin/uv pip compile -q --upgrade --no-strip-extras --generate-hashes --python-version 3.11 --no-emit-index-url --extra build --extra aws-lc -c requirements.lock pyproject.toml -o requirements-aws-lc.lock
	@.venv/bin/uv pip compile -q --upgrade --no-strip-extras --generate-hashes --python-version 3.11 --no-emit-index-url --group client -o requirements-client.lock

clean: ## Remove what was built; keeps data/
	@rm -rf .venv build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache mutants
