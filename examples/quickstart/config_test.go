package main

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	c, err := parse(nil)
	require.NoError(t, err)
	require.Equal(t, config{run: 15 * time.Second, jobs: 29, nodes: 3}, c)

	c, err = parse(strings.Fields("-etcd http://a:1,https://b:2,c:3,[::1]:4 -for 1m -jobs 7 -nodes 2 -records dir"))
	require.NoError(t, err)
	require.Equal(t, config{
		etcd: []string{"http://a:1", "https://b:2", "c:3", "[::1]:4"},
		run:  time.Minute, jobs: 7, nodes: 2, records: "dir",
	}, c)

	_, err = parse([]string{"-h"})
	require.ErrorIs(t, err, flag.ErrHelp)
}

func TestParseRefusesWhatCannotWork(t *testing.T) {
	for args, want := range map[string]string{
		"-jobs 0":                   "-jobs 0: must be from 1 to 1000",
		"-jobs 1001":                "-jobs 1001: must be from 1 to 1000",
		"-jobs many":                `invalid value "many" for flag -jobs`,
		"-nodes 0":                  "-nodes 0: must be from 1 to 9",
		"-nodes 10":                 "-nodes 10: must be from 1 to 9",
		"-for 3s":                   "-for 3s: must be at least 4s",
		"-for -1m":                  "-for -1m0s: must be at least 4s",
		"-for 5":                    `invalid value "5" for flag -for`,
		"-etcd=":                    `invalid value "" for flag -etcd: must be URLs such as`,
		"-etcd http://a:1,":         "must be URLs",
		"-etcd ftp://a:1":           "must be URLs",
		"-etcd http://a":            "must be URLs",
		"-etcd http://a:1/registry": "must be URLs",
		"-verbose":                  "flag provided but not defined: -verbose",
		"now":                       `unexpected argument "now"`,
	} {
		_, err := parse(strings.Fields(args))
		require.ErrorContains(t, err, want, args)
	}
}
