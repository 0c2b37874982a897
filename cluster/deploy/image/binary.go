package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
)

// machines are the architectures that images are made for, by Go's names.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// readBinary reads a program and makes sure that it can run in an image that has
// nothing else: it is for Linux on that architecture and needs no loader.
func readBinary(path, arch string) ([]byte, error) {
	machine, known := machines[arch]
	if !known {
		return nil, fmt.Errorf("%s: no architecture that images are made for (amd64, arm64)", arch)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the binary for %s: %w", arch, err)
	}
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, fmt.Errorf("%s is no program for Linux: %w", path, err)
	}
	if file.Machine != machine {
		return nil, fmt.Errorf("%s is for %s, not for %s", path, file.Machine, arch)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s is linked dynamically: there are no libraries in the image", path)
		}
	}
	return program, nil
}
