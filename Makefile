.PHONY: test race lint quickstart ci

test: ## run the tests, as the README says
	go test ./...

race: ## run the tests with the race detector, in random order
	bash .ci/run race

lint: ## check formatting and run the linters
	bash .ci/run format vet lint

quickstart: ## see it work
	go run ./examples/quickstart

ci: ## all that must hold before a change lands
	bash .ci/run
