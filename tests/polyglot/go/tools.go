//go:build tools

// Package polyglot pins the code generators in go.mod, next to the libraries that they belong to.
package polyglot

import (
	_ "google.golang.org/grpc/cmd/protoc-gen-go-grpc"
	_ "google.golang.org/protobuf/cmd/protoc-gen-go"
)
