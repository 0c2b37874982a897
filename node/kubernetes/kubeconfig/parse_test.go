package kubeconfig_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/keysteward/keysteward/node/kubernetes/kubeconfig"
)

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	asJSON, err := yaml.YAMLToJSON([]byte(good().String()))
	require.NoError(t, err)
	bare := good()
	bare.head = "current-context: here\n" // kubectl takes it too
	ec := append(block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), alice().key...)
	for name, c := range map[string]struct {
		text   string
		server string
	}{
		"YAML":                       {good().String(), "https://10.0.0.1:6443"},
		"JSON":                       {string(asJSON), "https://10.0.0.1:6443"},
		"base64":                     {b64([]byte(good().String())), "https://10.0.0.1:6443"},
		"Windows":                    {"\ufeff" + strings.ReplaceAll(good().String(), "\n", "\r\n"), "https://10.0.0.1:6443"},
		"without kind":               {bare.String(), "https://10.0.0.1:6443"},
		"a public authority, a path": {withCluster("server: https://rancher.example.org/k8s/clusters/c-1\n"), "https://rancher.example.org/k8s/clusters/c-1"},
		"IPv6 and a server name":     {withCluster("server: https://[fd00::1]:6443\n    tls-server-name: kubernetes.default.svc\n"), "https://[fd00::1]:6443"},
		"a server name that is an IP": {
			withCluster("server: https://tunnel.example.org\n    tls-server-name: 10.0.0.1\n"), "https://tunnel.example.org",
		},
		"a token":                       {withUser("token: " + token + "\n"), "https://10.0.0.1:6443"},
		"a token with a line break":     {withUser("token: |\n      " + token + "\n"), "https://10.0.0.1:6443"},
		"parameters before the key":     {withUser("client-certificate-data: " + b64(alice().certificate) + "\n    client-key-data: " + b64(ec) + "\n"), "https://10.0.0.1:6443"},
		"the key beside certificate":    {withUser("client-certificate-data: " + b64(append(alice().key, alice().certificate...)) + "\n    client-key-data: " + b64(alice().key) + "\n"), "https://10.0.0.1:6443"},
		"a field that nobody knows yet": {withCluster("server: https://a\n    shiny: true\n"), "https://a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, err := kubeconfig.Parse([]byte(c.text))
			require.NoError(t, err)
			require.Equal(t, c.server, cluster.Server)
			again, err := kubeconfig.Parse(cluster.Canonical())
			require.NoError(t, err)
			require.Equal(t, cluster, again)
			require.Equal(t, cluster.Canonical(), again.Canonical())
		})
	}
}

// Texts that are small and take a reader long end soon.
func TestParseEndsSoon(t *testing.T) {
	t.Parallel()
	const n = 100 << 10
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%sx]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9))
	}
	for name, text := range map[string]string{
		"aliases":      bomb.String(),
		"lists":        "a: " + strings.Repeat("[", n),
		"closed lists": "a: " + strings.Repeat("[", n/2) + strings.Repeat("]", n/2),
		"maps":         strings.Repeat("{a: ", n/4),
		"dashes":       "a:\n" + strings.Repeat("- ", n/2),
		"questions":    "a:\n" + strings.Repeat("? ", n/2),
		"keys":         strings.Repeat("a: b\n", n/5),
		"names":        "users:\n" + strings.Repeat("- name:\n", n/8),
		"anchors":      "a:\n" + strings.Repeat("- &a b\n", n/7),
		"merges":       "a: &a {b: c}\nd:\n" + strings.Repeat("- {<<: *a}\n", n/11),
		"PEM":          withCluster("server: https://a\n    certificate-authority-data: " + b64([]byte(strings.Repeat("-----BEGIN A-----\n", n/25))) + "\n"),
		"authorities":  withCluster("server: https://a\n    certificate-authority-data: " + b64([]byte(strings.Repeat(string(authority().certificate), 300))) + "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			_, _ = kubeconfig.Parse([]byte(text))
			require.Less(t, time.Since(begun), time.Minute)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	head := func(h string) string { c := good(); c.head = h; return c.String() }
	context := func(x string) string { c := good(); c.context = x; return c.String() }
	server := func(s string) string { return withCluster("server: " + s + "\n") }
	user := func(add string) string { return withUser(good().user + "    " + add + "\n") }
	const ca = "server: https://a\n    certificate-authority-data: "
	pair := func(certificate, key []byte) string {
		return withUser("client-certificate-data: " + b64(certificate) + "\n    client-key-data: " + b64(key) + "\n")
	}
	twice := strings.Replace(good().String(), "users:\n", "users:\n- name: u\n  user: {token: "+token+"}\n", 1)
	for name, c := range map[string]struct{ text, field, says string }{
		"nothing":               {"", "", "empty"},
		"spaces":                {" \n\t ", "", "empty"},
		"a word":                {"kubeconfig!", "", "neither YAML"},
		"a sentence":            {"this: is no kubeconfig", "current-context", "missing"},
		"a list":                {"[a: b]", "", "can not be read"},
		"a text in quotes":      {`"a: b"`, "", "can not be read"},
		"a number in base64":    {b64([]byte("12345678")), "", "can not be read"},
		"binary":                {"a: \xff\xfe", "", "UTF-8"},
		"zero bytes":            {"a: b\x00c", "", "UTF-8"},
		"broken YAML":           {"a: b\n  c: [" + token, "", "line "},
		"wrong types":           {"users: " + token + "\nkind: Config", "", "can not be read"},
		"another kind":          {"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", "", "kind Config"},
		"another version":       {"apiVersion: v2\nkind: Config\n", "", "apiVersion v1"},
		"too large":             {good().String() + "# " + strings.Repeat("x", kubeconfig.MaxSize), "", "larger than 256 KiB"},
		"too large in base64":   {b64([]byte(strings.Repeat("a: b\n", kubeconfig.MaxSize/4))), "", "larger than 256 KiB"},
		"a name twice":          {twice, "", "can not be read"},
		"no current context":    {head("apiVersion: v1\nkind: Config\n"), "current-context", "use-context"},
		"context is missing":    {head("current-context: gone\n"), "current-context", `no context "gone"`},
		"no cluster in context": {context("user: u\n"), "context.cluster", "points nowhere"},
		"cluster is missing":    {context("cluster: gone\n    user: u\n"), "context.cluster", `no cluster "gone"`},
		"user is missing":       {context("cluster: c\n    user: gone\n"), "context.user", `no user "gone"`},
		"no server":             {withCluster("certificate-authority-data: " + b64(authority().certificate) + "\n"), "cluster.server", "missing"},
		"not a URL":             {server("'https://a:b:c'"), "cluster.server", "not a URL"},
		"spaces in the URL":     {server("https://a/b c"), "cluster.server", "not a URL"},
		"long URL":              {server("https://a/" + strings.Repeat("b", 2048)), "cluster.server", "not a URL"},
		"other letters":         {server("https://exämple.org"), "cluster.server", "not a URL"},
		"no scheme":             {server("10.0.0.1"), "cluster.server", "not https"},
		"http":                  {server("http://10.0.0.1:8080"), "cluster.server", "not https"},
		"a file":                {server("file:///etc/shadow"), "cluster.server", "not https"},
		"a password in the URL": {server("https://me:passw0rd@a"), "cluster.server", "user or password"},
		"a query":               {server("https://a/?passw0rd"), "cluster.server", "query or fragment"},
		"an empty query":        {server("https://a/?"), "cluster.server", "query or fragment"},
		"a fragment":            {server("'https://a/#b'"), "cluster.server", "query or fragment"},
		"no host":               {server("https:///a"), "cluster.server", "no host"},
		"an opaque URL":         {server("https:a"), "cluster.server", "no host"},
		"port 0":                {server("https://a:0"), "cluster.server", "65535"},
		"port 65536":            {server("https://a:65536"), "cluster.server", "65535"},
		"server name":           {server("https://a\n    tls-server-name: a/b"), "cluster.tls-server-name", "neither"},
		"insecure":              {server("https://a\n    insecure-skip-tls-verify: true"), "cluster.insecure-skip-tls-verify", "any server"},
		"a CA of the server":    {server("https://a\n    certificate-authority: /etc/ssl/ca.pem"), "cluster.certificate-authority", "file of this server"},
		"a proxy":               {server("https://a\n    proxy-url: http://me:passw0rd@b"), "cluster.proxy-url", "proxy"},
		"CA is no PEM":          {withCluster(ca + b64([]byte("CA")) + "\n"), "cluster.certificate-authority-data", "not a certificate"},
		"CA is a key":           {withCluster(ca + b64(alice().key) + "\n"), "cluster.certificate-authority-data", "something else"},
		"CA and a key":          {withCluster(ca + b64(append(authority().certificate, alice().key...)) + "\n"), "cluster.certificate-authority-data", "something else"},
		"CA is damaged":         {withCluster(ca + b64(block("CERTIFICATE", []byte("CA"))) + "\n"), "cluster.certificate-authority-data", "can not be read"},
		"exec":                  {user("exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [passw0rd], interactiveMode: Never}"), "user.exec", "run a program"},
		"auth-provider":         {user("auth-provider: {name: gcp, config: {a: passw0rd}}"), "user.auth-provider", "plug-ins"},
		"a certificate's file":  {user("client-certificate: /etc/a.pem"), "user.client-certificate", "file of this server"},
		"a key's file":          {user("client-key: /etc/a.key"), "user.client-key", "file of this server"},
		"a token's file":        {user("tokenFile: /etc/shadow"), "user.tokenFile", "file of this server"},
		"a user name":           {user("username: me"), "user.username", "passwords"},
		"a password":            {user("password: passw0rd"), "user.password", "passwords"},
		"as":                    {user("as: admin"), "user.as", "somebody else"},
		"as-uid":                {user("as-uid: '1'"), "user.as-uid", "somebody else"},
		"as-groups":             {user("as-groups: ['system:masters']"), "user.as-groups", "somebody else"},
		"as-user-extra":         {user("as-user-extra: {a: [b]}"), "user.as-user-extra", "somebody else"},
		"no credential":         {withUser("{}\n"), "user", "no credential"},
		"an empty token":        {withUser("token: ' '\n"), "user", "no credential"},
		"a broken token":        {withUser("token: \"" + token + "\\r\\nX: y\"\n"), "user.token", "characters"},
		"no key":                {withUser("client-certificate-data: " + b64(alice().certificate) + "\n"), "user.client-key-data", "missing"},
		"no certificate":        {withUser("client-key-data: " + b64(alice().key) + "\n"), "user.client-certificate-data", "missing"},
		"another's key":         {pair(alice().certificate, bob().key), "user.client-key-data", "not the key"},
		"a damaged key":         {pair(alice().certificate, block("PRIVATE KEY", []byte("key"))), "user.client-key-data", "can not be read"},
		"an encrypted key":      {pair(alice().certificate, block("ENCRYPTED PRIVATE KEY", []byte("key"))), "user.client-key-data", "decrypted"},
		"a key that is none":    {pair(alice().certificate, bob().certificate), "user.client-key-data", "not a private key"},
		"a certificate none":    {pair(alice().key, alice().key), "user.client-certificate-data", "not a certificate"},
		"a damaged certificate": {pair(block("CERTIFICATE", []byte("c")), alice().key), "user.client-certificate-data", "can not be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, err := kubeconfig.Parse([]byte(c.text))
			var refused *kubeconfig.Refused
			require.ErrorAs(t, err, &refused)
			require.Equal(t, c.field, refused.Field)
			require.Contains(t, err.Error(), c.says)
			requireHides(t, err.Error())
			require.Zero(t, cluster)
		})
	}
}
