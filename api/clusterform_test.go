package api

import (
	"bytes"
	"encoding/base64"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/api/wire"
)

const clustersPath = "/v2/cluster-providers/cp/clusters"

func TestRegisteringAKubernetesCluster(t *testing.T) {
	t.Parallel()
	wrapped := goodForm("x")
	encoded := base64.StdEncoding.EncodeToString([]byte(testKubeconfig()))
	for name, parts := range map[string][]formPart{
		"as it is":               wrapped,
		"in base64":              {wrapped[0], {"file", "", encoded}},
		"in lines of base64":     {wrapped[0], {"file", "text/plain", strings.Join(slices.Collect(chunks(encoded, 76)), "\n")}},
		"file first":             {wrapped[1], wrapped[0]},
		"metadata without shell": {{"metadata", "text/plain", `{"name":"x","description":"a cluster"}`}, wrapped[1]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.made("/v2/cluster-providers", `{"metadata":{"name":"cp"}}`)
			w := h.form(RoleOperator, http.MethodPost, clustersPath, parts)
			require.Equal(t, http.StatusCreated, w.Code, w.Body)
			const shown = `{"metadata":{"name":"x","description":"a cluster"},"status":{"server":"` + testServer + `","authority":true}}`
			require.JSONEq(t, shown, w.Body.String())
			require.JSONEq(t, shown, h.get(clustersPath+"/x").Body.String())
			require.JSONEq(t, "["+shown+"]", h.get(clustersPath).Body.String())
			kept, err := clientcmd.Load([]byte(h.opened("cp", "x")))
			require.NoError(t, err)
			require.Equal(t, testToken, kept.AuthInfos["registered"].Token, "what is sealed is the canonical one")
			require.Equal(t, string(testAuthority()), h.node.View().KubernetesCluster("cp", "x").GetAuthority())
			require.Equal(t, "the-operator", h.by().GetName())

			requireProblem(t, h.form(RoleAdmin, http.MethodPost, clustersPath, parts), http.StatusConflict, exists, "")
			other := []formPart{{"metadata", "", `{"metadata":{"name":"x"}}`}, {"file", "", strings.Replace(testKubeconfig(), testToken, "another", 1)}}
			w = h.form(RoleAdmin, http.MethodPut, clustersPath+"/x", other)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			require.Contains(t, h.opened("cp", "x"), "another")
			requireProblem(t, h.form(RoleAdmin, http.MethodPut, clustersPath+"/y", other), http.StatusBadRequest, invalidField, "metadata.name")
			require.Equal(t, http.StatusNoContent, h.do(RoleAdmin, http.MethodDelete, clustersPath+"/x", "").Code)
			requireProblem(t, h.form(RoleAdmin, http.MethodPut, clustersPath+"/x", other), http.StatusNotFound, notFound, "")
			require.NotContains(t, h.log.String(), testToken)
		})
	}
}

// chunks are the pieces of a text that have so many bytes.
func chunks(text string, n int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for piece := range slices.Chunk([]byte(text), n) {
			if !yield(string(piece)) {
				return
			}
		}
	}
}

func TestClusterFormsThatAreRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.made("/v2/cluster-providers", `{"metadata":{"name":"cp"}}`)
	before := h.node.View().Hash()
	good := goodForm("x")
	file := func(old, change string) []formPart {
		require.Contains(t, testKubeconfig(), old)
		return []formPart{good[0], {"file", "", strings.Replace(testKubeconfig(), old, change, 1)}}
	}
	metadata := func(text string) []formPart { return []formPart{{"metadata", "", text}, good[1]} }
	for name, c := range map[string]struct {
		parts []formPart
		code  int
		kind  kind
		field string
	}{
		"no parts":              {nil, http.StatusBadRequest, invalidField, "metadata"},
		"no metadata":           {good[1:], http.StatusBadRequest, invalidField, "metadata"},
		"no file":               {good[:1], http.StatusBadRequest, invalidField, "file"},
		"two files":             {append(good[:2:2], good[1]), http.StatusBadRequest, invalidField, "file"},
		"two metadata":          {append(good[:2:2], good[0]), http.StatusBadRequest, invalidField, "metadata"},
		"another part":          {append(good[:2:2], formPart{"certificate", "", "x"}), http.StatusBadRequest, invalidField, "certificate"},
		"a part without a name": {append(good[:2:2], formPart{"", "", "x"}), http.StatusBadRequest, invalidField, ""},
		"empty metadata":        {metadata(""), http.StatusBadRequest, malformedBody, ""},
		"metadata of YAML":      {metadata("name: x"), http.StatusUnprocessableEntity, malformedJSON, ""},
		"metadata without name": {metadata("{}"), http.StatusBadRequest, invalidField, "metadata.name"},
		"unknown in metadata":   {metadata(`{"metadata":{"name":"x"},"spec":{}}`), http.StatusBadRequest, invalidField, "spec"},
		"unknown beside name":   {metadata(`{"name":"x","colour":1}`), http.StatusBadRequest, invalidField, "metadata.colour"},
		"large metadata":        {metadata(`{"name":"x","description":"` + strings.Repeat("d", maxFormMetadata) + `"}`), http.StatusRequestEntityTooLarge, bodyTooLarge, "metadata"},
		"empty file":            {[]formPart{good[0], {"file", "", ""}}, http.StatusBadRequest, invalidField, "file"},
		"no kubeconfig":         {[]formPart{good[0], {"file", "", "hello: there"}}, http.StatusBadRequest, invalidField, "file"},
		"binary":                {[]formPart{good[0], {"file", "", "\x00\xff"}}, http.StatusBadRequest, invalidField, "file"},
		"large file":            {[]formPart{good[0], {"file", "", strings.Repeat("#", maxKubeconfig+1)}}, http.StatusRequestEntityTooLarge, bodyTooLarge, "file"},
		"large in all":          {[]formPart{good[0], {"file", "", strings.Repeat("#", maxBody)}}, http.StatusRequestEntityTooLarge, bodyTooLarge, "file"},
		"exec plug-in":          {file("token: "+testToken, "exec:\n      apiVersion: client.authentication.k8s.io/v1\n      command: /bin/sh"), http.StatusBadRequest, invalidField, "file"},
		"file of the server":    {file("token: "+testToken, "tokenFile: /etc/passwd"), http.StatusBadRequest, invalidField, "file"},
		"plain HTTP":            {file(testServer, "http://kube.example"), http.StatusBadRequest, invalidField, "file"},
		"points nowhere":        {file("current-context: x", "current-context: y"), http.StatusBadRequest, invalidField, "file"},
	} {
		w := h.form(RoleAdmin, http.MethodPost, clustersPath, c.parts)
		require.Equal(t, c.code, w.Code, "%s: %s", name, w.Body)
		requireProblem(t, w, c.code, c.kind, c.field)
		require.NotContains(t, w.Body.String(), testToken)
	}
	const json = `{"metadata":{"name":"x"}}`
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, clustersPath, json), http.StatusUnsupportedMediaType, unsupportedMedia, "Content-Type")
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, clustersPath, ""), http.StatusBadRequest, malformedBody, "")
	for media, field := range map[string]string{"multipart/form-data": "Content-Type", "multipart/form-data; boundary=x": ""} {
		require.Equal(t, http.StatusBadRequest, h.do(RoleAdmin, http.MethodPost, clustersPath, json, header("Content-Type", media)).Code, field)
	}
	require.Equal(t, before, h.node.View().Hash())
	require.NotContains(t, h.log.String(), testToken)

	h.vault.sealUp("no key")
	requireProblem(t, h.form(RoleAdmin, http.MethodPost, clustersPath, good), http.StatusServiceUnavailable, sealed, "")
	h.requireNone("/v2/cluster-providers/none/clusters")
}

// Whatever comes as a form, what is answered is one of the answers of the document.
func FuzzClusterForm(f *testing.F) {
	for _, body := range []string{
		"--x\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{\"name\":\"x\"}\r\n--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n" + testKubeconfig() + "\r\n--x--\r\n",
		"--x\r\nContent-Disposition: form-data; name=\"file\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=\r\n--x--", "--x--", "--x\r\n\r\n",
	} {
		f.Add([]byte(body), "x")
	}
	f.Fuzz(func(t *testing.T, body []byte, boundary string) {
		if strings.ContainsFunc(boundary, func(r rune) bool { return r < ' ' || r > '~' }) {
			return
		}
		h := newHarness(t)
		h.made("/v2/cluster-providers", `{"metadata":{"name":"cp"}}`)
		w := h.do(RoleAdmin, http.MethodPost, clustersPath, string(bytes.Clone(body)), header("Content-Type", "multipart/form-data; boundary="+boundary))
		require.Contains(t, []int{http.StatusCreated, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}, w.Code, w.Body)
		if w.Code == http.StatusCreated {
			require.NotEmpty(t, read[wire.KubernetesCluster](t, w).Status.Server)
		}
	})
}
