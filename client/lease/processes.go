package lease

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Errors of [Shared.Check].
var (
	// ErrNotShared says that the pod's containers do not share their processes.
	ErrNotShared = errors.New("the processes of the other containers are not to be seen: the pod needs shareProcessNamespace: true")
	// ErrHost says that all processes of the machine would be ended.
	ErrHost = errors.New("these are the processes of the whole machine: a pod with hostPID, or no pod at all, can have no lease")
)

// Shared finds the processes of a pod whose containers share a process namespace: all
// but the first one, which holds the namespace, this one, and threads of the kernel.
type Shared struct {
	// Proc is where /proc is mounted.
	Proc string
	// Self is the process that is spared.
	Self int
}

// hostNamespace is what Linux calls the first process namespace of a machine
// (PROC_PID_INIT_INO): all processes of the machine are in it.
const hostNamespace = "pid:[4026531836]"

// Check finds out whether the namespace is one that a pod's containers share, and not
// the machine's.
func (s Shared) Check() error {
	if s.Self == 1 {
		return ErrNotShared
	}
	namespace, err := os.Readlink(s.Proc + "/self/ns/pid")
	if err != nil {
		return fmt.Errorf("process namespace: %w", err)
	}
	if namespace == hostNamespace {
		return ErrHost
	}
	return nil
}

// Others implements [Config.Others].
func (s Shared) Others() ([]Process, error) {
	entries, err := os.ReadDir(s.Proc)
	if err != nil {
		return nil, fmt.Errorf("processes: %w", err)
	}
	var others []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 || pid == s.Self {
			continue
		}
		stat, err := os.ReadFile(s.Proc + "/" + e.Name() + "/stat")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		// PID (NAME) STATE …, and a name may have anything in it.
		at := strings.LastIndexByte(string(stat), ')')
		if at > 0 && at+2 < len(stat) && strings.ContainsRune("ZX", rune(stat[at+2])) {
			continue // it has ended
		}
		_, name, _ := strings.Cut(string(stat[:max(0, at)]), "(")
		others = append(others, other{pid, name})
	}
	return others, nil
}

type other struct {
	pid  int
	name string
}

func (o other) Check() error     { return o.signal(0) }
func (o other) Terminate() error { return o.signal(syscall.SIGTERM) }
func (o other) Kill() error      { return o.signal(syscall.SIGKILL) }
func (o other) String() string   { return fmt.Sprintf("%d (%s)", o.pid, o.name) }

func (o other) signal(s syscall.Signal) error {
	err := syscall.Kill(o.pid, s)
	if err == nil || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return fmt.Errorf("process %s can not be ended, run it as the same user: %w", o, err)
}
