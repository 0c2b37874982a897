package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/http"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// described is what every message has that an operator describes under /v2.
type described interface {
	comparable
	GetMetadata() *fsmpb.Metadata
}

// objects are a kind of object under /v2: where its path puts it, how it is found in
// the state, read from a body and shown. Its methods are the handlers of its routes.
type objects[P described, W any] struct {
	// what it is called, as the state machine does.
	what string
	// above are the parameters of the path that name what it is below of, outermost
	// first; own is the one that names it.
	above []string
	own   string
	// all iterates by name over those below; one is nil if there is none.
	all func(v *fsm.View, above []string) iter.Seq[P]
	one func(v *fsm.View, above []string, name string) P
	// of takes it out of its row; row puts one together that has nothing but names.
	of  func(*fsmpb.Object) P
	row func(above []string, m *fsmpb.Metadata) *fsmpb.Object
	// spec reads what a body says besides the metadata.
	spec func(s *Server, c *call, body *jsonObject, o P) error
	// show is how a caller sees it, echo how it is told what was kept.
	show func(by Caller, o P) W
	echo func(o P) W
	// guarded: what a limited caller may change depends on the state.
	guarded bool
}

// names are those of the path. One that can be no name is of nothing that is there.
func (k objects[P, W]) names(c *call, own bool) (above []string, name string, err error) {
	if above, err = c.names(k.above...); err != nil || !own {
		return above, "", err
	}
	if name = c.echo.Param(k.own); !saneObjectName.MatchString(name) {
		return nil, "", newProblem(notFound, "there is no %s with such a name", k.what)
	}
	return above, name, nil
}

// names are what parameters of the path say.
func (c *call) names(params ...string) ([]string, error) {
	names := make([]string, len(params))
	for i, param := range params {
		if names[i] = c.echo.Param(param); !saneObjectName.MatchString(names[i]) {
			return nil, newProblem(notFound, "there is no %s with such a name", aboveTexts[param])
		}
	}
	return names, nil
}

var aboveTexts = map[string]string{"project": "project", "provider": "cluster provider", "cloud": "logical cloud", "reference": "cluster reference"}

// list answers with all that are below what the path names.
func (k objects[P, W]) list(_ *Server, c *call) (answer, error) {
	above, _, err := k.names(c, false)
	if err != nil {
		return answer{}, err
	}
	if err := thereIs(c.reading.view, k.above, above); err != nil {
		return answer{}, err
	}
	list := make([]W, 0)
	for o := range k.all(c.reading.view, above) {
		if len(above) > 0 || k.own != projectParam || c.caller.seesProject(o.GetMetadata().GetName()) {
			list = append(list, k.show(c.caller, o))
		}
	}
	return ok(list), nil
}

// thereIs refuses to list what is below something that is not there.
func thereIs(v *fsm.View, params, names []string) error {
	there := true
	switch len(names) {
	case 1:
		there = params[0] == projectParam && v.Project(names[0]) != nil || params[0] == providerParam && v.ClusterProvider(names[0]) != nil
	case 2:
		there = v.Cloud(names[0], names[1]) != nil
	}
	if !there {
		return newProblem(notFound, "there is no %s %s", aboveTexts[params[len(params)-1]], names[len(names)-1])
	}
	return nil
}

// get answers with one.
func (k objects[P, W]) get(_ *Server, c *call) (answer, error) {
	above, name, err := k.names(c, true)
	if err != nil {
		return answer{}, err
	}
	var none P
	o := k.one(c.reading.view, above, name)
	if o == none {
		return answer{}, newProblem(notFound, "there is no %s %s", k.what, name)
	}
	return ok(k.show(c.caller, o)), nil
}

// create makes one, and answers with what is kept of it.
func (k objects[P, W]) create(s *Server, c *call) (answer, error) {
	return k.put(s, c, false)
}

// replace changes one.
func (k objects[P, W]) replace(s *Server, c *call) (answer, error) {
	return k.put(s, c, true)
}

func (k objects[P, W]) put(s *Server, c *call, replace bool) (answer, error) {
	release, err := s.guard(c, k.guarded)
	if err != nil {
		return answer{}, err
	}
	defer release()
	body, err := jsonBody(c)
	if err != nil {
		return answer{}, err
	}
	o, err := k.described(c, body, replace)
	if err != nil {
		return answer{}, err
	}
	if err := k.spec(s, c, body, k.of(o)); err != nil {
		return answer{}, err
	}
	if err := body.finish(true); err != nil {
		return answer{}, err
	}
	kept, err := s.putObject(c, &fsmpb.PutObject{Object: o, Replace: replace})
	if err != nil {
		return answer{}, err
	}
	return k.kept(kept, replace), nil
}

// kept answers with what is kept now.
func (k objects[P, W]) kept(o *fsmpb.Object, replace bool) answer {
	a := ok(k.echo(k.of(o)))
	if !replace {
		a.status = http.StatusCreated
	}
	return a
}

// described is an object with its names, its metadata, and the key with which it is
// created.
func (k objects[P, W]) described(c *call, body *jsonObject, replace bool) (*fsmpb.Object, error) {
	above, name, err := k.names(c, replace)
	if err != nil {
		return nil, err
	}
	m := metadataIn(body.object("metadata"))
	if err := body.finish(false); err != nil {
		return nil, err
	}
	if replace && m.GetName() != name {
		return nil, badField("metadata.name", "%s is not the name in the path, %s", told(m.GetName()), name)
	}
	o := k.row(above, m)
	if !replace {
		o.CreatedWith, err = createdWith(c)
	}
	return o, err
}

// createdWith is what tells a repeated creation, "" where it can not be told.
func createdWith(c *call) (string, error) {
	key, err := printableKey(c.echo.Request())
	if key == "" || err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(c.caller.Name), c.caller.Name, key))
	return hex.EncodeToString(sum[:]), nil
}

// putObject proposes an object and returns it as it is kept.
func (s *Server) putObject(c *call, put *fsmpb.PutObject) (*fsmpb.Object, error) {
	cmd := c.command()
	cmd.Body = &fsmpb.Command_PutObject{PutObject: put}
	value, err := s.propose(c.ctx(), cmd)
	if err != nil {
		return nil, err
	}
	kept, isObject := value.(*fsmpb.Object)
	if !isObject {
		return nil, errors.New("a PutObject command was answered with another type")
	}
	return kept, nil
}

// remove deletes one.
func (k objects[P, W]) remove(s *Server, c *call) (answer, error) {
	release, err := s.guard(c, k.guarded)
	if err != nil {
		return answer{}, err
	}
	defer release()
	above, name, err := k.names(c, true)
	if err != nil {
		return answer{}, err
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_DeleteObject{DeleteObject: &fsmpb.DeleteObject{Object: k.row(above, &fsmpb.Metadata{Name: name})}}
	if _, err := s.propose(c.ctx(), cmd); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// guard lets the changes of limited callers happen one after the other where their
// limits depend on the state, so that none is decided on what another one is about
// to change. The state is that of a leader.
func (s *Server) guard(c *call, guarded bool) (release func(), err error) {
	if !guarded || !c.caller.limited() {
		return func() {}, nil
	}
	select {
	case s.guarded <- struct{}{}:
	case <-c.ctx().Done():
		return nil, fmt.Errorf("wait for the change of another limited caller: %w", c.ctx().Err())
	}
	release = func() { <-s.guarded }
	if err := s.barrier(c.ctx()); err != nil {
		release()
		return nil, err
	}
	return release, nil
}
