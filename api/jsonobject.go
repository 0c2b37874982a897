package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// jsonObject is an object of a body under /v2. Members are taken out of it one by
// one; what is left in the end is unknown. The first thing that is wrong is kept and
// told by [jsonObject.finish], so that whoever reads members need not look after each.
// A member that is null counts as absent, which is how some clients write it.
type jsonObject struct {
	path    string // of what is in it: "" or ending with a dot
	members map[string]json.RawMessage
	wrong   *error
}

// jsonBody reads the body of a call as one object. It may be asked for again: what
// was taken out is there anew.
func jsonBody(c *call) (*jsonObject, error) {
	data, read := c.body.([]byte)
	if !read {
		if c.echo.Request().ContentLength == 0 {
			return nil, emptyBody()
		}
		var err error
		if data, err = readBody(c.echo.Response().Writer, c.echo.Request()); err != nil {
			return nil, err
		}
		c.body = data
	}
	return parseObject(data)
}

func emptyBody() error { return newProblem(malformedBody, "the body is empty: want a JSON object") }

// parseObject reads a text that is one JSON object.
func parseObject(data []byte) (*jsonObject, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, emptyBody()
	}
	if !utf8.Valid(data) {
		return nil, newProblem(malformedJSON, "the body is not JSON: it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	var whole json.RawMessage
	if err := d.Decode(&whole); err != nil {
		p := malformed(err)
		p.kind = malformedJSON
		return nil, p
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, newProblem(malformedJSON, "there is more after the JSON object")
	}
	o := &jsonObject{wrong: new(error)}
	if !o.open(whole) {
		return nil, newProblem(malformedBody, "the body is JSON, but no object")
	}
	return o, o.finish(false)
}

// open reads the members of an object; a name that comes twice is wrong. It reports
// false for anything but an object.
func (o *jsonObject) open(raw json.RawMessage) bool {
	o.members = make(map[string]json.RawMessage)
	d := json.NewDecoder(bytes.NewReader(raw))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return false
	}
	for d.More() {
		token, err := d.Token()
		name, isName := token.(string)
		var value json.RawMessage
		if err != nil || !isName || d.Decode(&value) != nil {
			return false // it was read as JSON before
		}
		if _, twice := o.members[name]; twice {
			o.fail(fieldName(name), "given twice")
		}
		o.members[name] = value
	}
	return true
}

// fail remembers what is wrong with a member, unless something was before.
func (o *jsonObject) fail(name, format string, args ...any) {
	if *o.wrong == nil {
		*o.wrong = badField(o.path+name, format, args...)
	}
}

// finish is what is wrong with the whole; with strict also a member that nobody took.
func (o *jsonObject) finish(strict bool) error {
	if strict && len(o.members) > 0 {
		o.fail(fieldName(slices.Min(slices.Collect(maps.Keys(o.members)))), "unknown field")
	}
	return *o.wrong
}

// take takes the member out that has one of these names, which mean the same.
func (o *jsonObject) take(names ...string) (name string, raw json.RawMessage) {
	name = names[0]
	for _, n := range names {
		value, there := o.members[n]
		if !there {
			continue
		}
		delete(o.members, n)
		if raw != nil {
			o.fail(n, "%s says the same: give one of them", name)
		}
		if string(value) != "null" {
			name, raw = n, value
		}
	}
	return name, raw
}

// text is a member that is a text, empty if it is absent.
func (o *jsonObject) text(names ...string) string {
	name, raw := o.take(names...)
	var text string
	if raw != nil && json.Unmarshal(raw, &text) != nil {
		o.fail(name, "want a text")
	}
	return text
}

// texts is a member that is an array of texts, nil if it is absent.
func (o *jsonObject) texts(name string) []string {
	_, raw := o.take(name)
	var values []*string
	if raw != nil && json.Unmarshal(raw, &values) != nil {
		o.fail(name, "want an array of texts")
	}
	var texts []string
	for _, v := range values {
		if v == nil {
			o.fail(name, "want an array of texts")
			break
		}
		texts = append(texts, *v)
	}
	return texts
}

// number is a member that is a whole number, 0 if it is absent.
func (o *jsonObject) number(name string) int64 {
	_, raw := o.take(name)
	var n int64
	if raw != nil && json.Unmarshal(raw, &n) != nil {
		o.fail(name, "want a whole number")
	}
	return n
}

// object is a member that is an object. An absent one is empty.
func (o *jsonObject) object(name string) *jsonObject {
	_, raw := o.take(name)
	inner := &jsonObject{path: o.path + name + ".", wrong: o.wrong}
	if raw != nil && !inner.open(raw) {
		o.fail(name, "want an object")
	}
	return inner
}

// objects is a member that is an array of objects, each as compact JSON.
func (o *jsonObject) objects(name string) []string {
	_, raw := o.take(name)
	var values []json.RawMessage
	if raw != nil && json.Unmarshal(raw, &values) != nil {
		o.fail(name, "want an array of objects")
	}
	var texts []string
	for i, v := range values {
		inner := &jsonObject{path: fmt.Sprintf("%s%s[%d].", o.path, name, i), wrong: o.wrong}
		var text bytes.Buffer
		if !inner.open(v) || json.Compact(&text, v) != nil {
			o.fail(fmt.Sprintf("%s[%d]", name, i), "want an object")
		}
		texts = append(texts, text.String())
	}
	return texts
}

// textMap takes all members, which have to be texts.
func (o *jsonObject) textMap() map[string]string {
	texts := make(map[string]string, len(o.members))
	for _, name := range slices.Sorted(maps.Keys(o.members)) {
		var text *string
		if json.Unmarshal(o.members[name], &text) != nil || text == nil {
			o.fail(fieldName(name), "want a text")
			continue
		}
		texts[name] = *text
	}
	clear(o.members)
	return texts
}

// printableKey reads the Idempotency-Key of a request, "" if it has none.
func printableKey(r *http.Request) (string, error) {
	const name, most = "Idempotency-Key", 255
	values := r.Header.Values(name)
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	odd := strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' })
	if len(values) > 1 || key == "" || len(key) > most || odd {
		return "", badField(name, "want it once, with 1 to %d printable characters", most)
	}
	return key, nil
}
