package api

import (
	"net/http"
	"slices"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// What is below a logical cloud, and the paths of one.
const (
	projectPath  = "/v2/projects/{project}"
	providerPath = "/v2/cluster-providers/{provider}"
	cloudPath    = projectPath + "/logical-clouds/{cloud}"
)

// cloudRoutes are the operations under /v2.
func cloudRoutes() []route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	one, kubeconfig := []string{consistencyParam}, []string{"wait", "exec"}
	return slices.Concat(
		[]route{
			{post, "/v2/projects", projectMakers, onLeader, nil, projects.create},
			{get, "/v2/projects", sharedReaders, reads, one, projects.list},
			{get, projectPath, projectReaders, reads, one, projects.get},
			{put, projectPath, projectChangers, onLeader, nil, projects.replace},
			{del, projectPath, projectChangers, onLeader, nil, projects.remove},
			{post, "/v2/cluster-providers", changers, onLeader, nil, providers.create},
			{get, "/v2/cluster-providers", sharedReaders, reads, one, providers.list},
			{get, providerPath, sharedReaders, reads, one, providers.get},
			{del, providerPath, changers, onLeader, nil, providers.remove},
			{post, providerPath + "/clusters", changers, onLeader, nil, (*Server).createCluster},
			{get, providerPath + "/clusters", sharedReaders, reads, one, kubernetesClusters.list},
			{get, providerPath + "/clusters/{cluster}", sharedReaders, reads, one, kubernetesClusters.get},
			{put, providerPath + "/clusters/{cluster}", changers, onLeader, nil, (*Server).replaceCluster},
			{del, providerPath + "/clusters/{cluster}", changers, onLeader, nil, kubernetesClusters.remove},
			{post, cloudPath + "/instantiate", projectChangers, onLeader, nil, act(fsmpb.ActOnCloud_ACTION_INSTANTIATE)},
			{post, cloudPath + "/update", projectChangers, onLeader, nil, act(fsmpb.ActOnCloud_ACTION_UPDATE)},
			{post, cloudPath + "/terminate", projectChangers, onLeader, nil, act(fsmpb.ActOnCloud_ACTION_TERMINATE)},
			{post, cloudPath + "/rotate-key", projectChangers, onLeader, nil, act(fsmpb.ActOnCloud_ACTION_ROTATE_KEY)},
			{get, cloudPath + "/status", projectReaders, reads, one, (*Server).getCloudStatus},
			{get, cloudPath + "/kubeconfig", projectChangers, onLeader, kubeconfig, (*Server).getKubeconfig},
			{get, cloudPath + "/cluster-references/{reference}/kubeconfig", projectChangers, onLeader, kubeconfig, (*Server).getKubeconfig},
		},
		clouds.routes(projectPath+"/logical-clouds"),
		references.routes(cloudPath+"/cluster-references"),
		permissions.routes(cloudPath+"/user-permissions"),
		quotas.routes(cloudPath+"/cluster-quotas"),
		keyValues.routes(cloudPath+"/kv-pairs"),
	)
}

// routes are all that there are of a kind that is below a project.
func (k objects[P, W]) routes(path string) []route {
	one, own := []string{consistencyParam}, path+"/{"+k.own+"}"
	return []route{
		{http.MethodPost, path, projectChangers, onLeader, nil, k.create},
		{http.MethodGet, path, projectReaders, reads, one, k.list},
		{http.MethodGet, own, projectReaders, reads, one, k.get},
		{http.MethodPut, own, projectChangers, onLeader, nil, k.replace},
		{http.MethodDelete, own, projectChangers, onLeader, nil, k.remove},
	}
}
