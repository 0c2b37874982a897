package api

import (
	"regexp"
	"unicode/utf8"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Bounds of what an operator says of an object under /v2, in characters.
const (
	maxObjectName  = 128
	maxDescription = 1024
	maxUserData    = 512
)

// saneObjectName is what objects under /v2 can be called.
var saneObjectName = regexp.MustCompile(`^([A-Za-z0-9][-A-Za-z0-9_.]{0,126})?[A-Za-z0-9]$`)

const objectNameWanted = "want 1 to 128 of A-Z a-z 0-9 - _ . that begin and end with a letter or digit"

// metadataIn reads the metadata of an object, of which the name is required.
func metadataIn(o *jsonObject) *fsmpb.Metadata {
	m := &fsmpb.Metadata{
		Name: o.text("name"), Description: o.text("description"), UserData1: o.text("userData1"), UserData2: o.text("userData2"),
	}
	_ = o.finish(true)
	o.checkName("name", m.GetName())
	for _, t := range []struct {
		field, text string
		most        int
	}{{"description", m.GetDescription(), maxDescription}, {"userData1", m.GetUserData1(), maxUserData}, {"userData2", m.GetUserData2(), maxUserData}} {
		if n := utf8.RuneCountInString(t.text); n > t.most {
			o.fail(t.field, "%d characters, at most %d", n, t.most)
		}
	}
	return m
}

// checkName refuses what can be no name of an object.
func (o *jsonObject) checkName(field, name string) {
	switch {
	case name == "":
		o.fail(field, "required: %s", objectNameWanted)
	case !saneObjectName.MatchString(name):
		o.fail(field, "%s is no name: %s", told(name), objectNameWanted)
	}
}

func metadataOf(m *fsmpb.Metadata) wire.ObjectMetadata {
	return wire.ObjectMetadata{
		Name: m.GetName(), Description: m.GetDescription(), UserData1: m.GetUserData1(), UserData2: m.GetUserData2(),
	}
}
