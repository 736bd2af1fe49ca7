// Command server is etcd, or kube-apiserver, for the tests of the module kubernetes:
//
//	server etcd --flags
//	server apiserver --flags
//
// It is a module of its own, as only a main module can say where Kubernetes finds the
// parts of itself.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "etcd" {
		etcdmain.Main(append([]string{"etcd"}, os.Args[2:]...))
		return
	}
	os.Args = append([]string{"kube-apiserver"}, os.Args[2:]...)
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
