package main

import (
	"cmp"
	"slices"
)

func sorted[T any](list []T, key func(T) string) []T {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	return list
}

// filter returns what is to be kept, never nil.
func filter[T any](list []T, keep func(T) bool) []T {
	kept := []T{}
	for _, v := range list {
		if keep(v) {
			kept = append(kept, v)
		}
	}
	return kept
}
