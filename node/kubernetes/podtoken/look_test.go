package podtoken

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Unix(1_800_000_000, 0)

// jwt makes a token of these claims; nobody signed it.
func jwt(claims string) string {
	b := base64.RawURLEncoding
	return b.EncodeToString([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + b.EncodeToString([]byte(claims)) + "." + b.EncodeToString([]byte("signature"))
}

func claimsOf(audience string, expires int64) string {
	return fmt.Sprintf(`{"aud":%s,"exp":%d,"iss":"https://k","kubernetes.io":{"namespace":"ns","pod":{"name":"p","uid":"u"},"serviceaccount":{"name":"s"}}}`, audience, expires)
}

func TestLook(t *testing.T) {
	t.Parallel()
	later := noon.Unix() + 600
	good := jwt(claimsOf(`["keysteward"]`, later))
	for name, c := range map[string]struct{ token, why string }{
		"good":               {good, ""},
		"audience as text":   {jwt(claimsOf(`"keysteward"`, later)), ""},
		"one of several":     {jwt(claimsOf(`["a","keysteward"]`, later)), ""},
		"our clock is late":  {jwt(claimsOf(`["keysteward"]`, noon.Unix()-59)), ""},
		"expired":            {jwt(claimsOf(`["keysteward"]`, noon.Unix()-61)), "expired"},
		"never expires":      {jwt(claimsOf(`["keysteward"]`, 0)), "expired"},
		"other audience":     {jwt(claimsOf(`["https://kubernetes.default.svc"]`, later)), "another audience"},
		"no audience":        {jwt(claimsOf(`[]`, later)), "another audience"},
		"audience of no one": {jwt(claimsOf(`null`, later)), "another audience"},
		"audience a number":  {jwt(claimsOf(`7`, later)), "claims can not be read"},
		"no pod":             {jwt(fmt.Sprintf(`{"aud":["keysteward"],"exp":%d,"kubernetes.io":{"namespace":"ns"}}`, later)), "not bound to a pod"},
		"a token of ours":    {"kst_" + strings.Repeat("ab", 32), "no JWT"},
		"empty":              {"", "no JWT"},
		"unsigned":           {good[:strings.LastIndex(good, ".")+1], "not signed"},
		"two parts":          {good[:strings.LastIndex(good, ".")], "no JWT"},
		"four parts":         {good + ".x", "no JWT"},
		"no base64":          {"eyJ.!!!.x", "base64url"},
		"no JSON":            {jwt(`{"aud":`), "claims can not be read"},
		"too long":           {good + strings.Repeat("x", maxToken), "no JWT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expires, err := Look(c.token, "keysteward", noon)
			if c.why == "" {
				require.NoError(t, err)
				require.False(t, expires.IsZero())
				return
			}
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, c.why)
			require.NotContains(t, err.Error(), "eyJ", "no part of the token is told")
		})
	}
}

func FuzzLook(f *testing.F) {
	f.Add(jwt(claimsOf(`["keysteward"]`, noon.Unix()+600)))
	f.Add(jwt(claimsOf(`"keysteward"`, 1<<62)))
	f.Add(jwt(`{"aud":[["keysteward"]],"exp":1e300}`))
	f.Add("eyJ.eyJ.eyJ")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		_, err := Look(token, "keysteward", noon)
		if err != nil {
			require.ErrorIs(t, err, ErrRefused)
			return
		}
		require.True(t, Shaped(token))
		payload := strings.Split(token, ".")[1]
		text, err := base64.RawURLEncoding.DecodeString(payload)
		require.NoError(t, err)
		require.Contains(t, strings.ReplaceAll(string(text), `\u`, "keysteward"), "keysteward")
	})
}
