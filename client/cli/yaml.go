package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// printYAML writes a value with the names and the order that it has as JSON.
func printYAML(w io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode as YAML: %w", err)
	}
	var document yaml.Node // JSON is YAML, but for characters that do not print
	if err := yaml.Unmarshal(escaped(text), &document); err != nil {
		return fmt.Errorf("encode as YAML: %w", err)
	}
	restyle(&document)
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(&document); err != nil {
		return fmt.Errorf("encode as YAML: %w", err)
	}
	return encoder.Close()
}

// escaped writes what is not ASCII, and so stands in a string, as YAML's escapes.
func escaped(text []byte) []byte {
	var safe []byte
	for _, r := range string(text) {
		if r < 0x7f {
			safe = utf8.AppendRune(safe, r)
		} else {
			safe = fmt.Appendf(safe, `\U%08x`, r)
		}
	}
	return safe
}

// restyle turns JSON into YAML for people, who need few quotes. They stay around what
// begins with 0x: many readers go by YAML 1.1, and would take a public key for an
// integer.
func restyle(node *yaml.Node) {
	text := node.Kind == yaml.ScalarNode && node.Tag == "!!str"
	var plain yaml.Node
	switch {
	case !text:
		node.Style = 0
	case strings.HasPrefix(node.Value, "0x"):
		node.Style = yaml.DoubleQuotedStyle
	case plain.Encode(node.Value) == nil: // quoted where it would be something else: yes, 1.0
		node.Style = plain.Style
	}
	for _, inner := range node.Content {
		restyle(inner)
	}
}
