package kubefile

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/runtime"
)

// extension is the name of the extension by which entries say whose they are.
const extension = "keysteward.io/cloud"

// Origin says what an entry of a kubeconfig gives access to.
type Origin struct {
	// ClusterID is the ID of the Keysteward cluster.
	ClusterID string `json:"clusterId"`
	// Project and Cloud name the logical cloud.
	Project string `json:"project"`
	Cloud   string `json:"cloud"`
	// Reference is the cloud's name for the Kubernetes cluster. [Merge] fills it in.
	Reference string `json:"reference"`
}

// mark is the extension that says so.
func (o Origin) mark() map[string]runtime.Object {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings can be encoded
	}
	return map[string]runtime.Object{extension: &runtime.Unknown{Raw: text, ContentType: runtime.ContentTypeJSON}}
}

// made tells whether an entry with these extensions is of this origin.
func (o Origin) made(extensions map[string]runtime.Object) bool {
	unknown, ok := extensions[extension].(*runtime.Unknown)
	if !ok {
		return false
	}
	var found Origin
	return json.Unmarshal(unknown.Raw, &found) == nil && found == o
}
