package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
)

// kind is the stable `type` of a problem (RFC 9457), a relative reference.
type kind string

const (
	invalidField     kind = "invalid-field"
	malformedBody    kind = "malformed-body"
	malformedJSON    kind = "malformed-json"
	bodyTooLarge     kind = "body-too-large"
	unsupportedMedia kind = "unsupported-media-type"
	unauthenticated  kind = "unauthenticated"
	forbidden        kind = "forbidden"
	tooManyRequests  kind = "too-many-requests"
	kubernetesAway   kind = "kubernetes-unavailable"
	tokenExists      kind = "token-exists"
	tooManyTokens    kind = "too-many-tokens"
	notFound         kind = "not-found"
	methodNotAllowed kind = "method-not-allowed"
	staleFence       kind = "stale-fence"
	staleStop        kind = "stale-stop"
	keyInUse         kind = "key-in-use"
	seedExists       kind = "seed-exists"
	staleRecipient   kind = "stale-recipient"
	poolShort        kind = "pool-short"
	leasesOff        kind = "leases-off"
	notTheHolder     kind = "not-the-holder"
	noWatermarks     kind = "no-watermarks"
	lastKey          kind = "last-key"
	membersStranded  kind = "members-stranded"
	keyRemoved       kind = "key-removed"
	keyNotHere       kind = "key-not-here"
	quorumAtRisk     kind = "quorum-at-risk"
	lessTolerant     kind = "less-tolerant"
	notLetIn         kind = "not-let-in"
	notCaughtUp      kind = "not-caught-up"
	canNotLead       kind = "can-not-lead"
	membersBusy      kind = "members-busy"
	exists           kind = "exists"
	inUse            kind = "in-use"
	wrongState       kind = "wrong-state"
	incomplete       kind = "incomplete"
	tooMany          kind = "too-many"
	staleGeneration  kind = "stale-generation"
	refusedByKube    kind = "certificate-refused"
	unconfirmed      kind = "restore-unconfirmed"
	notConfirmable   kind = "restore-incomplete"
	damagedBackup    kind = "damaged-backup"
	notABackup       kind = "not-a-backup"
	foreignBackup    kind = "foreign-backup"
	newerBackup      kind = "newer-backup"
	otherCluster     kind = "other-cluster"
	olderBackup      kind = "older-backup"
	noSpace          kind = "no-space"
	noMemory         kind = "no-memory"
	featureLevel     kind = "feature-level"
	restoreUnderWay  kind = "restore-under-way"
	notLeader        kind = "not-leader"
	noLeader         kind = "no-leader"
	outcomeUnknown   kind = "outcome-unknown"
	sealed           kind = "sealed"
	overloaded       kind = "overloaded"
	internal         kind = "internal"
)

// kinds gives every kind its status and title.
var kinds = map[kind]struct {
	status int
	title  string
}{
	invalidField:     {http.StatusBadRequest, "A field is invalid"},
	malformedBody:    {http.StatusBadRequest, "The body cannot be read"},
	malformedJSON:    {http.StatusUnprocessableEntity, "The body is not JSON"},
	bodyTooLarge:     {http.StatusRequestEntityTooLarge, "The body is too large"},
	unsupportedMedia: {http.StatusUnsupportedMediaType, "The body is of another type"},
	unauthenticated:  {http.StatusUnauthorized, "A valid token is required"},
	forbidden:        {http.StatusForbidden, "The caller may not do this"},
	tooManyRequests:  {http.StatusTooManyRequests, "Too many requests"},
	kubernetesAway:   {http.StatusServiceUnavailable, "Kubernetes does not say who the pod is"},
	tokenExists:      {http.StatusConflict, "The token is another caller's"},
	tooManyTokens:    {http.StatusConflict, "There are too many tokens"},
	notFound:         {http.StatusNotFound, "Not found"},
	methodNotAllowed: {http.StatusMethodNotAllowed, "The method is not allowed here"},
	staleFence:       {http.StatusConflict, "The allocation has changed"},
	staleStop:        {http.StatusConflict, "More was seen of the account since"},
	keyInUse:         {http.StatusConflict, "The key is in use"},
	seedExists:       {http.StatusConflict, "The cluster has another seed"},
	staleRecipient:   {http.StatusConflict, "The secret is sealed to another leader"},
	leasesOff:        {http.StatusConflict, "Leases are off"},
	notTheHolder:     {http.StatusConflict, "The keys are not this pod's"},
	noWatermarks:     {http.StatusConflict, "The servers do not know the chain for slashing protection"},
	poolShort:        {http.StatusConflict, "The pool has too few free keys, and deposits are off"},
	lastKey:          {http.StatusConflict, "No key would be left that opens the secrets"},
	membersStranded:  {http.StatusConflict, "Members would be sealed for good"},
	keyRemoved:       {http.StatusConflict, "The key was removed before"},
	keyNotHere:       {http.StatusConflict, "The leader can not wrap for a key"},
	quorumAtRisk:     {http.StatusConflict, "The quorum would be lost"},
	lessTolerant:     {http.StatusConflict, "The cluster would bear fewer losses"},
	notLetIn:         {http.StatusConflict, "The node is not let in"},
	notCaughtUp:      {http.StatusConflict, "The member has not caught up"},
	canNotLead:       {http.StatusConflict, "Nobody takes the leadership"},
	membersBusy:      {http.StatusServiceUnavailable, "Another change of the members came first"},
	exists:           {http.StatusConflict, "It exists already"},
	inUse:            {http.StatusConflict, "Something else rests on it"},
	wrongState:       {http.StatusConflict, "The logical cloud is in another state"},
	incomplete:       {http.StatusBadRequest, "The logical cloud lacks something"},
	tooMany:          {http.StatusConflict, "There are too many"},
	staleGeneration:  {http.StatusConflict, "The logical cloud has changed"},
	refusedByKube:    {http.StatusConflict, "The certificate was refused"},
	unconfirmed:      {http.StatusServiceUnavailable, "A restored backup is not confirmed"},
	notConfirmable:   {http.StatusConflict, "What came after the backup is not known yet"},
	damagedBackup:    {http.StatusUnprocessableEntity, "The backup is damaged"},
	notABackup:       {http.StatusBadRequest, "The file is no backup"},
	foreignBackup:    {http.StatusConflict, "No key-encryption key here opens the backup"},
	newerBackup:      {http.StatusConflict, "The backup is of a newer version"},
	otherCluster:     {http.StatusConflict, "The backup is of another cluster"},
	olderBackup:      {http.StatusConflict, "What came after the backup would be lost"},
	noSpace:          {http.StatusInsufficientStorage, "The disk has not enough room"},
	noMemory:         {http.StatusInsufficientStorage, "The process may have too little memory"},
	featureLevel:     {http.StatusConflict, "Not all members run a version that knows this"},
	restoreUnderWay:  {http.StatusConflict, "Another backup is being restored"},
	notLeader:        {http.StatusTemporaryRedirect, "Another node leads"},
	noLeader:         {http.StatusServiceUnavailable, "The cluster has no leader"},
	outcomeUnknown:   {http.StatusServiceUnavailable, "It is not known whether the change happened"},
	sealed:           {http.StatusServiceUnavailable, "The node is sealed"},
	overloaded:       {http.StatusServiceUnavailable, "The node is overloaded"},
	internal:         {http.StatusInternalServerError, "Internal error"},
}

// statusClientGone is for metrics only: nobody reads the answer.
const statusClientGone = 499

// problem is an error as the caller is told.
type problem struct {
	kind     kind
	detail   string
	field    string
	retry    time.Duration
	location string
	// challenge is the WWW-Authenticate header.
	challenge string
	// refused is why, and from where, a caller was refused; nil for other problems.
	refused *refused
}

// Error implements error.
func (p *problem) Error() string { return string(p.kind) + ": " + p.detail }

func newProblem(k kind, format string, args ...any) *problem {
	p := &problem{kind: k, detail: fmt.Sprintf(format, args...)}
	if kinds[k].status == http.StatusServiceUnavailable {
		p.retry = time.Second
	}
	return p
}

// badField is the problem that names a field of the body, a parameter or a header.
func badField(field, format string, args ...any) *problem {
	p := newProblem(invalidField, field+": "+format, args...)
	p.field = field
	return p
}

// problemOf decides what the caller is told about an error. What it does not
// know is internal, and told in the log only.
func (s *Server) problemOf(err error, r *http.Request) *problem {
	var p *problem
	var refusal *fsm.Refusal
	var http *echo.HTTPError
	var kept *node.MembersKept
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &kept):
		return keptProblem(kept)
	case errors.Is(err, node.ErrNotLeader), errors.Is(err, fsm.Refused(fsm.StaleSession)):
		return s.elsewhere(r)
	case errors.Is(err, node.ErrUnknownOutcome):
		return newProblem(outcomeUnknown, "the change may or may not have been made; repeating the request is safe")
	case errors.Is(err, node.ErrTooLarge):
		return newProblem(bodyTooLarge, "the change is too large for one log entry")
	case errors.Is(err, node.ErrSealed):
		return s.sealedProblem()
	case errors.As(err, &refusal):
		return refusalProblem(refusal)
	case errors.As(err, &http):
		return echoProblem(http)
	}
	return newProblem(internal, "the node could not answer; its log has more under the request ID")
}

// confirmRetry is when to come again while a restore waits for people.
const confirmRetry = 30 * time.Second

func refusalProblem(r *fsm.Refusal) *problem {
	known := map[fsm.Code]kind{
		fsm.StaleFence: staleFence, fsm.StaleNonce: staleStop, fsm.NotFound: notFound, fsm.Invalid: invalidField, fsm.KeyInUse: keyInUse, fsm.SeedExists: seedExists,
		fsm.PoolShort: poolShort, fsm.TokenExists: tokenExists, fsm.TooManyTokens: tooManyTokens,
		fsm.Exists: exists, fsm.InUse: inUse, fsm.WrongState: wrongState, fsm.Incomplete: incomplete, fsm.TooMany: tooMany,
		fsm.StaleGeneration:    staleGeneration,
		fsm.FeatureRefused:     featureLevel,
		fsm.RestoreUnconfirmed: unconfirmed, fsm.RestoreIncomplete: notConfirmable, fsm.DamagedBackup: damagedBackup,
	}
	if k, ok := known[r.Code]; ok {
		p := newProblem(k, "%s", r.Detail)
		if k == unconfirmed {
			p.retry = confirmRetry
		}
		return p
	}
	return newProblem(internal, "the cluster refused the change: %s", r.Code)
}

func echoProblem(err *echo.HTTPError) *problem {
	switch err.Code {
	case http.StatusNotFound:
		return newProblem(notFound, "there is nothing at this path")
	case http.StatusMethodNotAllowed:
		return newProblem(methodNotAllowed, "the path has other methods, see the header Allow")
	}
	return newProblem(internal, "the node could not answer: status %d", err.Code)
}

func (s *Server) sealedProblem() *problem {
	reason, _ := s.vault.Sealed()
	p := newProblem(sealed, "this node has no usable key-encryption key: %s", reason)
	p.retry = 5 * time.Second
	return p
}

// fail writes the answer for an error; it is echo's HTTPErrorHandler.
func (s *Server) fail(err error, e echo.Context) {
	if e.Response().Committed {
		s.log.Warn("an answer broke off", "request_id", requestID(e), "route", routeOf(e).path, "error", err)
		return
	}
	p := s.problemOf(err, e.Request())
	s.logRefused(p, e)
	if errors.Is(e.Request().Context().Err(), context.Canceled) {
		e.Response().WriteHeader(statusClientGone)
		return
	}
	if p.kind == internal {
		s.log.Error("request failed", "request_id", requestID(e), "route", routeOf(e).path, "error", err)
	}
	p.write(e)
}

func (p *problem) write(e echo.Context) {
	h := e.Response().Header()
	h.Set(echo.HeaderContentType, "application/problem+json")
	h.Set(echo.HeaderCacheControl, "no-store")
	if p.retry > 0 {
		h.Set(echo.HeaderRetryAfter, seconds(p.retry))
	}
	if p.location != "" {
		h.Set(echo.HeaderLocation, p.location)
	}
	if p.challenge != "" {
		h.Set(echo.HeaderWWWAuthenticate, p.challenge)
	}
	body, err := json.Marshal(wire.Problem{
		Type: string(p.kind), Title: kinds[p.kind].title, Status: kinds[p.kind].status,
		Detail: p.detail, Field: p.field, RequestID: requestID(e),
	})
	if err != nil {
		panic(fmt.Sprintf("a problem does not encode: %v", err))
	}
	e.Response().WriteHeader(kinds[p.kind].status)
	_, _ = e.Response().Write(append(body, '\n'))
}

// seconds rounds up to the whole seconds of a Retry-After header.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
