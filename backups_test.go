package main

import (
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func TestBackupFlags(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string // of the error; empty is none
		to   string
	}{
		"none":              {nil, "", ""},
		"folder":            {[]string{"--backup-every=1h", "--backup-to=/srv/backups", "--backup-keep=7"}, "", "/srv/backups"},
		"bucket":            {[]string{"--backup-every=1h", "--backup-to=s3://b/p/q/", "--backup-s3-region=eu", "--backup-s3-path-style", "--backup-s3-endpoint=https://s3.test"}, "", "s3://b/p/q"},
		"whole bucket":      {[]string{"--backup-every=1h", "--backup-to=s3://b"}, "", "s3://b"},
		"no place":          {[]string{"--backup-every=1h"}, "go together", ""},
		"no time":           {[]string{"--backup-to=/srv"}, "go together", ""},
		"keep alone":        {[]string{"--backup-keep=1"}, "goes with --backup-every", ""},
		"too often":         {[]string{"--backup-every=1s", "--backup-to=/srv"}, "at least 1m", ""},
		"negative":          {[]string{"--backup-every=1h", "--backup-to=/srv", "--backup-keep=-1"}, "not negative", ""},
		"region of folder":  {[]string{"--backup-every=1h", "--backup-to=/srv", "--backup-s3-region=eu"}, "goes with --backup-to s3", ""},
		"another scheme":    {[]string{"--backup-every=1h", "--backup-to=ftp://b/p"}, "want a folder", ""},
		"no bucket":         {[]string{"--backup-every=1h", "--backup-to=s3:///p"}, "want a folder", ""},
		"secret in the URL": {[]string{"--backup-every=1h", "--backup-to=s3://key:secret@b/p"}, "want a folder", ""},
		"plain HTTP":        {[]string{"--backup-every=1h", "--backup-to=s3://b", "--backup-s3-endpoint=http://s3.test"}, "https://HOST", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var o backupOptions
			f := pflag.NewFlagSet("test", pflag.ContinueOnError)
			o.bind(f)
			require.NoError(t, f.Parse(c.args))
			err := o.check()
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				require.NotContains(t, err.Error(), "secret@")
				return
			}
			require.NoError(t, err)
			if c.to != "" {
				store, err := o.store()
				require.NoError(t, err)
				require.Equal(t, c.to, store.String())
			}
		})
	}
}
