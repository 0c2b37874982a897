package podtoken

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// maxToken bounds a token, in bytes; those of Kubernetes have about 1,200.
	maxToken = 8 << 10
	// skew is how much later than Kubernetes' our clock may be.
	skew = time.Minute
)

// claims are what a token says of itself (RFC 7519; the claim kubernetes.io is
// Kubernetes' own). Nothing of it is trusted.
type claims struct {
	Audience   audiences `json:"aud"`
	Expires    int64     `json:"exp"`
	Kubernetes struct {
		Namespace string `json:"namespace"`
		Pod       struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"pod"`
	} `json:"kubernetes.io"`
}

// audiences is one text or several.
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		*a = []string{""}
		return json.Unmarshal(data, &(*a)[0]) //nolint:wrapcheck // of the standard library, for the standard library
	}
	return json.Unmarshal(data, (*[]string)(a)) //nolint:wrapcheck // as above
}

// Shaped reports whether a bearer token looks like one of Kubernetes: a signed JWT
// in compact form (RFC 7515) and not too long. It decodes nothing.
func Shaped(token string) bool {
	return len(token) <= maxToken && strings.Count(token, ".") == 2 && strings.HasPrefix(token, "eyJ")
}

// Look reads what a token says of itself, without checking its signature, and
// returns when it expires. It refuses, with an error that wraps [ErrRefused], what
// Kubernetes would refuse anyway: another audience, one that has expired, one of no
// pod. So a flood of such tokens costs nobody else anything.
func Look(token, audience string, now time.Time) (expires time.Time, err error) {
	if !Shaped(token) {
		return expires, fmt.Errorf("%w: it is no JWT", ErrRefused)
	}
	_, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	if signature == "" {
		return expires, fmt.Errorf("%w: it is not signed", ErrRefused)
	}
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return expires, fmt.Errorf("%w: its claims are not base64url", ErrRefused)
	}
	var c claims
	if err := json.Unmarshal(text, &c); err != nil {
		return expires, fmt.Errorf("%w: its claims can not be read", ErrRefused)
	}
	expires = time.Unix(c.Expires, 0)
	switch {
	case !slices.Contains(c.Audience, audience):
		return expires, fmt.Errorf("%w: it is for another audience than %q", ErrRefused, audience)
	case c.Expires <= 0 || now.After(expires.Add(skew)):
		return expires, fmt.Errorf("%w: it has expired", ErrRefused)
	case c.Kubernetes.Pod.Name == "" || c.Kubernetes.Pod.UID == "":
		return expires, fmt.Errorf("%w: it is not bound to a pod", ErrRefused)
	}
	return expires, nil
}
