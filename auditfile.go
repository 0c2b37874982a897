package main

import (
	"fmt"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/node/auditlog"
)

// shipping opens the file of audit records, if there is to be one.
func (o *serverOptions) shipping(p *parts, registry prometheus.Registerer) (err error) {
	if o.auditFile == "" {
		return nil
	}
	p.shipper, err = auditlog.Open(auditlog.Config{
		Path: o.auditFile, StateFile: filepath.Join(o.dataDir, "audit-file.place"),
		View: p.node.View, Logger: p.log, Metrics: registry,
	})
	if err != nil {
		return fmt.Errorf("--audit-file: %w", err)
	}
	return nil
}

func (p *parts) closeShipper() error {
	if p.shipper == nil {
		return nil
	}
	return p.shipper.Close()
}
