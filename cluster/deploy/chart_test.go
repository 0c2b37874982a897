package deploy

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// both are the sets of values that everything is tested with.
func both() map[string][]string {
	return map[string][]string{"defaults": nil, "everything": {"-f", everything}}
}

func TestLint(t *testing.T) {
	t.Parallel()
	for name, values := range both() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, nil, tool(t, "helm"), append([]string{"lint", "--strict", chart}, values...)...)
			require.NoError(t, err, out)
		})
	}
}

// Whoever mistypes a value is told which, and what it may be.
func TestBadValuesAreRefusedInWords(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		set  string
		says string
	}{
		"unknown value":           {"replcas=3", "'replcas' not allowed"},
		"unknown nested value":    {"deposits.spare=3", "'spare' not allowed"},
		"even replicas":           {"replicas=4", "'/replicas': value must be one of 1, 3, 5, 7"},
		"words for a number":      {"deposits.maxPerDay=many", "'/deposits/maxPerDay': got string, want integer"},
		"number for a flag":       {"deposits.enabled=1", "'/deposits/enabled': got number, want boolean"},
		"no address":              {"deposits.withdrawalAddress=0x12", "'/deposits/withdrawalAddress'"},
		"no network":              {"network.name=görli", "'/network/name': value must be one of"},
		"no duration":             {"witness.leaseDuration=soon", "'/witness/leaseDuration'"},
		"no witness":              {"witness.kind=nobody", "'/witness/kind': value must be one of 'kubernetes', 'operator'"},
		"pods without account":    {"pods={validators}", "'/pods/0'"},
		"nobody may ask":          {"pods=", "'/pods'"},
		"namespace in capitals":   {"allowedNamespaces={Team}", "'/allowedNamespaces/0'"},
		"argument without dashes": {"extraArgs={peers=x}", "'/extraArgs/0'"},
		"too short an end":        {"terminationGracePeriodSeconds=5", "minimum: got 5, want 25"},
		"founders of no use":      {"replicas=1", "a new cluster is founded once all founders run"},
		"no key at all":           {"withoutKek=true", "name another key-encryption key in extraSeal"},
		"memory in other units":   {"resources.limits.memory=1G", "give it in Mi or Gi"},
		"no network for money":    {"deposits.executionRpc={http://geth:8545}", "name the network"},
		"no withdrawals":          {"network.name=hoodi,deposits.executionRpc={http://geth:8545}", "say where stakes are withdrawn to"},
		"no payer":                {"network.name=hoodi,deposits.executionRpc={http://geth:8545},deposits.blsWithdrawal=true", "name the account that pays"},
		"beacon of nowhere":       {"beaconApi=http://beacon:5052", "name the network"},
		"backups to nowhere":      {"backups.every=1h", "every and to go together"},
		"a folder's bucket":       {"backups.every=1h,backups.to=/srv/backups,backups.s3.region=eu", "for backups.to s3://BUCKET/PREFIX only"},
		"backups over plain HTTP": {"backups.s3.endpoint=http://s3.test", "'/backups/s3/endpoint'"},
		"unknown custom network":  {"network.name=custom", "chainId, depositContract and forkVersion are needed"},
		"too short a lease":       {"network.name=hoodi,witness.leaseDuration=1m59.5s", "witness.leaseDuration 1m59.5s: \"0\" for none, or at least 3m"},
		"a selector's label":      {`podLabels.app\.kubernetes\.io/instance=x`, "podLabels: app.kubernetes.io/instance is the chart's own"},
		"the leader's label":      {`podLabels.keysteward\.io/role=leader`, "podLabels: keysteward.io/role is the chart's own"},
		"the chart's annotation":  {`podAnnotations.keysteward\.io/configuration=x`, "podAnnotations: keysteward.io/configuration"},
		"volumes that move":       {"persistence.whenScaled=Move", "'/persistence/whenScaled'"},
		"metrics without a token": {"metrics.serviceMonitor.enabled=true", "takes a token of the role viewer"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := template(t, "--set", test.set)
			require.Error(t, err, out)
			require.Contains(t, out, test.says)
		})
	}
}

// Durations are read as the server reads them.
func TestLeasesThatAreLongEnough(t *testing.T) {
	t.Parallel()
	for _, set := range []string{"witness.leaseDuration=3m", "witness.leaseDuration=0.05h", "witness.leaseDuration=2m60s", "witness.leaseDuration=0s"} {
		_, _ = rendered(t, "--set", set)
	}
	rendered(t, "--set", "witness.leaseDuration=40s,network.name=custom,network.custom.chainId=5,network.custom.forkVersion=0x00000005,network.custom.depositContract=0x00000000219ab540356cBB839Cbe05303d7705Fa")
}

// Two releases never share what is cluster-wide, however namespaces and names are put together.
func TestReleasesDoNotMeet(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, release := range [][2]string{{"a", "b-c"}, {"a-b", "c"}, {"a", "b-c-clouds"}, {"a-b", "c-clouds"}} {
		text, err := run(t, nil, tool(t, "helm"), "template", "r", chart, "--namespace", release[0], "--set", "logicalClouds.enabled=true,fullnameOverride="+release[1])
		require.NoError(t, err, text)
		for _, o := range parse(t, text) {
			if o.GetKind() != "ClusterRole" {
				continue
			}
			require.Empty(t, seen[o.GetName()], o.GetName())
			seen[o.GetName()] = release[0] + " " + release[1]
		}
	}
	require.Len(t, seen, 8)
}

// A Secret of yours is not made by the job, nor an admin whom your authority does not know.
func TestSecretsOfYours(t *testing.T) {
	t.Parallel()
	args := func(set string) []string {
		objects, _ := rendered(t, "--set", set)
		return templates(t, objects)[job(t, objects)].Spec.Containers[0].Args
	}
	require.NotContains(t, strings.Join(args("replicas=3"), " "), "--given")
	require.Contains(t, args("secrets.kek=mine"), "--given=mine")
	require.Contains(t, args("secrets.kek=mine"), "--admin=admin")
	own := args("secrets.apiTls=api,secrets.raftTls=raft")
	require.Contains(t, own, "--given=api,raft")
	require.NotContains(t, strings.Join(own, " "), "--admin")
	require.NotContains(t, strings.Join(args("secrets.apiTls=api,certManager.enabled=true"), " "), "--given", "cert-manager makes it")
}

func TestStatefulSet(t *testing.T) {
	t.Parallel()
	for name, values := range both() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects, _ := rendered(t, values...)
			set := only[appsv1.StatefulSet](t, objects, "StatefulSet")
			require.Equal(t, "keysteward", set.Name)
			require.Equal(t, appsv1.ParallelPodManagement, set.Spec.PodManagementPolicy)
			require.Equal(t, "keysteward-peers", set.Spec.ServiceName)
			require.Equal(t, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, set.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, "scaled to 0 is a stop, and not the end")
			require.Equal(t, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted)
			server := set.Spec.Template.Spec.Containers[0]
			pause := server.Lifecycle.PreStop.Sleep.Seconds
			require.Positive(t, pause, "Services stop sending before the listener closes")
			require.Greater(t, *set.Spec.Template.Spec.TerminationGracePeriodSeconds, pause+10, "--shutdown-timeout fits in")
			require.Equal(t, "/livez", server.LivenessProbe.HTTPGet.Path, "a restart mends no missing leader")
			require.Equal(t, "/livez", server.StartupProbe.HTTPGet.Path)
			require.Equal(t, "/readyz", server.ReadinessProbe.HTTPGet.Path)
			for _, probe := range []*corev1.Probe{server.LivenessProbe, server.StartupProbe, server.ReadinessProbe} {
				require.Equal(t, corev1.URISchemeHTTPS, probe.HTTPGet.Scheme)
			}
			require.False(t, *set.Spec.Template.Spec.EnableServiceLinks, "KEYSTEWARD_… of Services would be flags")
			require.NotNil(t, set.Spec.Template.Spec.Affinity.PodAntiAffinity)
			require.NotEmpty(t, set.Spec.Template.Spec.TopologySpreadConstraints)
			require.Equal(t, int32(1), only[policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget").Spec.MaxUnavailable.IntVal)
		})
	}
}

// The heap is told of nine tenths of what the container gets.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	for limit, want := range map[string]string{"1Gi": "921MiB", "512Mi": "460MiB", "12Gi": "11059MiB"} {
		objects, _ := rendered(t, "--set", "resources.limits.memory="+limit)
		require.Contains(t, only[appsv1.StatefulSet](t, objects, "StatefulSet").Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{Name: "GOMEMLIMIT", Value: want})
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	objects, _ := rendered(t)
	pod := only[appsv1.StatefulSet](t, objects, "StatefulSet").Spec.Template.Labels
	services := map[string]*corev1.Service{}
	for _, s := range of[corev1.Service](t, objects, "Service") {
		services[s.Name] = s
		selector := maps.Clone(s.Spec.Selector)
		delete(selector, "keysteward.io/role")
		require.Subset(t, pod, selector, s.Name)
	}
	require.Len(t, services, 3)
	require.True(t, services["keysteward-peers"].Spec.PublishNotReadyAddresses)
	require.Equal(t, corev1.ClusterIPNone, services["keysteward-peers"].Spec.ClusterIP)
	require.False(t, services["keysteward"].Spec.PublishNotReadyAddresses)
	require.Equal(t, "leader", services["keysteward-leader"].Spec.Selector["keysteward.io/role"])
	require.NotContains(t, pod, "keysteward.io/role", "the leader gives it to itself")
}

// No rule is wider than it has to be: no wildcards, no Secrets for the nodes, nothing of
// what logical clouds need unless they are wanted, and then for another account.
func TestRights(t *testing.T) {
	t.Parallel()
	for name, values := range both() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects, _ := rendered(t, values...)
			rules := map[string][]rbacv1.PolicyRule{}
			for _, r := range of[rbacv1.ClusterRole](t, objects, "ClusterRole") {
				rules[r.Name] = r.Rules
			}
			for _, r := range of[rbacv1.Role](t, objects, "Role") {
				rules[r.Namespace+"/"+r.Name] = r.Rules
			}
			for role, list := range rules {
				for _, rule := range list {
					for _, word := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs) {
						require.NotContains(t, word, "*", role)
					}
					if role == "keysteward:keysteward:clouds" {
						continue
					}
					require.NotContains(t, rule.Resources, "certificatesigningrequests", role)
					if role != "keysteward/keysteward-init" {
						require.NotContains(t, rule.Resources, "secrets", role)
					}
					if slices.Contains(rule.Verbs, "patch") && slices.Contains(rule.Resources, "pods") {
						require.Len(t, rule.ResourceNames, 7, role)
					}
				}
			}
			require.Equal(t, name == "everything", rules["keysteward:keysteward:clouds"] != nil)
			bound := of[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding")
			for _, b := range bound {
				require.Equal(t, b.RoleRef.Name == "keysteward:keysteward:clouds", b.Subjects[0].Name == "keysteward-clouds")
			}
			watched := rules["validators/keysteward:keysteward"]
			require.Equal(t, name == "everything", watched != nil, "pods are seen in the allowed namespaces only")
		})
	}
}

// The codes that alerts leave out are those that there are.
func TestAlertsKnowTheCodes(t *testing.T) {
	t.Parallel()
	source := goSource(t, "api", "node")
	for _, code := range []string{"insufficient-funds", "daily-limit", "deposits-off", "deposits-unconfigured"} {
		require.Contains(t, source, `"`+code+`"`)
	}
}

// goSource is the product's code in these folders.
func goSource(t *testing.T, folders ...string) string {
	t.Helper()
	var all strings.Builder
	module := os.DirFS(filepath.Join("..", ".."))
	for _, folder := range folders {
		require.NoError(t, fs.WalkDir(module, folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := fs.ReadFile(module, path)
			all.Write(text)
			return err
		}))
	}
	return all.String()
}

// Certificates by cert-manager are for the same names as those that the job makes, and
// of two authorities.
func TestCertificatesByCertManager(t *testing.T) {
	t.Parallel()
	own, _ := rendered(t)
	theirs, _ := rendered(t, "--set", "certManager.enabled=true")
	var hosts, api []string
	for _, arg := range templates(t, own)[job(t, own)].Spec.Containers[0].Args {
		if list, ok := strings.CutPrefix(arg, "--hosts="); ok {
			hosts = strings.Split(list, ",")
		}
		if list, ok := strings.CutPrefix(arg, "--api-names="); ok {
			api = strings.Split(list, ",")
		}
	}
	require.Len(t, hosts, 7)
	for _, service := range of[corev1.Service](t, own, "Service") {
		for _, suffix := range []string{"", ".keysteward", ".keysteward.svc", ".keysteward.svc.cluster.local"} {
			require.Contains(t, api, service.Name+suffix)
		}
	}
	for _, peer := range hosts {
		require.True(t, strings.HasSuffix(peer, ".keysteward-peers.keysteward.svc.cluster.local"), "as members advertise themselves")
	}
	names := map[string][]any{}
	for _, o := range theirs {
		if o.GetKind() == "Certificate" {
			spec, _ := o.Object["spec"].(map[string]any)
			dns, _ := spec["dnsNames"].([]any)
			ips, _ := spec["ipAddresses"].([]any)
			names[o.GetName()] = append(dns, ips...)
		}
	}
	require.ElementsMatch(t, hosts, names["keysteward-raft"])
	require.ElementsMatch(t, append(api, hosts...), names["keysteward-api"])
	require.Contains(t, names, "keysteward-api-ca")
	require.Contains(t, names, "keysteward-raft-ca")
	args := templates(t, theirs)[job(t, theirs)].Spec.Containers[0].Args
	require.Contains(t, args, "--kek=keysteward-kek")
	for _, arg := range args {
		require.NotContains(t, arg, "-tls=", "cert-manager makes them")
	}
}
