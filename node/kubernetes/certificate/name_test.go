package certificate_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// Names are in bindings of clusters that run, so they must never change. The digits
// were computed apart from this program, with Python's hashlib.
func TestNamesStay(t *testing.T) {
	t.Parallel()
	require.Equal(t, "alice:a19b220a86c01872", certificate.CommonName("id", "p", "c", "alice", 7))
	require.Equal(t, "976008f5cf596beb", certificate.CloudID("id", "p", "c"))
	require.Equal(t, "keysteward-976008f5cf596beb-g7-0e760b9c-r2-0102030405060708",
		certificate.RequestName("id", "p", "c", "east", 7, 2, [8]byte{1, 2, 3, 4, 5, 6, 7, 8}))
	require.Equal(t, "keysteward-976008f5cf596beb-g7-knvplo4oagd7q", certificate.ObjectName("976008f5cf596beb", 7, "Role", "Pods_1.x"))
}

func TestCommonNameCutsBetweenCharacters(t *testing.T) {
	t.Parallel()
	for user, shown := range map[string]string{
		"a":                           "a",
		strings.Repeat("a", 32):       strings.Repeat("a", 32),
		strings.Repeat("a", 33):       strings.Repeat("a", 32),
		strings.Repeat("ü", 17):       strings.Repeat("ü", 16),
		"a" + strings.Repeat("ü", 16): "a" + strings.Repeat("ü", 15),
		strings.Repeat("€", 11):       strings.Repeat("€", 10),
		strings.Repeat("😀", 32):       strings.Repeat("😀", 8),
	} {
		cn := certificate.CommonName("id", "p", "c", user, 1)
		require.Equal(t, shown, cn[:len(cn)-17])
	}
}

// identity is what a common name stands for.
type identity struct {
	cluster, project, cloud, user string
	generation                    uint64
}

func (i identity) name() string {
	return certificate.CommonName(i.cluster, i.project, i.cloud, i.user, i.generation)
}

func anyIdentity(t *rapid.T, label string) identity {
	part := rapid.StringN(0, 5, 128)
	return identity{
		part.Draw(t, label), part.Draw(t, label), part.Draw(t, label), part.Draw(t, label), rapid.Uint64().Draw(t, label),
	}
}

func TestCommonNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyIdentity(t, "a"), anyIdentity(t, "b")
		require.LessOrEqual(t, len(a.name()), 64)
		require.True(t, utf8.ValidString(a.name()) || !utf8.ValidString(a.user))
		require.Equal(t, a == b, a.name() == b.name())
		// A part that moves over to its neighbour, and another generation.
		if a.project != "" {
			moved := a
			moved.cluster, moved.project = a.cluster+a.project[:1], a.project[1:]
			require.NotEqual(t, a.name(), moved.name())
		}
		next := a
		next.generation++
		require.NotEqual(t, a.name(), next.name())
	})
}

func TestObjectNames(t *testing.T) {
	t.Parallel()
	type object struct {
		generation uint64
		kind, name string
	}
	called := rapid.StringMatching(`([A-Za-z0-9][-A-Za-z0-9_.]{0,126})?[A-Za-z0-9]`)
	rapid.Check(t, func(t *rapid.T) {
		cloud := certificate.CloudID("id", called.Draw(t, "project"), called.Draw(t, "cloud"))
		draw := func(label string) object {
			return object{rapid.Uint64().Draw(t, label), rapid.SampledFrom([]string{"Role", "RoleBinding", "ResourceQuota"}).Draw(t, label), called.Draw(t, label)}
		}
		a, b := draw("a"), draw("b")
		nameOf := func(o object) string { return certificate.ObjectName(cloud, o.generation, o.kind, o.name) }
		require.Empty(t, validation.IsDNS1123Label(nameOf(a)))
		require.Empty(t, validation.IsValidLabelValue(cloud))
		require.Equal(t, a == b, nameOf(a) == nameOf(b))
		upper := a
		upper.name = strings.ToUpper(a.name)
		require.Equal(t, a == upper, nameOf(a) == nameOf(upper), "letters' case counts")
	})
}

func TestRequestNames(t *testing.T) {
	t.Parallel()
	called := rapid.StringMatching(`([A-Za-z0-9][-A-Za-z0-9_.]{0,126})?[A-Za-z0-9]`)
	rapid.Check(t, func(t *rapid.T) {
		project, cloud, reference := called.Draw(t, "project"), called.Draw(t, "cloud"), called.Draw(t, "reference")
		generation, round := rapid.Uint64().Draw(t, "generation"), rapid.Uint64().Draw(t, "round")
		random := [8]byte(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "random"))
		text := certificate.RequestName("id", project, cloud, reference, generation, round, random)
		require.Empty(t, validation.IsDNS1123Subdomain(text))
		require.LessOrEqual(t, len(text), 97)
		if generation < 1000 && round < 1000 {
			require.Empty(t, validation.IsDNS1123Label(text))
		}
		for _, other := range []string{
			certificate.RequestName("id2", project, cloud, reference, generation, round, random),
			certificate.RequestName("id", project+"x", cloud, reference, generation, round, random),
			certificate.RequestName("id", project, cloud+"x", reference, generation, round, random),
			certificate.RequestName("id", project, cloud, reference+"x", generation, round, random),
			certificate.RequestName("id", project, cloud, reference, generation+1, round, random),
			certificate.RequestName("id", project, cloud, reference, generation, round+1, random),
			certificate.RequestName("id", project, cloud, reference, generation, round, [8]byte{random[0] + 1}),
		} {
			require.NotEqual(t, text, other)
		}
	})
}

func TestCheckUser(t *testing.T) {
	t.Parallel()
	for user, good := range map[string]bool{
		"alice": true, "a": true, "Alice Smith": true, "a@example.org": true, "jürgen": true, "李": true, "a:b": true,
		"systemd": true, "a system:x": true, "sys:tem": true, strings.Repeat("a", 128): true,
		"": false, " ": false, " a": false, "a ": false, strings.Repeat("a", 129): false, strings.Repeat("ü", 65): false,
		"a\x00": false, "a\nb": false, "a\tb": false, "a\x7f": false, "a\u0085": false, "a\u202eb": false, "a\u200bb": false,
		"\xff": false, "a\xc3": false,
		"system:": false, "system:admin": false, "system:masters": false, "SYSTEM:x": false, "System:Node:a": false,
		// Its common name would be system:<digits>.
		"system": false, "System": false,
	} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			err := certificate.CheckUser(user)
			if good {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, certificate.ErrUser)
			require.True(t, utf8.ValidString(err.Error()))
		})
	}
}

// No user that is accepted gets a common name that Kubernetes keeps for itself.
func TestNoReservedCommonName(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		user := rapid.OneOf(
			rapid.StringN(1, 40, 128),
			rapid.StringMatching(`[sS]ystem[: a]{0,2}[a-z]{0,3}`),
		).Draw(t, "user")
		if certificate.CheckUser(user) != nil {
			return
		}
		cn := certificate.CommonName("id", "p", "c", user, 1)
		require.False(t, strings.HasPrefix(strings.ToLower(cn), "system:"), "%q", cn)
		require.LessOrEqual(t, len(cn), 64)
	})
}
