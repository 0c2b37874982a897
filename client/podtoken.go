package client

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// PodIdentity is who a projected service-account token is for.
type PodIdentity struct{ Namespace, Pod, UID string }

// PodOfToken reads the pod out of a service-account token of Kubernetes that is
// bound to one; ok is false for every other token. Nothing is verified here: the
// server has Kubernetes vouch for the token, and refuses a request that says
// otherwise.
func PodOfToken(token Token) (pod PodIdentity, ok bool) {
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return pod, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return pod, false
	}
	defer clear(payload)
	var claims struct {
		Kubernetes struct {
			Namespace string `json:"namespace"`
			Pod       struct {
				Name string `json:"name"`
				UID  string `json:"uid"`
			} `json:"pod"`
		} `json:"kubernetes.io"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return pod, false
	}
	k := claims.Kubernetes
	pod = PodIdentity{Namespace: k.Namespace, Pod: k.Pod.Name, UID: k.Pod.UID}
	return pod, CheckPod(pod.Namespace, pod.Pod) == nil && CheckPodUID(pod.UID) == nil
}
