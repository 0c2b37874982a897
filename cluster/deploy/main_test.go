package deploy

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// folder is for what all tests share.
var folder string

const (
	patience = 30 * time.Second
	tick     = 10 * time.Millisecond
)

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "keysteward-deploy-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

func wrap(err error, out []byte) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", err, out)
}
