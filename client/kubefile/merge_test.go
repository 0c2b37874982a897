package kubefile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fresh is a kubeconfig as a server gives it; what makes it another one.
func fresh(t require.TestingT, what string, references ...string) []byte {
	config := clientcmdapi.NewConfig()
	for _, r := range references {
		config.Clusters[r] = &clientcmdapi.Cluster{Server: "https://" + r}
		user := "alice"
		if len(references) > 1 {
			user += "@" + r
		}
		config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: []byte(what + r), ClientKeyData: []byte("key" + what)}
		config.Contexts["alice@"+r] = &clientcmdapi.Context{Cluster: r, AuthInfo: user, Namespace: "web"}
	}
	config.CurrentContext = "alice@" + references[0]
	text, err := clientcmd.Write(*config)
	require.NoError(t, err)
	return text
}

var web = Options{Origin: Origin{ClusterID: "id", Project: "shop", Cloud: "web"}}

// kindConfig is somebody else's.
const kindConfig = `apiVersion: v1
kind: Config
current-context: kind
contexts:
- name: kind
  context: {cluster: kind, user: kind, extensions: [{name: theirs, extension: {a: 1}}]}
clusters:
- name: kind
  cluster: {server: https://127.0.0.1:1, certificate-authority: ca.pem}
users:
- name: kind
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, args: [eks], interactiveMode: IfAvailable}}
preferences: {colors: true}
`

func load(t *testing.T, path string) *clientcmdapi.Config {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	config, err := clientcmd.LoadFromFile(path)
	require.NoError(t, err)
	return config
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func TestMergeIntoNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".kube", "config")
	merged, err := Merge(t.Context(), []string{path}, fresh(t, "1", "eu", "us"), web)
	require.NoError(t, err)
	require.Equal(t, Merged{Contexts: []string{"alice@eu", "alice@us"}, Files: []string{path}}, merged)
	config := load(t, path)
	require.Empty(t, config.CurrentContext)
	for _, name := range merged.Contexts {
		c := config.Contexts[name]
		require.Equal(t, []string{name, name, "web"}, []string{c.Cluster, c.AuthInfo, c.Namespace})
		require.NotEmpty(t, config.AuthInfos[name].ClientKeyData)
		require.Equal(t, "https://"+strings.TrimPrefix(name, "alice@"), config.Clusters[name].Server)
	}
	require.NoFileExists(t, path+".lock")
	info, err := os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestMergeKeepsOthers(t *testing.T) {
	t.Parallel()
	path := write(t, "config", kindConfig)
	before, err := clientcmd.LoadFromFile(path)
	require.NoError(t, err)
	for _, what := range []string{"1", "2"} { // the next certificate replaces the one before
		_, err = Merge(t.Context(), []string{path}, fresh(t, what, "eu"), web)
		require.NoError(t, err)
		after := load(t, path)
		require.Equal(t, what+"eu", string(after.AuthInfos["alice@eu"].ClientCertificateData))
		delete(after.Contexts, "alice@eu")
		delete(after.Clusters, "alice@eu")
		delete(after.AuthInfos, "alice@eu")
		require.Equal(t, before, after)
	}
	merged, err := Merge(t.Context(), []string{path}, fresh(t, "2", "eu"), web)
	require.NoError(t, err)
	require.Empty(t, merged.Files, "it was there already")

	o := web
	o.SetCurrent = true
	_, err = Merge(t.Context(), []string{path}, fresh(t, "2", "eu"), o)
	require.NoError(t, err)
	require.Equal(t, "alice@eu", load(t, path).CurrentContext)
}

func TestMergeTakesNothingFromOthers(t *testing.T) {
	t.Parallel()
	own := string(fresh(t, "theirs", "eu"))
	theirs := strings.NewReplacer("name: eu", "name: alice@eu", "cluster: eu", "cluster: alice@eu", "name: alice\n", "name: alice@eu\n", "user: alice\n", "user: alice@eu\n").Replace(own)
	otherCloud, otherCluster := web, web
	otherCloud.Origin.Cloud, otherCluster.Origin.ClusterID = "other", "another"
	tests := []struct {
		name, before string
		first        *Options
	}{
		{name: "unmarked", before: theirs},
		{name: "only the user", before: `{"users":[{"name":"alice@eu","user":{"token":"t"}}]}`},
		{name: "only the cluster", before: `{"clusters":[{"name":"alice@eu","cluster":{"server":"https://a"}}]}`},
		{name: "a context of null", before: `{"contexts":[{"name":"alice@eu","context":null}]}`},
		{name: "another cloud's", first: &otherCloud},
		{name: "another Keysteward's", first: &otherCluster},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "config", test.before)
			if test.first != nil {
				_, err := Merge(t.Context(), []string{path}, fresh(t, "theirs", "eu"), *test.first)
				require.NoError(t, err)
			}
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = Merge(t.Context(), []string{path}, fresh(t, "1", "eu"), web)
			require.ErrorIs(t, err, ErrTaken)
			require.ErrorContains(t, err, `"alice@eu" of `+path)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, before, after)

			o := web
			o.Context = "mine"
			merged, err := Merge(t.Context(), []string{path}, fresh(t, "1", "eu"), o)
			require.NoError(t, err)
			require.Equal(t, []string{"mine"}, merged.Contexts)
			o.Context, o.Force = "", true
			_, err = Merge(t.Context(), []string{path}, fresh(t, "1", "eu"), o)
			require.NoError(t, err)
			require.Equal(t, "1eu", string(load(t, path).AuthInfos["alice@eu"].ClientCertificateData))
		})
	}
}

// Where kubectl would write it.
func TestMergeIntoOneOfMany(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "not-there"), write(t, "first", "{}"), write(t, "second", kindConfig)}
	require.Equal(t, paths, Paths(strings.Join(paths, ":")+"::"+paths[0]))
	require.Equal(t, []string{clientcmd.RecommendedHomeFile}, Paths(""))
	o := web
	o.SetCurrent = true
	merged, err := Merge(t.Context(), paths, fresh(t, "1", "eu"), o)
	require.NoError(t, err)
	require.Equal(t, paths[1:], merged.Files, "the entries into the first, the current context where there is one")
	require.NoFileExists(t, paths[0])
	require.Equal(t, "alice@eu", load(t, paths[2]).CurrentContext)

	// What is there is changed where it is.
	_, err = Merge(t.Context(), []string{paths[2], paths[1]}, fresh(t, "2", "eu"), web)
	require.NoError(t, err)
	require.Len(t, load(t, paths[2]).Contexts, 1)
	require.Equal(t, "2eu", string(load(t, paths[1]).AuthInfos["alice@eu"].ClientCertificateData))

	// kubectl reads them together.
	view, err := (&clientcmd.ClientConfigLoadingRules{Precedence: paths}).Load()
	require.NoError(t, err)
	require.NoError(t, clientcmd.ConfirmUsable(*view, "alice@eu"))
}

func TestMergeThroughALink(t *testing.T) {
	t.Parallel()
	path := write(t, "config", kindConfig)
	link := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.Symlink(path, link))
	_, err := Merge(t.Context(), []string{link}, fresh(t, "1", "eu"), web)
	require.NoError(t, err)
	require.Len(t, load(t, path).Contexts, 2)
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink, "people keep their files elsewhere")
}

func TestMergeIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dangling := filepath.Join(dir, "dangling")
	require.NoError(t, os.Symlink(filepath.Join(dir, "nothing"), dangling))
	both := web
	both.Context = "mine"
	for name, test := range map[string]struct {
		path string
		text []byte
		o    Options
		says string
	}{
		"no kubeconfig there": {write(t, "config", "a: ["), fresh(t, "1", "eu"), web, "yaml"},
		"a folder":            {dir, fresh(t, "1", "eu"), web, "no regular file"},
		"a link to nothing":   {dangling, fresh(t, "1", "eu"), web, "symbolic link to nothing"},
		"nothing new":         {filepath.Join(dir, "a"), []byte("{}"), web, "new kubeconfig"},
		"one name for two":    {filepath.Join(dir, "b"), fresh(t, "1", "eu", "us"), both, "one name for 2 contexts"},
	} {
		_, err := Merge(t.Context(), []string{test.path}, test.text, test.o)
		require.ErrorContains(t, err, test.says, name)
		require.NoFileExists(t, test.path+".lock")
	}
}

// kubectl and this package keep each other out.
func TestLock(t *testing.T) {
	t.Parallel()
	path := write(t, "config", kindConfig)
	require.NoError(t, os.WriteFile(path+".lock", nil, 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Merge(ctx, []string{path}, fresh(t, "1", "eu"), web)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, path+".lock is there")
	require.FileExists(t, path+".lock", "it is not ours to remove")

	time.AfterFunc(50*time.Millisecond, func() { _ = os.Remove(path + ".lock") })
	_, err = Merge(t.Context(), []string{path}, fresh(t, "1", "eu"), web)
	require.NoError(t, err)
}

func TestParallelMerges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config")
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			if _, err := Merge(t.Context(), []string{path}, fresh(panics{}, "1", fmt.Sprintf("c%d", i)), web); err != nil {
				panic(err)
			}
		})
	}
	wait.Wait()
	require.Len(t, load(t, path).Contexts, 8, "nobody's entries are lost")
}

// panics is for goroutines, in which a test can not be ended.
type panics struct{}

func (panics) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (panics) FailNow()                          { panic("failed") }

// Whatever is merged in whatever order, the last word of each cloud stands, and what
// others have stays.
func TestMergeProperty(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		path := filepath.Join(root, strconv.Itoa(n))
		require.NoError(rt, os.WriteFile(path, []byte(kindConfig), 0o600))
		want := map[string]string{}
		for i := range rapid.IntRange(1, 3).Draw(rt, "steps") {
			reference, what := rapid.SampledFrom([]string{"eu", "us", "kind"}).Draw(rt, "reference"), strconv.Itoa(i)
			_, err := Merge(t.Context(), []string{path}, fresh(rt, what, reference), web)
			require.NoError(rt, err)
			want["alice@"+reference] = what + reference
		}
		config, err := clientcmd.LoadFromFile(path)
		require.NoError(rt, err)
		require.Len(rt, config.Contexts, len(want)+1)
		require.Equal(rt, "kind", config.CurrentContext)
		require.Equal(rt, "aws", config.AuthInfos["kind"].Exec.Command)
		for name, certificate := range want {
			require.Equal(rt, certificate, string(config.AuthInfos[name].ClientCertificateData))
			require.NoError(rt, clientcmd.ConfirmUsable(*config, name))
		}
	})
}
