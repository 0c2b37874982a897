package cluster

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParsePeers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		list []string
		want string // empty for an error
	}{
		"one":            {[]string{"n1=127.0.0.1:1"}, "n1=127.0.0.1:1"},
		"sorted":         {[]string{"n2=h:1", "n1=h:2"}, "n1=h:2,n2=h:1"},
		"by ordinal":     {[]string{"n10=h:1", "n2=h:2", "n1=h:3"}, "n1=h:3,n2=h:2,n10=h:1"},
		"pods":           {[]string{"ks-11=ks-11.ks:1", "ks-9=ks-9.ks:1"}, "ks-9=ks-9.ks:1,ks-11=ks-11.ks:1"},
		"IPv6":           {[]string{"n1=[::1]:1"}, "n1=[::1]:1"},
		"no name":        {[]string{"=h:1"}, ""},
		"no address":     {[]string{"n1"}, ""},
		"empty address":  {[]string{"n1="}, ""},
		"no port":        {[]string{"n1=h"}, ""},
		"empty port":     {[]string{"n1=h:"}, ""},
		"empty host":     {[]string{"n1=:1"}, ""},
		"empty":          {[]string{""}, ""},
		"same name":      {[]string{"n1=h:1", "n1=h:2"}, ""},
		"same address":   {[]string{"n1=h:1", "n2=h:1"}, ""},
		"bare IPv6":      {[]string{"n1=::1"}, ""},
		"second is bad":  {[]string{"n1=h:1", "n2"}, ""},
		"name with '@'":  {[]string{"n@1=h:1"}, ""},
		"name with ','":  {[]string{"n,1=h:1"}, ""},
		"address with ,": {[]string{"n1=h,g:1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peers, err := ParsePeers(tc.list)
			if tc.want == "" {
				require.ErrorContains(t, err, "peer")
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, describe(peers))
		})
	}
	peers, err := ParsePeers(nil)
	require.NoError(t, err)
	require.Empty(t, peers)
}

func FuzzParsePeers(f *testing.F) {
	for _, s := range []string{"", "n1=h:1", "n2=h:1 n10=h:2", "n1=[::1]:1", "=", "n1=n2=h:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		peers, err := ParsePeers(strings.Fields(text))
		if err != nil {
			return
		}
		again, err := ParsePeers(strings.Split(describe(peers), ","))
		if len(peers) > 0 && (err != nil || describe(again) != describe(peers)) {
			t.Fatalf("%q is read as %q: %v", describe(peers), describe(again), err)
		}
	})
}
