package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/cluster/chaos/faults"
)

// controlPlane is a real Kubernetes that signs certificates and runs nothing, on loopback.
type controlPlane struct {
	script, dir string
	kubeconfig  []byte // of an admin
	client      kubernetes.Interface
}

// startKubernetes has the script start one in dir. The first time on a machine its
// programs are compiled, which takes minutes. Close it.
func startKubernetes(ctx context.Context, script, dir string) (*controlPlane, error) {
	// The port is free a moment later, too: nobody else takes ports of the kernel's choice.
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("port for Kubernetes: %w", err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("port for Kubernetes: %w", err)
	}
	k := &controlPlane{script: script, dir: dir}
	if err := k.run(ctx, "up", dir, port); err != nil {
		return nil, err
	}
	k.kubeconfig, err = os.ReadFile(filepath.Join(dir, "kubeconfig"))
	if err == nil {
		k.client, err = clientOf(k.kubeconfig)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kubeconfig: %w", err), k.close(ctx))
	}
	return k, nil
}

func clientOf(kubeconfig []byte) (kubernetes.Interface, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config.QPS, config.Timeout = -1, callTime
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of Kubernetes: %w", err)
	}
	return client, nil
}

// close ends it, whether or not ctx has.
func (k *controlPlane) close(ctx context.Context) error {
	_ = k.signal(syscall.SIGCONT) // it may have been paused, or have ended
	return k.run(context.WithoutCancel(ctx), "down", k.dir)
}

func (k *controlPlane) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, k.script, args...) //nolint:gosec // our own script
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", k.script, args[0], err)
	}
	return nil
}

// signal sends a signal to the API server.
func (k *controlPlane) signal(sig syscall.Signal) error {
	text, err := os.ReadFile(filepath.Join(k.dir, "control-plane", "kube-apiserver.pid"))
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return fmt.Errorf("kube-apiserver: %w: PID %q", errors.ErrUnsupported, text)
	}
	return syscall.Kill(pid, sig) //nolint:wrapcheck // New says what
}

// apiserverAway pauses the API server: its port takes connections, and nobody answers.
func (s *stage) apiserverAway(_ int, _ *rand.Rand) faults.Fault {
	return newFault("pause kube-apiserver", func(context.Context) (func(context.Context) error, error) {
		heal := func(context.Context) error { return s.kubernetes.signal(syscall.SIGCONT) }
		return heal, s.kubernetes.signal(syscall.SIGSTOP)
	})
}

// users are those whom bindings of Kubernetes name, but for its own.
func (k *controlPlane) users(ctx context.Context) ([]string, error) {
	bindings, err := k.client.RbacV1().RoleBindings("").List(ctx, meta.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("role bindings: %w", err)
	}
	var users []string
	for _, b := range bindings.Items {
		for _, subject := range b.Subjects {
			if subject.Kind == rbac.UserKind && !strings.HasPrefix(subject.Name, "system:") {
				users = append(users, subject.Name)
			}
		}
	}
	return users, nil
}
