package main

import (
	"errors"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
)

// minFree is the flag --min-free-disk: as [node.Config.MinFreeDisk] has it.
type minFree struct {
	text  string
	bytes int64
}

var _ pflag.Value = (*minFree)(nil)

// String implements pflag.Value.
func (m *minFree) String() string { return m.text }

// Type implements pflag.Value.
func (m *minFree) Type() string { return "size" }

var errSize = errors.New("want a size such as 256Mi or 1Gi, or 0")

// Set implements pflag.Value.
func (m *minFree) Set(text string) error {
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() < 0 {
		return errSize
	}
	if m.text, m.bytes = text, q.Value(); m.bytes == 0 {
		m.bytes = -1
	}
	return nil
}
