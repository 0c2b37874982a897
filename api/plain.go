package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

// shape is a type of the API as its JSON has it.
type shape struct {
	kind reflect.Kind
	// of are the members of an object, by name.
	of map[string]member
}

// member is one of an object's, and its place among them.
type member struct {
	shape *shape
	bit   uint64
}

// shapes are those of the types that were read, which are few.
var shapes sync.Map

func shapeOf(t reflect.Type) *shape {
	if s, found := shapes.Load(t); found {
		return s.(*shape) //nolint:forcetypeassert // nothing else is put there
	}
	s := newShape(t)
	shapes.Store(t, s)
	return s
}

func newShape(t reflect.Type) *shape {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s := &shape{kind: t.Kind()}
	if t == reflect.TypeFor[[]byte]() {
		s.kind = reflect.String // of base64, which the decoder looks after
	}
	if s.kind == reflect.Struct {
		s.of = make(map[string]member)
		s.add(t)
	}
	return s
}

// add collects the members of a struct, and those of structs embedded in it, which come
// behind.
func (s *shape) add(t reflect.Type) {
	var embedded []reflect.Type
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch _, known := s.of[name]; {
		case name == "" && f.Anonymous:
			embedded = append(embedded, f.Type)
		case name != "" && !known && len(s.of) < 64: //nolint:mnd // bits
			s.of[name] = member{shape: newShape(f.Type), bit: 1 << len(s.of)}
		}
	}
	for _, e := range embedded {
		s.add(e)
	}
}

// readPlain reads a body that is as nearly all are: an object of texts without escapes,
// whole numbers and such objects, each name once and where it belongs. What is anything
// else is read by [decode] in earnest, which is also who says what is wrong with it.
func readPlain(data []byte, body any) bool {
	p := plain{rest: data}
	return p.value(shapeOf(reflect.TypeOf(body))) && p.next() == 0 && len(p.rest) == 0 && json.Unmarshal(data, body) == nil
}

// plain goes through a text. Its methods report false for what is not plain; what they let
// pass need not be JSON.
type plain struct{ rest []byte }

// next is the byte behind white space, 0 at the end.
func (p *plain) next() byte {
	for len(p.rest) > 0 && (p.rest[0] == ' ' || p.rest[0] == '\n' || p.rest[0] == '\r' || p.rest[0] == '\t') {
		p.rest = p.rest[1:]
	}
	if len(p.rest) == 0 {
		return 0
	}
	return p.rest[0]
}

// take takes the next byte if it is this one.
func (p *plain) take(c byte) bool {
	if p.next() != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *plain) value(s *shape) bool {
	switch s.kind { //nolint:exhaustive // the others are not plain
	case reflect.Struct:
		return p.object(s)
	case reflect.String:
		_, ok := p.text()
		return ok
	case reflect.Int, reflect.Int64:
		return p.number()
	case reflect.Bool:
		return p.word("true") || p.word("false")
	}
	return false
}

func (p *plain) word(w string) (ok bool) {
	if p.next() == w[0] {
		p.rest, ok = bytes.CutPrefix(p.rest, []byte(w))
	}
	return ok
}

func (p *plain) object(s *shape) bool {
	if !p.take('{') {
		return false
	}
	if p.take('}') {
		return true
	}
	for seen := uint64(0); ; {
		name, ok := p.text()
		m, known := s.of[string(name)]
		if !ok || !known || seen&m.bit != 0 || !p.take(':') || !p.value(m.shape) {
			return false
		}
		seen |= m.bit
		if !p.take(',') {
			return p.take('}')
		}
	}
}

// text takes a text of ASCII characters that stand for themselves.
func (p *plain) text() (text []byte, ok bool) {
	if !p.take('"') {
		return nil, false
	}
	for i, c := range p.rest {
		switch {
		case c == '"':
			text, p.rest = p.rest[:i], p.rest[i+1:]
			return text, true
		case c < ' ' || c > '~' || c == '\\':
			return nil, false
		}
	}
	return nil, false
}

// number takes digits.
func (p *plain) number() bool {
	p.next()
	digits := 0
	for digits < len(p.rest) && p.rest[digits] >= '0' && p.rest[digits] <= '9' {
		digits++
	}
	p.rest = p.rest[digits:]
	return digits > 0
}
