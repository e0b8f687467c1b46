// Command kubectl is kubectl's `kustomize` and nothing else of it: the same call into the same library at the version
// that kubectl 1.27 carries. tests/k8s builds it where the machine has no kubectl, or one that is too old for kustomize's
// components, as Debian 12's is. It builds with Debian 12's Go, in less than a minute; the whole of kubectl takes longer.
package main

import (
	"os"

	"github.com/spf13/cobra"
	"sigs.k8s.io/kustomize/kustomize/v5/commands/build"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() {
	root := &cobra.Command{Use: "kubectl", SilenceUsage: true}
	root.AddCommand(build.NewCmdBuild(filesys.MakeFsOnDisk(), build.MakeHelp("kubectl", "kustomize"), os.Stdout))
	if root.Execute() != nil {
		os.Exit(1)
	}
}
