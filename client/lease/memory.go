package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// File is a [Memory] in a file, which is good for one boot of the machine and one pod.
type File struct {
	Name   string
	PodUID string
	// BootID names this boot of the machine; see [BootID].
	BootID string
}

type remembered struct {
	PodUID   string        `json:"podUid"`
	BootID   string        `json:"bootId"`
	Deadline time.Duration `json:"deadlineNs"` // since boot
	Wall     time.Time     `json:"deadline"`
}

// BootID reads what Linux calls this boot of the machine.
func BootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot ID: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// Load implements [Memory].
func (f File) Load() (Deadline, bool, error) {
	data, err := os.ReadFile(f.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return Deadline{}, false, nil
	}
	if err != nil {
		return Deadline{}, false, fmt.Errorf("read: %w", err)
	}
	var r remembered
	known := json.Unmarshal(data, &r) == nil && r.PodUID == f.PodUID && r.BootID == f.BootID
	return Deadline{r.Deadline, r.Wall}, known, nil // of another pod, or boot, nothing runs on
}

// Store implements [Memory].
func (f File) Store(d Deadline) error {
	data, err := json.Marshal(remembered{f.PodUID, f.BootID, d.Boot, d.Wall})
	if err != nil {
		return fmt.Errorf("remember the lease: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(f.Name), 0o700); err != nil {
		return fmt.Errorf("remember the lease: %w", err)
	}
	fresh := f.Name + ".new"
	if err := errors.Join(os.WriteFile(fresh, data, 0o600), os.Rename(fresh, f.Name)); err != nil {
		return fmt.Errorf("remember the lease: %w", err)
	}
	return nil
}
