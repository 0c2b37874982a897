package local

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestMain also is every child that the tests start: a program that does what its
// first argument says.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		os.Exit(fakeChild(os.Args[1:]))
	}
	code := m.Run()
	if builtInto != "" {
		_ = os.RemoveAll(builtInto)
	}
	os.Exit(code)
}

func fakeChild(args []string) int {
	switch args[0] {
	case "server": // does what the file beside its data folder says
		for i, arg := range args {
			if arg == "--data-dir" {
				how, _ := os.ReadFile(filepath.Join(filepath.Dir(args[i+1]), "fake"))
				fmt.Println("fake server", strings.TrimSpace(string(how)))
				return fakeChild(append(strings.Fields(string(how)), "polite"))
			}
		}
		return 9
	case "exit":
		code, _ := strconv.Atoi(args[1])
		fmt.Fprintln(os.Stderr, "the fake exits with", code)
		return code
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		select {}
	case "polite":
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		fmt.Println("ready")
		<-asked
		return 0
	case "kms":
		return kmsPlugin(args[1], args[2])
	case "environment":
		fmt.Println(strings.Join(os.Environ(), "\n"))
		return 0
	case "parent": // starts a child, tells its PID, and waits to be killed
		s := newSpawner()
		cmd := exec.Command(os.Args[0], "stubborn") //nolint:gosec // ourselves
		cmd.SysProcAttr = childAttributes()
		if err := s.start(cmd); err != nil {
			return 8
		}
		fmt.Println(cmd.Process.Pid)
		select {}
	}
	return 9
}
