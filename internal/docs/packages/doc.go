// Package packages says what code in the documentation may use without importing
// it: see packages.go. It is a module of its own, so that no other needs all that.
package packages
