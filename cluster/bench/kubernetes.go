package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	certificatesclient "k8s.io/client-go/kubernetes/typed/certificates/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// kubernetes is a control plane that signs certificates, on loopback.
type kubernetes struct {
	script, dir string
	kubeconfig  []byte // of an admin
}

// startKubernetes has the script start one in dir, which must not exist. The first
// time on a machine its programs are compiled, which takes minutes.
func startKubernetes(ctx context.Context, script, dir string) (*kubernetes, error) {
	addresses, err := freeAddresses(ctx, 1)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return nil, fmt.Errorf("port for Kubernetes: %w", err)
	}
	k := &kubernetes{script: script, dir: dir}
	if err := k.run(ctx, "up", dir, port); err != nil {
		return nil, err
	}
	if k.kubeconfig, err = os.ReadFile(filepath.Join(dir, "kubeconfig")); err != nil {
		return nil, errors.Join(fmt.Errorf("kubeconfig: %w", err), k.stop(ctx))
	}
	return k, nil
}

// stop ends it, whether or not ctx has.
func (k *kubernetes) stop(ctx context.Context) error {
	return k.run(context.WithoutCancel(ctx), "down", k.dir)
}

func (k *kubernetes) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, k.script, args...) //nolint:gosec // our own script
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", k.script, args[0], err)
	}
	return nil
}

// requests is a client as clientcmd makes it, but for the five requests a second that
// client-go would hold it to.
func (k *kubernetes) requests() (certificatesclient.CertificateSigningRequestInterface, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig(k.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config.QPS = -1
	client, err := certificatesclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of Kubernetes: %w", err)
	}
	return client.CertificateSigningRequests(), nil
}
