.PHONY: test race lint quickstart assets ci

test: ## run the tests, as the README says
	go test ./...

race: ## run the tests with the race detector, in random order
	bash .ci/run race

lint: ## check formatting and run the linters
	bash .ci/run format vet lint

quickstart: ## see it work
	go run ./examples/quickstart

assets: ## record the pictures of the README, with Chromium
	cd examples/record && go run . ../../assets

ci: ## all that must hold before a change lands
	bash .ci/run
