package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// place is a network namespace that lives as long as the thread that is in it, and the
// processes that this thread starts. Its only interface but loopback is device.
type place struct {
	device *os.File
	work   chan func()
	done   chan struct{}
}

// onThread does something on a thread that ends with it, and with which the kernel ends
// the processes that it started. The main thread never ends: it is held meanwhile.
func onThread(do func()) {
	runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
	if unix.Gettid() != unix.Getpid() {
		do()
		return
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		onThread(do)
	}()
	<-done
}

// newPlace makes a place with an address; own is this process's, which has its namespace.
func newPlace(address net.IP, own bool) (*place, error) {
	p := &place{work: make(chan func()), done: make(chan struct{})}
	ready := make(chan error)
	go onThread(func() {
		defer close(p.done)
		err := p.furnish(address, own)
		ready <- err
		if err != nil {
			return
		}
		for f := range p.work {
			f()
		}
	})
	if err := <-ready; err != nil {
		<-p.done
		return nil, fmt.Errorf("place %s: %w", address, err)
	}
	return p, nil
}

func (p *place) furnish(address net.IP, own bool) error {
	if !own {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
	}
	var err error
	if p.device, err = openTun(); err != nil {
		return err
	}
	if err := configure(address); err != nil {
		return errors.Join(err, p.device.Close())
	}
	return nil
}

// start starts a process in the place.
func (p *place) start(cmd *exec.Cmd) error {
	result := make(chan error)
	p.work <- func() { result <- cmd.Start() }
	return <-result
}

// close ends the place, and all processes that were started in it and run.
func (p *place) close() {
	close(p.work)
	<-p.done
	_ = p.device.Close()
}

const deviceName = "eth0"

// openTun makes the interface of this thread's namespace. What it sends is read from the
// file, and what is written there it receives: IP packets, whole.
func openTun() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	r, err := unix.NewIfreq(deviceName)
	if err == nil {
		r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("interface %s: %w", deviceName, err)
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

// configure gives the interface its address, in a network of 256, and turns it and
// loopback on.
func configure(address net.IP) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	defer unix.Close(s)
	set := func(name string, request uint, fill func(*unix.Ifreq) error) error {
		r, err := unix.NewIfreq(name)
		if err == nil {
			err = fill(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, request, r)
		}
		if err != nil {
			return fmt.Errorf("configure %s: %w", name, err)
		}
		return nil
	}
	up := func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }
	return errors.Join(
		set("lo", unix.SIOCSIFFLAGS, up),
		set(deviceName, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address.To4()) }),
		set(deviceName, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(net.IPv4Mask(255, 255, 255, 0)) }),
		set(deviceName, unix.SIOCSIFFLAGS, up),
	)
}
