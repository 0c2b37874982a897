package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// fields are the names that a body may have at any depth, and the types of their
// values. A name has the same type wherever it stands.
type fields map[string]reflect.Type

// known are the fields of the types that were read, which are few.
var known sync.Map

func fieldsOf(t reflect.Type) fields {
	if f, found := known.Load(t); found {
		return f.(fields) //nolint:forcetypeassert // nothing else is put there
	}
	f := make(fields)
	f.add(t)
	known.Store(t, f)
	return f
}

// add collects the JSON names of a type of the API, at all depths.
func (f fields) add(t reflect.Type) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			f[name] = field.Type
		}
		f.add(field.Type)
	}
}

// check walks the JSON and refuses what the standard decoder would let pass or
// not name: names that are unknown or come twice in one object, and bytes that
// are not base64.
func (f fields) check(data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return newProblem(malformedBody, "the body is empty: want a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	first, err := d.Token()
	if err != nil {
		return malformed(err)
	}
	if first != json.Delim('{') {
		return newProblem(malformedBody, "want a JSON object")
	}
	return f.checkObject(d, "")
}

// checkObject checks what stands behind the opening brace of an object; path is
// where it stands, "" or ending with a dot.
func (f fields) checkObject(d *json.Decoder, path string) error {
	seen := make(map[string]bool)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return malformed(err)
		}
		name := fmt.Sprint(token)
		if f[name] == nil {
			return badField(fieldName(name), "unknown field")
		}
		if seen[name] {
			return badField(name, "given twice")
		}
		seen[name] = true
		if err := f.checkValue(d, path, name); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return malformed(err)
	}
	return nil
}

func (f fields) checkValue(d *json.Decoder, path, name string) error {
	value, err := d.Token()
	if err != nil {
		return malformed(err)
	}
	switch value := value.(type) {
	case json.Delim:
		switch {
		case value == '{':
			return f.checkObject(d, path+name+".")
		case f[name] == reflect.TypeFor[[]string]():
			return f.checkTexts(d, name)
		}
		return badField(name, "array does not fit here")
	case string:
		if f[name] != reflect.TypeFor[[]byte]() {
			return nil
		}
		if _, err := base64.StdEncoding.DecodeString(value); err != nil {
			return badField(path+name, "not base64 (RFC 4648, section 4, with padding)")
		}
	}
	return nil
}

// checkTexts checks what stands behind the opening bracket of an array of texts.
func (f fields) checkTexts(d *json.Decoder, name string) error {
	for d.More() {
		value, err := d.Token()
		if err != nil {
			return malformed(err)
		}
		if _, isText := value.(string); !isText {
			return badField(name, "want an array of texts")
		}
	}
	if _, err := d.Token(); err != nil {
		return malformed(err)
	}
	return nil
}

// malformed says in words why a body is no JSON.
func malformed(err error) *problem {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return newProblem(malformedBody, "the body ends early, in the middle of the JSON")
	case errors.As(err, &syntax):
		return newProblem(malformedBody, "the body is not JSON: %v", syntax)
	}
	return newProblem(malformedBody, "the body does not fit: %v", err)
}

// mostTold is how much of what a caller sent an error repeats: names and values of
// this API are shorter. What is longer may be a token or a key that was pasted into
// the wrong place, and errors are copied into logs and tickets.
const mostTold = 48

// told is a value as an error repeats it.
func told(value string) string {
	if len(value) > mostTold {
		return fmt.Sprintf("a value of %d bytes", len(value))
	}
	return strconv.Quote(value)
}

// fieldName is an unknown name as an error repeats it.
func fieldName(name string) string {
	if len(name) > mostTold {
		return fmt.Sprintf("a name of %d bytes", len(name))
	}
	return name
}

// shortened keeps a name out of the body from swamping the answer.
func shortened(name string) string {
	const most = 64
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}
