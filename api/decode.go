package api

import (
	"bytes"
	"encoding/json"
	"errors"
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
	return func(s *Server, c *call) (answer, error) {
		body, err := bodyOf[T](c)
		if err != nil {
			return answer{}, err
		}
		return handle(s, c, *body)
	}
}

// bodyOf reads the JSON body of the call, once: whoever asks again gets the same.
func bodyOf[T any](c *call) (*T, error) {
	if c.body != nil {
		body, isT := c.body.(*T)
		if !isT {
			return nil, errors.New("the body of a call was read as two types")
		}
		return body, nil
	}
	data, err := readBody(c.echo.Response().Writer, c.echo.Request())
	if err != nil {
		return nil, err
	}
	defer clear(data)
	body := new(T)
	if !readPlain(data, body) {
		exact, err := decode[T](data, fieldsOf(reflect.TypeFor[T]()))
		if err != nil {
			return nil, err
		}
		body = &exact
	}
	c.body = body
	return body, nil
}

// readBody reads the whole body within its bounds of size and time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if !isJSON(r.Header.Get("Content-Type")) {
		p := newProblem(unsupportedMedia, "want Content-Type: application/json")
		p.field = "Content-Type"
		return nil, p
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		// The bound of [connections.watch] is taken back: it would end a request that is
		// held. It stays where the body did not come: net/http reads the rest of it before
		// it answers.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, newProblem(bodyTooLarge, "the body has more than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, newProblem(malformedBody, "the body ended early")
	}
	return data, nil
}

// isJSON reports whether a media type is that of JSON in UTF-8.
func isJSON(contentType string) bool {
	if contentType == jsonText {
		return true
	}
	media, params, err := mime.ParseMediaType(contentType)
	charset := params["charset"]
	return err == nil && media == jsonText && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

// decode reads exactly one JSON value with exactly the names of T. The standard
// decoder alone would take "KEYS" for "keys" and the last of two.
func decode[T any](data []byte, names fields) (T, error) {
	var body T
	if err := names.check(data); err != nil {
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
		return body, malformed(err)
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
