//go:build tools

// Package h2spec pins the tool in go.mod. Version 2.6.0 of it is no version that Go knows, since its module is named without
// a /v2: so it stands there as a commit.
package h2spec

import _ "github.com/summerwind/h2spec/cmd/h2spec"
