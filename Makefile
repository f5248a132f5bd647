# Everything that a user, a developer and continuous integration run.
# On a bare Debian 12 with Go, git and make, as root: `make demo`, `make test`.

GO       ?= go
BIN      := bin
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
GOTESTSUM := $(GO) run gotest.tools/gotestsum@v1.13.0
# Base images are made once and kept here; continuous integration keeps it within a run.
export INGOT_TEST_CACHE ?= $(CURDIR)/.cache/test

.DEFAULT_GOAL := help
.PHONY: help
help: ## Print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: $(BIN)/ingot $(BIN)/ingot-agent $(BIN)/ingot-agent-aws $(BIN)/ingot-agent.exe ## Build the daemon and its agents into bin/

.PHONY: $(BIN)/ingot $(BIN)/ingot-agent $(BIN)/ingot-agent-aws $(BIN)/ingot-agent.exe
$(BIN)/ingot:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/ingot
$(BIN)/ingot-agent $(BIN)/ingot-agent-aws: $(BIN)/%:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./cmd/$*
$(BIN)/ingot-agent.exe:
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./cmd/ingot-agent

.PHONY: demo
demo: packages-host build ## Show a commit become an image (ONCE=1: end by itself)
	$(BIN)/ingot demo $(if $(ONCE),--once)

# Installing half a distribution takes its time, so it has a target of its own.
LONG := /builder/gallery/.*test$$

.PHONY: test
test: packages-host packages-test build check ## The tests, but for those that follow; continuous integration runs all three
	FUZZJOBS=2 scripts/fuzz.sh 3s ./builder/component
	$(GOTESTSUM) --format pkgname --format-hide-empty-pkg -- -race -timeout 40m -p 2 $$($(GO) list ./... | grep -v '$(LONG)')

.PHONY: test-gallery
test-gallery: packages-host packages-test ## Every component of the gallery, run for real in containers and in a machine
	$(GOTESTSUM) --format pkgname -- -race -count 1 -timeout 40m ./builder/gallery/gallerytest
	$(GOTESTSUM) --format pkgname -- -race -count 1 -timeout 20m -run TestHardenedTwice ./builder/gallery/hardeningtest

.PHONY: compliance
compliance: packages-host packages-test ## Harden an image to each level, boot it, and print what a scanner finds
	$(GO) test -count 1 -timeout 90m -v ./builder/gallery/hardeningtest

.PHONY: test-aws
test-aws: packages-host packages-test ## The tests of access to AWS, against moto (from PyPI, pinned, in .cache/)
	@GOTESTSUM='$(GOTESTSUM)' scripts/test-aws.sh

.PHONY: test-image
test-image: packages-image ## Build the Dockerfile without an image registry, bring the Compose file up, build images in it
	scripts/check-dockerfile.sh

.PHONY: test-short
test-short: build check ## The tests that need no guest and no base image
	$(GOTESTSUM) --format pkgname --format-hide-empty-pkg -- -short -race ./...

# What runs inside of instances has to be right on their systems too.
AGENT := ./builder/component ./builder/agent ./cmd/ingot-agent

.PHONY: check
check: ## Format and vet, for Windows and macOS too
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted (run gofmt -w):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 $(GO) vet $(AGENT)
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/ingot-agent
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) vet $(AGENT)
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/ingot-agent

FUZZ ?= ./...
FUZZTIME ?= 1m
.PHONY: fuzz
fuzz: ## Fuzz all that reads foreign input (FUZZTIME=1m each, FUZZ=./... which packages)
	scripts/fuzz.sh $(FUZZTIME) $(FUZZ)

.PHONY: bench
bench: packages-host packages-bench build ## Measure against peers in the same run, print ratios (ARGS=-h: what to choose)
	scripts/bench.sh $(ARGS)

.PHONY: packages-host packages-test packages-bench packages-image
packages-host packages-test packages-bench packages-image: packages-%:
	@scripts/install-packages.sh $*

.PHONY: clean
clean: ## Remove what was built; caches stay
	rm -rf $(BIN)
