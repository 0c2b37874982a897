package kubetest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/stretchr/testify/require"
	authentication "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ServiceAccount is that of all pods.
const ServiceAccount = "validator"

// tokenLife is the shortest that the API gives, in seconds.
const tokenLife = 600

var createOptions metav1.CreateOptions

// CreatePod makes a pod, with its namespace and service account if they are
// missing, and returns its UID.
func (c *Cluster) CreatePod(namespace, name string) (uid string) {
	c.t.Helper()
	ctx := c.t.Context()
	_, err := c.core.Namespaces().Create(ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, createOptions)
	require.True(c.t, err == nil || apierrors.IsAlreadyExists(err), "%v", err)
	_, err = c.core.ServiceAccounts(namespace).Create(ctx, &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: ServiceAccount}}, createOptions)
	require.True(c.t, err == nil || apierrors.IsAlreadyExists(err), "%v", err)
	no := false
	pod, err := c.core.Pods(namespace).Create(ctx, &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.PodSpec{
			ServiceAccountName: ServiceAccount, AutomountServiceAccountToken: &no,
			Containers: []v1.Container{{Name: "c", Image: "none"}},
		},
	}, createOptions)
	require.NoError(c.t, err)
	return string(pod.UID)
}

// DeletePod deletes a pod at once.
func (c *Cluster) DeletePod(namespace, name string) {
	c.t.Helper()
	now := int64(0)
	require.NoError(c.t, c.core.Pods(namespace).Delete(c.t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
}

// PodToken is a token that is bound to the pod, as the kubelet would project it.
func (c *Cluster) PodToken(namespace, name, uid string, audiences ...string) string {
	c.t.Helper()
	return c.token(namespace, audiences, &authentication.BoundObjectReference{
		Kind: "Pod", APIVersion: "v1", Name: name, UID: types.UID(uid),
	})
}

// AccountToken is a token of the service account that is bound to no pod.
func (c *Cluster) AccountToken(namespace string, audiences ...string) string {
	c.t.Helper()
	return c.token(namespace, audiences, nil)
}

func (c *Cluster) token(namespace string, audiences []string, to *authentication.BoundObjectReference) string {
	c.t.Helper()
	life := int64(tokenLife)
	request, err := c.core.ServiceAccounts(namespace).CreateToken(c.t.Context(), ServiceAccount, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &life, BoundObjectRef: to},
	}, createOptions)
	require.NoError(c.t, err)
	return request.Status.Token
}

// Sign changes the claims of a token and signs them with the key of the cluster:
// it makes tokens that the API would not give, such as one that has expired.
func (c *Cluster) Sign(token string, change func(claims map[string]any)) string {
	c.t.Helper()
	parts := strings.Split(token, ".")
	require.Len(c.t, parts, 3)
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(c.t, err)
	claims := map[string]any{}
	require.NoError(c.t, json.Unmarshal(text, &claims))
	change(claims)
	text, err = json.Marshal(claims)
	require.NoError(c.t, err)
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(text)
	hash := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, c.signer, crypto.SHA256, hash[:])
	require.NoError(c.t, err)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}
