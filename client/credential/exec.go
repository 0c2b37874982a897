package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientauthentication "k8s.io/client-go/pkg/apis/clientauthentication/v1"
)

// ErrExecInfo is wrapped when client-go asks in a way that is not known.
var ErrExecInfo = errors.New("unusable KUBERNETES_EXEC_INFO")

// ExecInfo is the variable by which client-go says how it wants to be answered.
const ExecInfo = "KUBERNETES_EXEC_INFO"

const execKind = "ExecCredential"

// CheckExecInfo refuses every version but client.authentication.k8s.io/v1. Without the
// variable somebody tries the plug-in by hand.
func CheckExecInfo(text string) error {
	if text == "" {
		return nil
	}
	var info metav1.TypeMeta
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		return fmt.Errorf("%w: it is no JSON", ErrExecInfo)
	}
	if info.APIVersion != clientauthentication.SchemeGroupVersion.String() || info.Kind != execKind {
		return fmt.Errorf("%w: kind %.64q of %.64q: want apiVersion: %s in the kubeconfig's exec", ErrExecInfo, info.Kind, info.APIVersion, clientauthentication.SchemeGroupVersion)
	}
	return nil
}

// Write answers client-go with a credential that it uses until then.
func Write(w io.Writer, c Credential, until time.Time) error {
	text, err := json.Marshal(clientauthentication.ExecCredential{
		TypeMeta: metav1.TypeMeta{APIVersion: clientauthentication.SchemeGroupVersion.String(), Kind: execKind},
		Status: &clientauthentication.ExecCredentialStatus{
			ExpirationTimestamp:   &metav1.Time{Time: until.UTC()},
			ClientCertificateData: string(c.Certificate),
			ClientKeyData:         string(c.Key),
		},
	})
	if err != nil {
		return fmt.Errorf("encode the credential: %w", err)
	}
	defer clear(text)
	_, err = w.Write(append(text, '\n'))
	return err
}
