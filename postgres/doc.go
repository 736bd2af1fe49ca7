// Package postgres keeps the documents of [distributed] in PostgreSQL, 13 or newer,
// for services that have that and no etcd.
package postgres
