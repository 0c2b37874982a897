package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/keysteward/keysteward/api"
	"github.com/keysteward/keysteward/node/backup/making"
	"github.com/keysteward/keysteward/node/backup/schedule"
)

// backupOptions are the flags about scheduled backups.
type backupOptions struct {
	every time.Duration
	to    string
	keep  int
	s3    schedule.BucketConfig
}

const schemeS3 = "s3"

func (o *backupOptions) bind(f *pflag.FlagSet) {
	f.DurationVar(&o.every, "backup-every", 0, "time between two backups that the leader makes by itself, such as 1h (0: none)")
	f.StringVar(&o.to, "backup-to", "", "where to: a folder that is there, best one that all nodes share, or s3://BUCKET/PREFIX")
	f.IntVar(&o.keep, "backup-keep", 0, "how many scheduled backups of this cluster are kept there; older ones are removed (0: all)")
	f.StringVar(&o.s3.Endpoint, "backup-s3-endpoint", "", "URL of the S3-compatible server (default: Amazon's)")
	f.StringVar(&o.s3.Region, "backup-s3-region", "", "region of the bucket (default: the server is asked)")
	f.BoolVar(&o.s3.PathStyle, "backup-s3-path-style", false, "name the bucket in the path and not in the host's name")
	f.StringVar(&o.s3.CredentialsFile, "backup-s3-credentials-file", "", "file with aws_access_key_id and aws_secret_access_key, under [default] (default: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what the machine is given)")
	f.StringVar(&o.s3.CAFile, "backup-s3-ca-file", "", "PEM file with the authorities that vouch for the server (default: the system's)")
}

// check finds what does not go together.
func (o *backupOptions) check() error {
	bucket := strings.HasPrefix(o.to, schemeS3+"://")
	switch {
	case o.every != 0 && o.every < schedule.MinEvery:
		return fmt.Errorf("--backup-every %v: 0, or at least %v", o.every, schedule.MinEvery)
	case (o.every == 0) != (o.to == ""):
		return errors.New("--backup-every and --backup-to go together")
	case o.keep < 0:
		return fmt.Errorf("--backup-keep %d: not negative", o.keep)
	case o.keep > 0 && o.every == 0:
		return errors.New("--backup-keep goes with --backup-every")
	case !bucket && o.s3 != (schedule.BucketConfig{}):
		return errors.New("--backup-s3-… goes with --backup-to s3://BUCKET/PREFIX")
	}
	if o.every == 0 {
		return nil
	}
	_, err := o.store()
	return err
}

func (o *backupOptions) store() (schedule.Store, error) {
	if !strings.Contains(o.to, "://") {
		return schedule.NewFolder(o.to), nil
	}
	u, err := url.Parse(o.to)
	if err != nil || u.Scheme != schemeS3 || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("--backup-to: want a folder, or s3://BUCKET/PREFIX")
	}
	cfg := o.s3
	cfg.Bucket, cfg.Prefix = u.Host, strings.Trim(u.Path, "/")
	store, err := schedule.NewBucket(cfg)
	if err != nil {
		return nil, fmt.Errorf("--backup-to %s: %w", o.to, err)
	}
	return store, nil
}

// backups makes the schedule, if there is to be one.
func (o *serverOptions) backups(p *parts, registry prometheus.Registerer) error {
	if o.backup.every == 0 {
		return nil
	}
	store, err := o.backup.store()
	if err != nil {
		return err
	}
	maker := &making.Maker{Vault: p.vault, Node: p.node.ID(), Program: version}
	p.backup, err = schedule.New(schedule.Config{
		Store: store, Every: o.backup.every, Keep: o.backup.keep, Make: maker.Prepare, Logger: p.log, Metrics: registry,
	})
	if err != nil {
		return fmt.Errorf("scheduled backups: %w", err)
	}
	p.more = append(p.more, p.backup.Duty())
	return nil
}

// backupStatus is for the API, nil where there is no schedule.
func (p *parts) backupStatus() api.BackupSchedule {
	if p.backup == nil {
		return nil
	}
	return p.backup.Status
}
