package api

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Bounds of parameters.
const (
	// MaxWait is the longest that ?wait may ask for.
	MaxWait      = time.Minute
	defaultLimit = 1000
	maxLimit     = 10_000
)

// knownQuery parses the query and refuses parameters that the route does not
// know or that come twice: a slip in `confirmStopped` must not pass for silence.
func knownQuery(u *url.URL, known []string) (url.Values, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, newProblem(invalidField, "the query is malformed")
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return nil, badField(fieldName(name), "unknown parameter")
		}
		if len(values) != 1 {
			return nil, badField(name, "given %d times", len(values))
		}
	}
	return query, nil
}

// wait is how long the caller wants to be held.
func (c *call) wait() (time.Duration, error) {
	if !c.query.Has("wait") {
		return 0, nil
	}
	d, err := time.ParseDuration(c.query.Get("wait"))
	if err != nil || d < 0 || d > MaxWait {
		return 0, badField("wait", "%s is not a duration from 0s to %s, such as 30s", told(c.query.Get("wait")), MaxWait)
	}
	return d, nil
}

// limit is how many items a page may have.
func (c *call) limit() (int, error) {
	if !c.query.Has("limit") {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(c.query.Get("limit"))
	if err != nil || n < 1 || n > maxLimit {
		return 0, badField("limit", "%s is not a number from 1 to %d", told(c.query.Get("limit")), maxLimit)
	}
	return n, nil
}

// cursor is the place in the order of public keys from which a page starts.
func (c *call) cursor() ([]byte, error) {
	if !c.query.Has("cursor") {
		return nil, nil
	}
	after, err := pubkeyField("cursor", c.query.Get("cursor"))
	if err != nil {
		return nil, err
	}
	return append(after, 0), nil // sorts right behind the key
}

func (c *call) fence() (uint64, error) {
	n, err := strconv.ParseUint(c.query.Get("fence"), 10, 64)
	if err != nil || n > math.MaxInt64 {
		return 0, badField("fence", "%s is not the fence of an allocation, a number from 0", told(c.query.Get("fence")))
	}
	return n, nil
}

// flag is a parameter that is true or false, or left out, which is false.
func (c *call) flag(name string) (bool, error) {
	switch v := c.query.Get(name); {
	case !c.query.Has(name), v == "false":
		return false, nil
	case v == "true":
		return true, nil
	default:
		return false, badField(name, "%s is neither true nor false", told(v))
	}
}

// podUID is the UID that the caller means, empty for whichever has the name.
func (c *call) podUID() (string, error) {
	uid := c.query.Get("podUid")
	if c.query.Has("podUid") && !podUID.MatchString(uid) {
		return "", badField("podUid", podUIDWanted)
	}
	return uid, nil
}

// pubkey is the public key in the path.
func (c *call) pubkey() ([]byte, error) { return pubkeyField("pubkey", c.echo.Param("pubkey")) }

func pubkeyField(field, text string) ([]byte, error) {
	k, err := validator.ParsePublicKey(text)
	if err != nil {
		return nil, badField(field, "not a BLS public key: want 0x and %d hex digits", 2*fsm.PubkeyLength)
	}
	return k[:], nil
}

// pod is the pod name in the path.
func (c *call) pod() (namespace, name string, err error) {
	namespace, name = c.echo.Param("namespace"), c.echo.Param("pod")
	if err := checkNames(namespace, name); err != nil {
		return "", "", err
	}
	return namespace, name, nil
}
