package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// maxBody is the most bytes that a body may have.
const maxBody = 1 << 20

// withBody makes a handler of one that takes a JSON body of type T.
func withBody[T any](handle func(*Server, *call, T) (answer, error)) func(*Server, *call) (answer, error) {
	names := make(map[string]bool)
	fieldNames(reflect.TypeFor[T](), names)
	return func(s *Server, c *call) (answer, error) {
		data, err := readBody(c.echo.Response().Writer, c.echo.Request())
		if err != nil {
			return answer{}, err
		}
		defer clear(data)
		body, err := decode[T](data, names)
		if err != nil {
			return answer{}, err
		}
		return handle(s, c, body)
	}
}

// readBody reads the whole body within its bounds of size and time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || media != "application/json" || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		p := newProblem(unsupportedMedia, "want Content-Type: application/json")
		p.field = "Content-Type"
		return nil, p
	}
	// The deadline is taken back afterwards: it would end a request that is held.
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetReadDeadline(time.Now().Add(bodyTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = deadlines.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, newProblem(bodyTooLarge, "the body has more than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, newProblem(malformedBody, "the body ended early")
	}
	return data, nil
}

// decode reads exactly one JSON value with exactly the names of T. The standard
// decoder alone would take "KEYS" for "keys" and the last of two.
func decode[T any](data []byte, names map[string]bool) (T, error) {
	var body T
	if err := checkFields(data, names); err != nil {
		return body, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&body)
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return body, badField(jsonPath(wrongType.Field), "%s does not fit here: want %s", wrongType.Value, wantedType(wrongType.Type))
	case err != nil:
		return body, newProblem(malformedBody, "%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return body, newProblem(malformedBody, "there is more after the JSON object")
	}
	return body, nil
}

// jsonPath leaves out the Go names of embedded structs, which the decoder puts
// into its path: those begin with a capital, the API's names do not.
func jsonPath(path string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(path, "."), func(name string) bool {
		return name != "" && name[0] >= 'A' && name[0] <= 'Z'
	}), ".")
}

func wantedType(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // the others name themselves
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.String, reflect.Slice:
		return "a text"
	case reflect.Struct:
		return "an object"
	}
	return t.String()
}

// checkFields walks the JSON and refuses names that are unknown or come twice
// in one object.
func checkFields(data []byte, known map[string]bool) error {
	d := json.NewDecoder(bytes.NewReader(data))
	first, err := d.Token()
	if err != nil {
		return newProblem(malformedBody, "%v", err)
	}
	if first != json.Delim('{') {
		return newProblem(malformedBody, "want a JSON object")
	}
	return checkObject(d, known)
}

func checkObject(d *json.Decoder, known map[string]bool) error {
	seen := make(map[string]bool)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return newProblem(malformedBody, "%v", err)
		}
		name := fmt.Sprint(token)
		if !known[name] {
			return badField(shortened(name), "unknown field")
		}
		if seen[name] {
			return badField(name, "given twice")
		}
		seen[name] = true
		value, err := d.Token()
		if err != nil {
			return newProblem(malformedBody, "%v", err)
		}
		switch value {
		case json.Delim('{'):
			if err := checkObject(d, known); err != nil {
				return err
			}
		case json.Delim('['):
			return badField(name, "array does not fit here")
		}
	}
	if _, err := d.Token(); err != nil {
		return newProblem(malformedBody, "%v", err)
	}
	return nil
}

// shortened keeps a name out of the body from swamping the answer.
func shortened(name string) string {
	const most = 64
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}

// fieldNames collects the JSON names of a type of the API, at all depths.
func fieldNames(t reflect.Type, names map[string]bool) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names[name] = true
		}
		fieldNames(f.Type, names)
	}
}
