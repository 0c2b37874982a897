package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

func keyValuesKind() kind[wire.KeyValues] {
	metadata := func(k *wire.KeyValues) *wire.ObjectMetadata { return &k.Metadata }
	return kind[wire.KeyValues]{
		one: "key-values", parents: cloudParents, verb: "add", past: "added", metadata: metadata,
		examples: `  keysteward clouds kv add shop web settings --set region=eu --set tier=1
  keysteward clouds kv add shop web settings --file settings.yaml`,
		columns: describedColumns(metadata, column[wire.KeyValues]{"KEY-VALUES", func(k wire.KeyValues) any {
			return strings.Join(each(k.Spec.Kv, func(kv json.RawMessage) string { return string(kv) }), " ")
		}}),
		objects: func(c *client.Client, p []string) objects[wire.KeyValues] {
			return c.KeyValues(p[0], p[1])
		},
	}
}

// keyValuesFields holds the flags of kv add and update.
type keyValuesFields struct {
	file string
	set  map[string]string
}

func (f *keyValuesFields) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "file", "", "file with an object, or a list of objects, in JSON or YAML; - is standard input")
	cmd.Flags().StringToStringVar(&f.set, "set", nil, "texts, as in region=eu; repeat it, or separate by commas")
	_ = cmd.MarkFlagFilename("file")
}

func (f *keyValuesFields) check(_ *cobra.Command, fresh bool) error {
	if f.file != "" && len(f.set) > 0 {
		return usagef("--file and --set exclude each other")
	}
	if fresh && f.file == "" && len(f.set) == 0 {
		return usagef("--file or --set is required")
	}
	return nil
}

func (f *keyValuesFields) apply(_ context.Context, cmd *cobra.Command, _ *client.Client, _ []string, k *wire.KeyValues) error {
	if len(f.set) > 0 {
		k.Spec.Kv = nil
		for _, key := range slices.Sorted(maps.Keys(f.set)) {
			pair, err := json.Marshal(map[string]string{key: f.set[key]})
			if err != nil {
				return err
			}
			k.Spec.Kv = append(k.Spec.Kv, pair)
		}
	}
	if f.file == "" {
		return nil
	}
	text, err := readInput(cmd, f.file)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	if k.Spec.Kv, err = parseKeyValues(text); err != nil {
		return usagef("--file %s: %w", f.file, err)
	}
	return nil
}

// maxInput bounds what is read from a file or standard input, in bytes.
const maxInput = 1 << 20

// readInput reads a file, or standard input for "-".
func readInput(cmd *cobra.Command, name string) ([]byte, error) {
	from := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err == nil && len(text) > maxInput {
		err = fmt.Errorf("%s has more than %d bytes", name, maxInput)
	}
	return text, err
}

// parseKeyValues reads an object or a list of objects.
func parseKeyValues(text []byte) ([]json.RawMessage, error) {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(asJSON, &list); err != nil {
		var one map[string]json.RawMessage
		if json.Unmarshal(asJSON, &one) != nil || one == nil {
			return nil, errors.New("want an object, or a list of objects")
		}
		list = append(list, one)
	}
	kv := []json.RawMessage{}
	for _, object := range list {
		encoded, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		kv = append(kv, encoded)
	}
	return kv, nil
}
