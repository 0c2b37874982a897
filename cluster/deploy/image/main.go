package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	out          string
	binaries     []string
	tags         []string
	version      string
	revision     string
	created      int64
	certificates string
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:           "image --out FOLDER --binary ARCH=FILE --tag NAME:TAG",
		Short:         "Put built binaries into container images",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.out, "out", "", "folder for keysteward-ARCH.tar and the OCI layout in oci/ (required)")
	f.StringSliceVar(&o.binaries, "binary", nil, "static binaries for Linux, ARCH=FILE (at least one)")
	f.StringSliceVar(&o.tags, "tag", nil, "names of the image, NAME:TAG (at least one)")
	f.StringVar(&o.version, "version", "unknown", "version, for the labels")
	f.StringVar(&o.revision, "revision", "", "commit, for the labels")
	f.Int64Var(&o.created, "created", 0, "time of all that is in the image, in seconds since 1970")
	f.StringVar(&o.certificates, "certificates", "", "certificates of public authorities, PEM; none if the file is missing")
	return cmd
}

// run writes all images and prints what each file's SHA-256 is.
func (o *options) run(ctx context.Context, w io.Writer) error {
	if o.out == "" || len(o.binaries) == 0 || len(o.tags) == 0 {
		return errors.New("--out, --binary and --tag are required")
	}
	names, err := parseTags(o.tags)
	if err != nil {
		return err
	}
	var images []v1.Image
	for _, text := range o.binaries {
		arch, path, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("--binary %q: want ARCH=FILE", text)
		}
		img, err := o.image(arch, path)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("interrupted: %w", err)
		}
		file := filepath.Join(o.out, "keysteward-"+arch+".tar")
		sum, err := writeDocker(file, img, names)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s  %s\n", sum, file)
		images = append(images, img)
	}
	folder := filepath.Join(o.out, "oci")
	digest, err := writeLayout(folder, images, names)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s  %s (index)\n", digest.Hex, folder)
	return nil
}

func (o *options) image(arch, path string) (v1.Image, error) {
	binary, err := readBinary(path, arch)
	if err != nil {
		return nil, err
	}
	var roots []byte
	if o.certificates != "" {
		if roots, err = os.ReadFile(o.certificates); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("--certificates: %w", err)
		}
	}
	created := time.Unix(o.created, 0).UTC()
	return assemble(content{binary: binary, roots: roots, created: created}, description{
		arch: arch, version: o.version, revision: o.revision, created: created,
	})
}
